"""A machine of which there is one kind of file: its ACPI tables, the resource tree, or what lspci prints.

What the file does not tell is a preset's, and said to be. Source: ACPI 6.5 clause 5.2; kernel/resource.c @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hw.acpi import layout
from hw.cpu_listed import enabled_apic_ids
from hw.cpuid import CpuDescription, build_cpuid
from hw.errors import InputError
from hw.files import read_head
from hw.memmap import make_e820
from hw.pci.spec import PciSpec
from hw.spec import MAX_CPUS, MAX_E820, CpuidDump, CpuSpec, MemoryRange
from minikern.describe.acpi_places import placed_acpi
from minikern.describe.beside import ROOT_TABLES, acpi_tables, read_beside
from minikern.describe.beside_pci import lay_pci
from minikern.describe.case import Case
from minikern.describe.lspci_tree import is_tree

ENABLED, SRAT_MEMORY, MAX_ADDRESS = 1, 1, 1 << 52
RAM, RESERVED, ACPI_DATA, ACPI_NVS = 1, 2, 3, 4
MIB, GIB, FOUR_GIB = 1 << 20, 1 << 30, 1 << 32
FIRST_SERVER_CPUS = 17
HEAD_BYTES = 1 << 16

_DUMP = re.compile(rb"^[A-Z0-9_]{4} @ 0x[0-9A-Fa-f]+\s*$", re.MULTILINE)
_FUNCTION = re.compile(r"^(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7] \S.*")
_IOMEM = re.compile(r"^([0-9a-f]{8,16})-([0-9a-f]{8,16}) : (.+)$", re.MULTILINE)  # of the tree's first level
_TYPES = {
    "System RAM": RAM, "Reserved": RESERVED, "reserved": RESERVED, "ACPI Tables": ACPI_DATA,
    "ACPI Non-volatile Storage": ACPI_NVS,
}  # fmt: skip

Preset = Callable[[str], Case]


def is_tables(path: Path) -> bool:
    """True for what acpidump prints, and for a folder of .dat files without anything of a captured machine."""
    if path.is_dir():
        return any(path.glob("*.dat"))
    return _DUMP.search(read_head(path, HEAD_BYTES)) is not None


def is_resource_tree(path: Path) -> bool:
    """True for the text of /proc/iomem."""
    return path.is_file() and b" : System RAM" in read_head(path, HEAD_BYTES)


def is_functions(path: Path) -> bool:
    """True for what lspci prints with numbers (-n, -nn), with bytes, or as a tree."""
    if not path.is_file():
        return False
    lines = read_head(path, HEAD_BYTES).decode("utf-8", "replace").splitlines()
    first = next((line for line in lines if line.strip()), "")
    return _FUNCTION.match(first) is not None or is_tree(first)


def spec_from_functions(path: Path, preset: Preset) -> Case:
    """The machine whose PCI functions these are. InputError: none with its bytes, ids or place."""
    text = read_beside(path)
    spec = preset("laptop")
    _forget(spec, path, f"made from the PCI functions in {path.name}")
    spec.notes = []
    lay_pci(spec, path, text)
    spec.notes += [
        "missing: processors, the size of memory, ACPI tables, the kernel",
        "assumed: processors, memory and unit costs of the preset laptop",
    ]
    return spec


def spec_from_tables(path: Path, preset: Preset) -> Case:
    """The machine these ACPI tables are of. InputError: damaged, or no room for them in the map that is made up."""
    tables = [(name, data) for name, data in acpi_tables(path) if name not in ROOT_TABLES]
    found = dict(reversed(tables))
    ids = enabled_apic_ids(found.get("APIC", b""))[:MAX_CPUS]
    spec = preset("lpc2023" if len(ids) >= FIRST_SERVER_CPUS else "laptop")
    memory = _affinity_ranges(found.get("SRAT", b""))
    _forget(spec, path, f"made from the ACPI tables in {path.name}")
    if ids:
        _set_cpus(spec, ids)
    spec.e820 = _map_of(spec, memory, tables)
    placed = placed_acpi(tables, spec.e820)
    if placed is None:
        raise InputError(f"{path}: no room for {len(tables)} tables below 4 GiB")
    spec.acpi = placed
    spec.notes = [
        f"read: {len(tables)} ACPI tables, {len(ids)} processors and {len(memory)} ranges of memory in them",
        f"missing: the processors' model, the kernel, PCI functions{'' if memory else ', the size of memory'}",
        "assumed: processors and unit costs of a preset; a memory map around the tables",
    ]
    return spec


def spec_from_resource_tree(path: Path, preset: Preset) -> Case:
    """The machine whose resource tree this is. InputError: an ordinary user's, whose addresses are zeros."""
    rows = [(int(m[1], 16), int(m[2], 16) + 1, m[3].strip()) for m in _IOMEM.finditer(read_beside(path))]
    ranges = [MemoryRange(start, end, _TYPES[name]) for start, end, name in rows if name in _TYPES and start < end]
    if not any(entry.type == RAM and entry.end - entry.start > MIB for entry in ranges):
        raise InputError(f"{path}: no memory in it: /proc/iomem shows addresses to root only")
    spec = preset("laptop")
    _forget(spec, path, f"made from the resource tree {path.name}")
    spec.e820 = ranges[:MAX_E820]
    spec.notes = [
        f"read: {len(spec.e820)} ranges of memory",
        "missing: processors, ACPI tables, the kernel, PCI functions",
        "assumed: processors, tables and unit costs of the preset laptop",
    ]
    if not any(entry.type == ACPI_DATA for entry in ranges):
        spec.e820 = _carved(spec.e820, *_room_for_tables(spec.e820, 2 * MIB), ACPI_DATA)
    return spec


