"""What firmware and lspci tell of a machine: ACPI tables with sums that are right, PCI functions in bytes and words."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from hw.acpi.checksum import fix_checksum
from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.bus import Bus
from hw.spec import CpuSpec
from minikern.acpi.srat import parse_slit, parse_srat
from minikern.describe.beside import Beside, lay_over
from minikern.describe.pci_capture import pci_from_capture
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from tests.acpi.test_damage import boot as boot_tables
from tests.describe.test_lspci_text import WORDS as LSPCI_WORDS
from tests.describe.test_lspci_tree import PLAIN as LSPCI_TREE
from tests.fuzz.images import QUICK
from tests.fuzz.mutations import CAPTURES, damaged, edge_number, edited, one_in, overwritten, text_of

Placed = list[tuple[int, bytes]]
AML = (b"DSDT", b"SSDT")
HEADER = 36


@cache
def _image() -> tuple[tuple[int, bytes], ...]:
    spec = AcpiSpec(base=0x10_0000, size=0x1_0000, aml="server", oem_loads=1)
    return tuple(build_tables(spec, CpuSpec(count=2, cores=2).topology()))


def tables(chance: Random) -> Placed:
    """A server's tables, one or two changed; lengths stay and sums are put right again, so that the change is read."""
    found = list(_image())
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(found))
        address, content = found[at]
        change = overwritten if chance.randrange(3) else damaged
        other = change(chance, content)[: len(content)].ljust(len(content), b"\0")
        summed = content[4:8] != b"PTR " and chance.randrange(10)
        found[at] = address, fix_checksum(content[:9] + other[9:]) if summed else other
    return found


def boot_with_tables(place: Path, given: Placed) -> None:
    """All that a boot does with tables, on a machine of little else."""
    bus = Bus()
    for address, content in given:
        bus.write_bytes(address, content)
    boot_tables(bus)


@cache
def _affinity() -> tuple[bytes, ...]:
    files = sorted(CAPTURES.glob("*/acpi/S[RL]*T.dat"))
    return tuple(file.read_bytes() for file in files)


def affinity_table(chance: Random) -> bytes:
    """An SRAT or SLIT of a captured machine with changed numbers."""
    data = chance.choice(_affinity())
    return overwritten(chance, data, 3, HEADER) if chance.randrange(4) else damaged(chance, data, 4)


def read_affinity(place: Path, data: bytes) -> None:
    """As the NUMA code takes it apart."""
    parse_srat(data)
    matrix = parse_slit(data)
    assert matrix is None or all(len(row) == len(matrix) for row in matrix)


# PCI


@cache
def _functions() -> tuple[tuple[str, ...], ...]:
    """Of lspci's dump: the lines of each function."""
    text = (CAPTURES / "q35-2cpu-2g/pci/lspci-xxxx.txt").read_text()
    return tuple(tuple(part.splitlines()) for part in text.split("\n\n") if part.strip())


def dump(chance: Random) -> bytes:
    """lspci -xxxx with changed registers, at times as text: lines lost, offsets wrong, addresses twice."""
    parts = [list(one) for one in _functions()]
    for _ in range(chance.randint(1, 3)):
        part = chance.choice(parts)
        line = chance.randrange(1, min(len(part), 18))
        offset, _, row = part[line].partition(": ")
        changed = overwritten(chance, bytes.fromhex(row), 2)
        part[line] = f"{offset}: {changed.hex(' ')}"
    if one_in(chance, 4):
        return text_of(edited(chance, [line for part in parts for line in (*part, "")], 2))
    return text_of([line for part in parts for line in (*part, "")])


def _dump_in(place: Path, data: bytes) -> Path:
    (place / "pci").mkdir(exist_ok=True)
    (place / "pci/lspci-xxxx.txt").write_bytes(data)
    return place


def read_dump(place: Path, data: bytes) -> None:
    """As a machine's description reads it."""
    pci_from_capture(_dump_in(place, data))


def boot_with_dump(place: Path, data: bytes) -> None:
    """A machine with these functions is booted."""
    spec = load_preset("tiny")
    spec.pci = pci_from_capture(_dump_in(place, data))
    boot(spec, options=QUICK).kernel.release_memory()


def words(chance: Random) -> bytes:
    """What lspci -vvnn or lspci -t prints, with lines and numbers changed."""
    text = chance.choice((LSPCI_WORDS, LSPCI_TREE, LSPCI_TREE))
    lines = edited(chance, text.splitlines(), 4)
    if one_in(chance, 6):
        line = f"             +-{edge_number(chance) & 0xFF:02x}.0-[05-06]----00.0"
        lines.insert(chance.randint(0, len(lines)), line)
    return text_of(lines)


def read_words(place: Path, data: bytes) -> None:
    """Laid over a machine, as --pci does."""
    path = place / "lspci.txt"
    path.write_bytes(data)
    lay_over(load_preset("tiny"), Beside(pci=str(path)))
