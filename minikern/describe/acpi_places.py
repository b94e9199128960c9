"""Places for tables of which only the bytes are known, as when the log's first lines are gone.

DSDT and FACS go where the FADT says, all others side by side into memory the firmware called ACPI data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hw.acpi.layout import FADT_V3, FADT_V6, HEADER, TableIds, sdt
from hw.acpi.spec import AcpiSpec, IoApicSpec, RawTable
from hw.spec import MemoryRange
from minikern.describe.acpidump import fadt_facts, hpet_facts, rsdp_for

RESERVED, ACPI_DATA, ACPI_NVS = 2, 3, 4
ALIGN_BYTES = 64
BIOS_RSDP = 0xF5A00  # within what Linux searches: drivers/acpi/acpica/tbxfroot.c @ v6.12
PINS = 24
MADT_ENTRIES = 44
ROOT_TABLES = ("RSDP", "XSDT", "RSDT")

Span = tuple[int, int]


def placed_acpi(tables: Iterable[tuple[str, bytes]], ranges: Sequence[MemoryRange], rsdp: int = 0) -> AcpiSpec | None:
    """The ACPI side with ``tables`` (signature, bytes) at places of our own; None if there is no room for them.

    ``ranges`` is the memory map, ``rsdp`` where the loader had the root pointer, 0: it had not.
    """
    kept = [(name, data) for name, data in tables if name not in ROOT_TABLES and len(data) >= HEADER.size]
    fadt = next((data for name, data in kept if name == "FACP"), b"")
    at = {"DSDT": _told(fadt, "dsdt"), "FACS": _told(fadt, "facs")}
    raw = [RawTable(name, at[name], data) for name, data in kept if at.get(name)]
    free = _free(_homes(ranges, [address for address in at.values() if address]), raw)
    for name, data in (item for item in kept if not at.get(item[0])):
        place = _take(free, len(data))
        if place is None:
            return None
        raw.append(RawTable(name, place, data))
    entries = [table.address for table in raw if table.signature not in ("DSDT", "FACS")]
    root = _take(free, HEADER.size + 8 * len(entries))
    if root is None or not fadt:
        return None
    body = b"".join(address.to_bytes(8, "little") for address in entries)
    raw.append(RawTable("XSDT", root, sdt("XSDT", 1, body, TableIds())))
    pointer = rsdp_for(2, TableIds(), root, xsdt=True)
    spec = AcpiSpec(rsdp_address=rsdp or BIOS_RSDP, rsdp_revision=2, rsdp=pointer, raw=raw)
    spec.ioapics = madt_ioapics(next((data for name, data in kept if name == "APIC"), b"")) or spec.ioapics
    hpet_facts(spec, raw)
    fadt_facts(spec, raw)
    return spec


def _told(fadt: bytes, name: str) -> int:
    if len(fadt) >= FADT_V6.size:
        return FADT_V6.get(fadt, f"x_{name}") or FADT_V6.get(fadt, name)
    return FADT_V3.get(fadt, name) if len(fadt) >= FADT_V3.size else 0


def _homes(ranges: Sequence[MemoryRange], told: list[int]) -> list[Span]:
    # Some firmware keeps its tables in plain reserved memory, beside those whose places are told.
    acpi = [(item.start, item.end) for item in ranges if item.type in (ACPI_DATA, ACPI_NVS)]
    beside = [item for item in ranges if item.type == RESERVED and any(item.start <= at < item.end for at in told)]
    return [*acpi, *((item.start, item.end) for item in beside)]


def _free(spans: list[Span], taken: list[RawTable]) -> list[Span]:
    for table in taken:
        first, end = table.address, table.address + len(table.data)
        parts = [part for start, stop in spans for part in ((start, min(stop, first)), (max(start, end), stop))]
        spans = [(start, stop) for start, stop in parts if start < stop]
    return sorted(set(spans), key=lambda span: span[0] - span[1])


def _take(free: list[Span], size: int) -> int | None:
    """The first place with room for ``size`` bytes, which is then no longer free."""
    for index, (start, stop) in enumerate(free):
        place = -(-start // ALIGN_BYTES) * ALIGN_BYTES
        if place + size <= stop:
            free[index] = (place + size, stop)
            return place
    return None


def madt_ioapics(madt: bytes) -> list[IoApicSpec]:
    """The I/O APICs of a MADT; how many pins each has follows from where the next one's interrupts begin."""
    found: list[tuple[int, int, int]] = []
    at = MADT_ENTRIES
    while at + 2 <= len(madt) and madt[at + 1] >= 2:
        if madt[at] == 1 and madt[at + 1] >= 12 and at + 12 <= len(madt):
            address, base = (int.from_bytes(madt[at + low : at + low + 4], "little") for low in (4, 8))
            found.append((base, madt[at + 2], address))
        at += madt[at + 1]
    found.sort()
    ends = [base for base, _, _ in found[1:]]
    pins = [min(end - base, 240) if end > base else PINS for (base, _, _), end in zip(found, ends, strict=False)]
    return [
        IoApicSpec(number, address, base, pins=count)
        for (base, number, address), count in zip(found, [*pins, PINS], strict=False)
    ]
