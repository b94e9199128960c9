"""Serial consoles of real machines: their stamps say what a byte takes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import pytest

from minikern.core.printk import Level
from minikern.describe.line_levels import level_of
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.support import SHARED

STAMP = re.compile(r"\[ *(\d+\.\d{6})\](\[ *[TC]\d+\])? ?(.*)")
FRAME_US = 10 / 115200 * 1e6
# Logs with an early console at 115200 baud, and the pause of their ports after every byte, us.
EARLY = {
    "timed/r6515-128cpu-6.12rc2.log.gz": 0,
    "timed/icl-2s-128cpu-6.0rc4-lkp.log.gz": 0,
    "timed/icl-2s-128cpu-6.14rc2-lkp.log.gz": 0,
    "dmesg/csl-2s-96cpu-lkp.log.gz": 0,
    "dmesg/r6515-milan-128cpu-256g-kdump.log.gz": 0,
    "timed/s2600wp-2s-48cpu-5.10rc5-lkp.log.gz": 10.17,
    "dmesg/genoa-1s-256cpu-kvmhost.log.gz": 10.17,
}


class Line(NamedTuple):
    """One line: seconds, bytes on the line, text."""

    seconds: float
    sent_bytes: int
    text: str


def real(name: str) -> list[Line]:
    path = SHARED / "corpora" / name
    if not path.is_file():
        pytest.skip(f"no shared/corpora/{name} beside the checkout")
    found = map(STAMP.search, gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines())
    return [Line(float(m[1]), len(f"[    0.000000]{m[2] or ''} {m[3].rstrip()}\r\n"), m[3]) for m in found if m]


def place(lines: Sequence[Line], needle: str) -> int:
    return next(at for at, line in enumerate(lines) if needle in line.text)


@pytest.mark.parametrize("name", EARLY)
def test_an_early_console_costs_its_bits(name: str) -> None:
    lines = real(name)
    early = lines[place(lines, "bootconsole [earlyser0] enabled") : place(lines, "console [tty")]
    rates = [(b.seconds - a.seconds) * 1e6 / a.sent_bytes for a, b in pairwise(early) if a.seconds]
    assert len(rates) > 100
    assert median(rates) == pytest.approx(FRAME_US + EARLY[name], rel=0.005)
    assert sum(rate < 0.95 * FRAME_US for rate in rates) < 0.2 * len(rates)  # lines of debug level


BACKLOGS = (
    "timed/r7615-1s-32cpu-6.12.log.gz",
    "timed/t440-2s-16cpu-5.10.log.gz",
    "timed/x8dah-2s-12cpu-5.10.log.gz",
    "dmesg/t440-2s-16cpu-kexec.log.gz",
    "dmesg/r7425-2s-8node-96cpu-sme.log.gz",
)


def coming(lines: Sequence[Line]) -> float:
    """Seconds from the line before the serial console's to the line after it, with the backlog before or behind it."""
    at = place(lines, "console [ttyS")
    return lines[at + 1].seconds - lines[at - 1].seconds


@pytest.mark.parametrize("name", BACKLOGS)
def test_a_backlog_costs_its_bits(name: str) -> None:
    lines = real(name)
    backlog = lines[: place(lines, "console [ttyS") + 1]
    sent = sum(line.sent_bytes for line in backlog if level_of(line.text) < Level.DEBUG)
    assert coming(lines) == pytest.approx(sent * FRAME_US / 1e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("timed/r7615-1s-32cpu-6.12.log.gz", 0.05),
        ("timed/t440-2s-16cpu-5.10.log.gz", 0.1),
        ("timed/x8dah-2s-12cpu-5.10.log.gz", 0.2),
        ("timed/r6515-128cpu-6.12rc2.log.gz", 0.02),
    ],
)
def test_the_serial_console_takes_as_long_to_come_as_it_did(name: str, tolerance: float) -> None:
    lines = real(name)
    kernel = boot(load_machine(str(SHARED / "corpora" / name))).kernel
    ours = [Line(line.ts_ns / 1e9, 0, line.text) for line in kernel.log.lines]
    assert coming(ours) == pytest.approx(coming(lines), rel=tolerance)  # less the lines that nobody emulates
    kernel.release_memory()