def _forget(spec: Case, path: Path, title: str) -> None:
    # Of the preset, what belongs to another machine.
    spec.name, spec.title, spec.memory, spec.figures = path.name, title, spec.memory or f"{8 * GIB}", ""
    spec.e820, spec.nodes, spec.distances, spec.dmi = [], [], [], []
    spec.pci, spec.boot.ramdisk_address, spec.boot.ramdisk_bytes = PciSpec(), 0, 0
    spec.acpi.base = spec.acpi.size = 0


def _set_cpus(spec: Case, ids: list[int]) -> None:
    threads = 2 if len(ids) > 1 and any(apic_id ^ 1 in ids for apic_id in ids[:1]) else 1
    shift = max(1, max(ids).bit_length())
    of = spec.cpus
    description = CpuDescription(
        vendor=of.vendor, family=of.family, model=of.model, stepping=of.stepping, model_name=of.model_name,
        cores=max(1, (1 << shift) // threads), threads=threads, tsc_khz=of.tsc_khz, phys_bits=of.phys_bits,
    )  # fmt: skip
    dumps = [CpuidDump([(*at, *row) for at, row in build_cpuid(description, apic_id).items()]) for apic_id in ids]
    spec.cpus = CpuSpec(
        count=len(ids), sockets=1, cores=description.cores, threads=threads, tsc_khz=of.tsc_khz, apic_ids=ids,
        cpuid=dumps, x2apic=max(ids) >= 0xFF, model_name=of.model_name, family=of.family, model=of.model,
        stepping=of.stepping, vendor=of.vendor,
    )  # fmt: skip


def _affinity_ranges(srat: bytes) -> list[MemoryRange]:
    """Memory that is there from the start, by the SRAT. Source: ACPI 6.5 table 5.62"""
    shape, found, at = layout.SRAT_MEMORY, [], layout.SRAT.size
    while at + 2 <= len(srat) and srat[at + 1] >= 2:
        entry = srat[at : at + srat[at + 1]]
        if entry[0] == SRAT_MEMORY and len(entry) >= shape.size and shape.get(entry, "flags") & 3 == ENABLED:
            base, length = shape.get(entry, "base"), shape.get(entry, "bytes")
            if length and base + length <= MAX_ADDRESS:
                found.append(MemoryRange(base, base + length))
        at += srat[at + 1]
    return found


def _map_of(spec: Case, memory: list[MemoryRange], tables: list[tuple[str, bytes]]) -> list[MemoryRange]:
    """A PC's map, or the SRAT's ranges, with a place for the tables: where the FADT says DSDT and FACS are."""
    ranges = make_e820(spec.memory_bytes() or 8 * GIB, spec.name)
    if memory:
        fixed = [entry for entry in ranges if entry.end <= MIB or (entry.type != RAM and entry.start >= FOUR_GIB // 2)]
        ranges = [MemoryRange(max(entry.start, MIB), entry.end) for entry in memory if entry.end > MIB]
        for entry in fixed:
            ranges = _carved(ranges, entry.start, entry.end, entry.type)
    size = -(-sum(len(data) + 64 for _, data in tables) // MIB) * MIB + MIB
    fadt = next(data for name, data in tables if name == "FACP")
    for address in _told(fadt):
        if MIB <= address < FOUR_GIB - size:
            ranges = _carved(ranges, address & ~(MIB - 1), (address & ~(MIB - 1)) + size, ACPI_DATA)
    return _carved(ranges, *_room_for_tables(ranges, size), ACPI_DATA)


def _told(fadt: bytes) -> list[int]:
    shape = layout.FADT_V6 if len(fadt) >= layout.FADT_V6.size else layout.FADT_V3
    if len(fadt) < shape.size:
        return []
    names = ("dsdt", "facs", "x_dsdt", "x_facs") if shape is layout.FADT_V6 else ("dsdt", "facs")
    return sorted({address for name in names if (address := shape.get(fadt, name))})


def _room_for_tables(ranges: list[MemoryRange], size: int) -> tuple[int, int]:
    low = [entry for entry in ranges if entry.type == RAM and entry.start >= MIB and entry.end <= FOUR_GIB]
    top = max(low, key=lambda entry: entry.end - entry.start, default=MemoryRange(MIB, 2 * GIB))
    return top.end - size, top.end


def _carved(ranges: list[MemoryRange], start: int, end: int, kind: int) -> list[MemoryRange]:
    """``ranges`` with [start, end) as one of ``kind``: what others had of it is cut off."""
    if start >= end:
        return ranges
    kept = [MemoryRange(start, end, kind)]
    for entry in ranges:
        for low, high in ((entry.start, min(entry.end, start)), (max(entry.start, end), entry.end)):
            if low < high:
                kept.append(MemoryRange(low, high, entry.type))
    return sorted(kept, key=lambda entry: entry.start)
