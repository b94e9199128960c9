"""Consoles of a command line whose end the log has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.dmesg_cut_words import lost_console_words, with_lost_words
from minikern.describe.dmesg_log import Log
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.describe.test_dmesg_iommu import HEAD

LONG = "root=/dev/ram0 job=" + "x" * 950
SHOWN = [
    "printk: legacy bootconsole [earlyser0] enabled", "printk: legacy console [tty0] enabled",
    "printk: legacy console [ttyS1] enabled",
]  # fmt: skip
EARLY, SCREEN, LINE = "earlyprintk=ttyS0,115200", "console=tty0", "console=ttyS1,115200"


@pytest.mark.parametrize(
    ("text", "lines", "lost"),
    [
        (LONG, SHOWN, [EARLY, SCREEN, LINE]),
        (f"{LONG} console=tty0 ea", SHOWN, [EARLY, LINE]),
        (f"console=ttyS1,57600 console=tty0 earlycon {LONG}", SHOWN, []),
        (LONG, SHOWN[1:2], []),  # the screen alone is there without a word
        (LONG, ["console [ttyS0] enabled", "console [ttyS0] enabled"], ["console=ttyS0,115200"]),
        (LONG, [], []),
        (LONG, [*SHOWN, "printk: console [ttyS1] printing thread started"], []),
        ("root=/dev/ram0", SHOWN, []),  # a short line is whole: other words turned these on
    ],
)
def test_words_that_the_lines_tell_of(text: str, lines: list[str], lost: list[str]) -> None:
    assert lost_console_words(Log("a log", lines), text) == lost


@pytest.mark.parametrize("torn", ["e", "early", "console=", "cons", "console=ttyS1,11"])
def test_a_torn_word_is_made_whole(torn: str) -> None:
    assert with_lost_words(f"a=b {torn}", [EARLY, LINE]) == f"a=b {EARLY} {LINE}"
    assert with_lost_words("a=b oops", [EARLY, LINE]) == f"a=b oops {EARLY} {LINE}"


def test_the_boot_has_the_logs_consoles(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    head = HEAD.format(table="BGRT").splitlines()
    lines = [line for line in head if "ommand line" not in line]
    lines[1:1] = [f"Command line: {LONG} console=tty0 ea", "printk: bootconsole [earlyser0] enabled"]
    path.write_text("\n".join([*lines, "printk: console [tty0] enabled", "printk: console [ttyS0] enabled"]))
    spec = load_machine(str(path))
    assert any("its command line is cut" in note for note in spec.notes)
    texts = [line.text for line in boot(spec).kernel.log.lines]
    assert any("bootconsole [earlyser0] enabled" in text for text in texts)
    assert any("console [ttyS0] enabled" in text for text in texts)
