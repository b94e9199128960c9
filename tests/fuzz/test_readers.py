"""Every reader on inputs that are nearly right: executed or refused in words, within seconds, and nothing else.

A few inputs each time; ``--fuzz-minutes N`` gives each reader N minutes of other ones. What was tried is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from hw.acpi.checksum import fix_checksum
from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.bus import Bus
from hw.spec import CpuSpec
from hw.toml_file import decode_toml
from minikern.acpi.values import AmlError
from minikern.core.kernel import BootOptions
from minikern.describe.case import Case
from minikern.describe.pci_capture import pci_from_capture
from minikern.describe.presets import load_machine, load_preset
from minikern.init.params import parameter_table
from minikern.kexec.load import Kexec
from minikern.kexec.pefile import pefile_parse_binary
from minikern.kexec.signature import load_certificate, verify_pefile_signature
from minikern.lab.run import Boot, boot
from tests.acpi.test_damage import boot as boot_tables
from tests.fuzz import aml_programs, handed_on, mutations
from tests.fuzz.outcomes import Tally
from tests.kexec.images import make_bzimage
from tests.kexec.signed import certificate, sign, unsigned

FEW = {"toml": 40, "log": 25, "command line": 30, "aml programs": 15}
SOME = 60
QUICK = BootOptions(vmemmap="window")


class Reader(NamedTuple):
    """What is fed: inputs, and the function that takes one. ``place`` is a folder to write in."""

    name: str
    inputs: Callable[[], st.SearchStrategy[Any]]
    read: Callable[[Path, Any], object]


def _toml(place: Path, data: bytes) -> None:
    boot(decode_toml(data, Case, "fuzz.toml"), options=QUICK)


def _log(place: Path, data: bytes) -> None:
    path = place / "dmesg.txt"
    path.write_bytes(data)
    boot(load_machine(str(path)), options=QUICK)


@cache
def _modelled() -> tuple[str, ...]:
    return tuple(sorted({parameter.name for parameter in parameter_table().declared}))


def _command_line(place: Path, words: str) -> None:
    boot(load_preset("tiny"), append=words, options=QUICK)


@cache
def _image() -> tuple[tuple[int, bytes], ...]:
    spec = AcpiSpec(base=0x10_0000, size=0x1_0000, aml="server", oem_loads=1)
    return tuple(build_tables(spec, CpuSpec(count=2, cores=2).topology()))


@st.composite
def _tables(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    # Sums are put right again, so that what is damaged is read.
    tables = list(_image())
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(tables) - 1))
        address, content = tables[at]
        other = draw(mutations.damaged(content))[: len(content)].ljust(len(content), b"\0")
        tables[at] = address, fix_checksum(content[:9] + other[9:]) if content[4:8] != b"PTR " else other
    return tables


def _aml(place: Path, tables: list[tuple[int, bytes]]) -> None:
    bus = Bus()
    for address, content in tables:
        bus.write_bytes(address, content)
    boot_tables(bus)


def _aml_program(place: Path, data: bytes) -> None:
    with suppress(AmlError):  # that is an end in ACPICA's words, after the program ran
        aml_programs.run_program(data)


@cache
def _lspci() -> bytes:
    return (mutations.CAPTURES / "q35-2cpu-2g/pci/lspci-xxxx.txt").read_bytes()


def _pci(place: Path, data: bytes) -> None:
    (place / "pci").mkdir(exist_ok=True)
    (place / "pci/lspci-xxxx.txt").write_bytes(data)
    spec = load_preset("tiny")
    spec.pci = pci_from_capture(place)
    boot(spec, options=QUICK)


@cache
def _booted() -> Boot:
    return boot(load_preset("tiny"), options=QUICK)


def _bzimage(place: Path, files: tuple[bytes, bytes]) -> None:
    loader = Kexec(_booted().kernel)
    try:
        loader.kexec_file_load(files[0], files[1], "quiet")
    finally:
        with suppress(Exception):
            loader.unload()


def _signed(place: Path, data: bytes) -> None:
    pefile_parse_binary(data)
    verify_pefile_signature(data, [certificate("authority", "authority")])


def _certificate(place: Path, data: bytes) -> None:
    load_certificate(data, "fuzz.pem")


READERS = [
    Reader("toml", mutations.descriptions, _toml),
    Reader("log", mutations.boot_logs, _log),
    Reader("command line", lambda: mutations.command_lines(_modelled()), _command_line),
    Reader("acpi tables", _tables, _aml),
    Reader("pci dump", lambda: mutations.damaged(_lspci()), _pci),
    Reader("bzimage", lambda: st.tuples(mutations.damaged(bytes(make_bzimage()[:0x500])).map(
        lambda head: head + bytes(make_bzimage()[0x500:])), st.binary(max_size=200)), _bzimage),
    Reader("aml programs", aml_programs.programs, _aml_program),
    Reader("cpio archive", lambda: mutations.damaged(handed_on.archive()), handed_on.read_archive),
    Reader("elf kernel", handed_on.kernels, handed_on.read_kernel),
    Reader("kexec handover", handed_on.handovers, handed_on.take_over),
    Reader("sweep plan", handed_on.plans, handed_on.read_plan),
    Reader("pe and pkcs7", lambda: mutations.damaged(sign(unsigned())), _signed),
]  # fmt: skip


def _once(reader: Reader, place: Path, tally: Tally, examples: int, number: int) -> None:
    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck), derandomize=False)  # fmt: skip
    @given(reader.inputs())
    def feed(given_one: Any) -> None:
        tally.feed(partial(reader.read, place), given_one)

    feed()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_nothing_unforeseen(reader: Reader, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    tally, number = Tally(reader.name), 1
    until = time.monotonic() + 60 * pytestconfig.getoption("--fuzz-minutes")
    _once(reader, tmp_path, tally, FEW.get(reader.name, SOME), number)
    while time.monotonic() < until:
        number += 1
        _once(reader, tmp_path, tally, SOME, number + time.time_ns() % 10**9)
    print(tally)
    assert tally.counts["executed"] or reader.name == "pe and pkcs7", tally
    assert not tally.unforeseen, tally.report()
