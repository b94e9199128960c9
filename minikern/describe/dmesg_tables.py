"""ACPI tables for a machine of which only the boot log is known: logged places, lengths and names, made-up contents.

What the log says about processors, memory affinity, I/O APICs and overrides goes into MADT, SRAT and SLIT; everything
else gets a body that does no harm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from hw.acpi import layout, static
from hw.acpi.checksum import fix_checksum
from hw.acpi.ec import ecdt
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import BOOT_ARCH_NO_ASPM, AcpiSpec, IoApicSpec, LapicNmi, Override, RawTable
from hw.acpi.standin import skipped, standin
from hw.spec import MAX_CPUS, MemoryRange
from minikern.describe.acpidump import LoggedTable, logged_hpet_period, logged_ioapics, logged_tables
from minikern.describe.dmesg_namespace import Loads, loading_terms, namespace_facts

MAX_TABLE_BYTES = 32 << 20
MAX_TABLES = 512
MIB, E820_RAM = 1 << 20, 1
AFFINITY_ENABLED, HOTPLUG, NON_VOLATILE = 1, 2, 4  # Source: ACPI 6.5 table 5.62
LAPIC_ENABLED = 1
LAPIC_PAGE = 0xFEE00
POLARITY = {"dfl": 0, "high": 1, "res": 2, "low": 3}  # Source: ACPI 6.5 table 5.26
TRIGGER = {"dfl": 0, "edge": 1, "res": 2, "level": 3}
AML_SIGNATURES = ("DSDT", "SSDT", "PSDT")
UNKNOWN_ENTRY = 0x7F  # a type no release has a meaning for, so that kernels step over it
SKIPPED_LEAD = 8  # of a block that is skipped: opcode, length, condition, and up to a boundary
DENSE_BYTES = 512 << 10
"""Of a table that firmware lists under a name the kernel loads: what is beyond is taken as data that costs nothing.

Three machines with tables of 3 MB load them in 17 to 26 ns a byte, others of their families in 90 and more.
"""
FIRST_OWN = MAX_TABLES  # number of the first table that lies in memory beside the listed ones

_OVERRIDE = re.compile(r"^ACPI: INT_SRC_OVR \(bus (\d+) bus_irq (\d+) global_irq (\d+) (\w+) (\w+)\)")
_NMI = re.compile(r"^ACPI: (LAPIC|X2APIC)_NMI \((?:acpi_id|uid)\[0x([0-9a-f]+)\] (\w+) (\w+) lint\[0x([0-9a-f]+)\]\)")
_HPET = re.compile(r"^ACPI: HPET id: 0x([0-9a-f]+) base: 0x([0-9a-f]+)")
_NO_ASPM = re.compile(
    r"^ACPI FADT declares the system doesn't support PCIe ASPM|^acpi PNP0A0[38]:\w+: FADT indicates ASPM is unsupported"
)
_PM_TIMER = re.compile(r"^ACPI: PM-Timer IO Port: 0x([0-9a-f]+)")


@dataclass
class Affinity:
    """One SRAT memory line."""

    pxm: int
    base: int
    length: int
    hotplug: bool = False
    non_volatile: bool = False


@dataclass
class Firmware:
    """What MADT, SRAT and SLIT are to say. ``cpus`` are APIC ids in MADT order, ``cpu_pxm`` SRAT lines in order."""

    cpus: list[int]
    cpu_pxm: list[tuple[int, int, bool]] = field(default_factory=list)  # (APIC id, proximity domain, x2APIC entry)
    memory: list[Affinity] = field(default_factory=list)
    distances: list[list[int]] = field(default_factory=list)
    hotplug: int = 0  # CPUs that are listed but not there
    ecam: tuple[int, int, int, int] | None = None  # base, segment, first bus, last bus
    memory_map: list[MemoryRange] = field(default_factory=list)  # where no device of the board can be
    dsdt: bytes = b""
    dmar: bytes = b""  # without its header, as the next one; empty: a body that does no harm
    ivrs: bytes = b""
    loads: Loads = field(default_factory=Loads)


def spec_from_lines(lines: Sequence[str], firmware: Firmware, base: AcpiSpec) -> AcpiSpec | None:
    """The ACPI side as bytes at the logged places, None when the log lists no tables.

    ``base`` gives the figures of hardware the log does not name.
    """
    tables = logged(lines)
    rsdp = next((entry for entry in tables if entry.signature == "RSDP"), None)
    root = next((entry for entry in tables if entry.signature in ("XSDT", "RSDT")), None)
    if rsdp is None or root is None:
        return None
    spec = hardware_facts(lines, base, firmware)
    spec.raw = _bodies(tables, spec, firmware)
    width = 8 if root.signature == "XSDT" else 4
    places = [table.address for table in spec.raw if table.signature not in ("DSDT", "FACS")]
    body = b"".join(address.to_bytes(8, "little")[:width] for address in places)
    spec.raw.append(RawTable(root.signature, root.address, sdt(root.signature, root.revision, body, _ids(root))))
    spec.rsdp_address, spec.rsdp_revision = rsdp.address, rsdp.revision
    spec.root_kind = "xsdt" if root.signature == "XSDT" else "rsdt"
    oem = _ids(rsdp).oem_id
    at = {spec.root_kind: root.address}
    spec.rsdp = static.rsdp(rsdp.revision, oem, at.get("rsdt", 0), at.get("xsdt", 0))
    return spec


def logged(lines: Sequence[str]) -> list[LoggedTable]:
    """The tables the firmware lists by the log, each once, places and lengths sound."""
    seen: set[int] = set()
    kept = []
    for entry in logged_tables("\n".join(lines))[:MAX_TABLES]:
        sound = entry.address < 1 << 52 and 20 <= entry.length <= MAX_TABLE_BYTES
        if sound and entry.address not in seen:
            seen.add(entry.address)
            kept.append(entry)
    return kept


def hardware_facts(lines: Sequence[str], base: AcpiSpec, firmware: Firmware) -> AcpiSpec:
    """``base`` with the I/O APICs, overrides, NMI wiring, HPET and timer port the log names."""
    spec = AcpiSpec(boot_arch=base.boot_arch & ~BOOT_ARCH_NO_ASPM, sci_irq=base.sci_irq, hpet_id=base.hpet_id)
    overrides, nmis = [], []
    hpet = False
    for line in lines:
        if match := _OVERRIDE.match(line):
            flags = POLARITY.get(match[4], 0) | TRIGGER.get(match[5], 0) << 2
            irq, gsi = int(match[2]), int(match[3])
            if irq <= 0xFF and gsi <= 0xFFFF_FFFF:
                overrides.append(Override(irq, gsi, flags))
        elif match := _NMI.match(line):
            flags = POLARITY.get(match[3], 0) | TRIGGER.get(match[4], 0) << 2
            wide = match[1] == "X2APIC"
            uid, lint = int(match[2], 16) & (0xFFFF_FFFF if wide else 0xFF), int(match[5], 16) & 0xFF
            nmis.append(LapicNmi(uid, flags, lint, wide))
        elif _NO_ASPM.match(line):
            spec.boot_arch |= BOOT_ARCH_NO_ASPM
        elif match := _HPET.match(line):
            hpet = True
            spec.hpet_id, spec.hpet_address = int(match[1], 16) & 0xFFFF_FFFF, int(match[2], 16) & 0xFFFF_FFFF
        elif match := _PM_TIMER.match(line):
            port = int(match[1], 16)
            if 8 <= port <= 0xFFF0:
                spec.pm_timer_port, spec.pm_base = port, port - 8
                spec.gpe0_address = port + 0x18
    namespace_facts(lines, spec)
    spec.overrides = overrides or spec.overrides
    spec.lapic_nmis = nmis or spec.lapic_nmis
    spec.hpet_period_fs = logged_hpet_period("\n".join(lines))
    spec.ioapics = _sound_ioapics(logged_ioapics("\n".join(lines)), spec.hpet_address, firmware) or spec.ioapics
    if not hpet and not any(" HPET 0x" in line for line in lines if line.startswith("ACPI: ")):
        spec.hpet_address = 0
    return spec


def _sound_ioapics(found: list[IoApicSpec], hpet: int, firmware: Firmware) -> list[IoApicSpec]:
    # Damaged lines must not put two devices in one place, or one into memory.
    taken = {hpet >> 12, LAPIC_PAGE}
    ranges = [range(entry.start, entry.end) for entry in firmware.memory_map if entry.type == E820_RAM]
    if firmware.ecam is not None:
        base, _segment, first, last = firmware.ecam
        ranges.append(range(base + (first << 20), base + (last + 1 << 20)))
    kept = []
    for io in found:
        free = io.address >> 12 not in taken and not any(io.address in one for one in ranges)
        placed = MIB <= io.address < 1 << 32 and io.address & 0xFFF < 0xFC0
        if free and placed and 1 <= io.pins <= 240 and io.id <= 0xFF and io.gsi_base < 1 << 24:
            taken.add(io.address >> 12)
            kept.append(io)
    return kept


def _ids(entry: LoggedTable) -> TableIds:
    ids = entry.ids or TableIds()
    names = [_ascii(text) for text in (ids.oem_id, ids.oem_table_id, ids.creator_id)]
    return TableIds(names[0], names[1], ids.oem_revision, names[2], ids.creator_revision)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def _bodies(tables: list[LoggedTable], spec: AcpiSpec, firmware: Firmware) -> list[RawTable]:
    by_kind = {entry.signature: entry.address for entry in reversed(tables)}
    makers: dict[str, Callable[[LoggedTable], bytes]] = {
        "FACP": lambda entry: _fadt(spec, entry, by_kind.get("FACS", 0), by_kind.get("DSDT", 0)),
        "DSDT": lambda entry: _dsdt(entry, firmware),
        "FACS": lambda entry: static.facs(),
        "APIC": lambda entry: _madt(spec, entry, firmware),
        "SRAT": lambda entry: _srat(entry, firmware),
        "SLIT": lambda entry: _slit(entry, firmware),
        "HPET": lambda entry: _as_logged(entry, static.hpet(spec.hpet_address, spec.hpet_id, _ids(entry))),
        "ECDT": lambda entry: _ecdt(spec, entry, firmware),
        "MCFG": lambda entry: _as_logged(
            entry, static.mcfg([firmware.ecam] if firmware.ecam else [], _ids(entry))
        ),
        "DMAR": lambda entry: _with_body(entry, firmware.dmar),
        "IVRS": lambda entry: _with_body(entry, firmware.ivrs),
    }
    made = []
    for number, entry in enumerate(tables):
        if entry.signature in ("RSDP", "XSDT", "RSDT"):
            continue
        maker = makers.get(entry.signature)
        data = maker(entry) if maker is not None else _unknown(entry, number, firmware)
        made.append(RawTable(entry.signature, entry.address, data))
    return made


def _unknown(entry: LoggedTable, number: int, firmware: Firmware) -> bytes:
    """A table that only its line tells of: AML as dense as firmware's where the kernel will run it, else zeros."""
    listed = any(entry == table for table in firmware.loads.listed)
    room = max(0, entry.length - layout.HEADER.size)
    if listed:
        body = standin(room, number)
    else:
        body = _static(room, number) if entry.signature in AML_SIGNATURES else bytes(room)
    return sdt(entry.signature, entry.revision & 0xFF, body, _ids(entry))


def _static(room: int, number: int) -> bytes:
    dense = min(room, DENSE_BYTES)
    return standin(dense, number) + skipped(room - dense)


def _with_body(entry: LoggedTable, body: bytes) -> bytes:
    return _as_logged(entry, sdt(entry.signature, entry.revision & 0xFF, body, _ids(entry)))


def _ecdt(spec: AcpiSpec, entry: LoggedTable, firmware: Firmware) -> bytes:
    if spec.ec is None or not spec.ec.ecdt:
        return _unknown(entry, 0, firmware)
    return _as_logged(entry, ecdt(spec.ec, _ids(entry)))


def _dsdt(entry: LoggedTable, firmware: Firmware) -> bytes:
    # The made-up namespace if it fits the logged length, else nothing. Tables that it loads from memory lie in what
    # is skipped.
    body = firmware.dsdt[layout.HEADER.size :]
    loads = firmware.loads
    cpus = len(firmware.cpus)
    tables = [_unknown(table, FIRST_OWN + number, firmware) for number, table in enumerate(loads.own)]
    lengths = [len(table) for table in tables]
    terms = len(loading_terms(loads.listed, [(0, length) for length in lengths], cpus))
    first = layout.HEADER.size + len(body) + terms + SKIPPED_LEAD
    if first + sum(lengths) > entry.length:
        tables, lengths, terms = [], [], 0
    places = [entry.address + first + sum(lengths[:number]) for number in range(len(tables))]
    body += loading_terms(loads.listed, list(zip(places, lengths, strict=True)), cpus) if terms else b""
    room = entry.length - layout.HEADER.size - len(body)
    if room < 0:
        return _unknown(entry, 0, firmware)
    kept = sum(lengths) + SKIPPED_LEAD if tables else 0
    block = bytearray(skipped(kept))
    block[SKIPPED_LEAD:] = b"".join(tables)
    return sdt("DSDT", entry.revision & 0xFF, body + bytes(block) + _static(room - kept, 0), _ids(entry))


def _as_logged(entry: LoggedTable, data: bytes) -> bytes:
    """``data`` cut or filled up to the logged length, with the logged revision and a right checksum."""
    table = bytearray(data.ljust(entry.length, b"\0")[: entry.length])
    table[4:8] = entry.length.to_bytes(4, "little")
    table[8] = entry.revision & 0xFF
    return fix_checksum(bytes(table))


def _fadt(spec: AcpiSpec, entry: LoggedTable, facs: int, dsdt: int) -> bytes:
    spec.fadt_revision = 1 if entry.length < layout.FADT_V3.size else 3 if entry.length < layout.FADT_V6.size else 6
    data = static.fadt(spec, facs, dsdt)
    ids = _ids(entry)
    named = sdt("FACP", entry.revision & 0xFF, data[layout.HEADER.size :], ids)
    return _as_logged(entry, named)


def _madt(spec: AcpiSpec, entry: LoggedTable, firmware: Firmware) -> bytes:
    wide = any(apic_id < 0xFF < uid for uid, apic_id in enumerate(firmware.cpus))  # see hw.acpi.static.madt()
    parts = [_lapic(apic_id, uid, wide) for uid, apic_id in enumerate(firmware.cpus)]
    taken = set(firmware.cpus)
    free = (number for number in range(2 * MAX_CPUS) if number not in taken)
    parts += [_lapic(number, number, wide, flags=0) for number in islice(free, firmware.hotplug)]
    parts += [
        _entry(layout.MADT_IOAPIC, 1, id=io.id, address=io.address, gsi_base=io.gsi_base) for io in spec.ioapics
    ]
    parts += [
        _entry(layout.MADT_OVERRIDE, 2, bus=0, irq=item.irq, gsi=item.gsi, flags=item.flags) for item in spec.overrides
    ]
    for nmi in spec.lapic_nmis:
        kind, shape = (10, layout.MADT_X2APIC_NMI) if nmi.x2apic else (4, layout.MADT_LAPIC_NMI)
        parts.append(_entry(shape, kind, uid=nmi.uid, flags=nmi.flags, lint=nmi.lint))
    fixed = layout.MADT.pack(lapic_address=spec.lapic_address, flags=1)[layout.HEADER.size :]
    return _padded(entry, fixed + b"".join(parts), _unused_x2apic if wide else _unused_lapic)


def _entry(shape: layout.Layout, kind: int, **values: int | bytes) -> bytes:
    return shape.pack(type=kind, length=shape.size, **values)


def _lapic(apic_id: int, uid: int, wide: bool, flags: int = LAPIC_ENABLED) -> bytes:
    if apic_id < 0xFF and not wide and uid <= 0xFF:
        return _entry(layout.MADT_LAPIC, 0, uid=uid, apic_id=apic_id, flags=flags)
    return _entry(layout.MADT_X2APIC, 9, uid=uid, apic_id=apic_id, flags=flags)


def _unused_x2apic() -> bytes:
    return _entry(layout.MADT_X2APIC, 9, uid=0xFFFF_FFFF, apic_id=0xFFFF_FFFF, flags=0)


def _unused_lapic() -> bytes:
    return _entry(layout.MADT_LAPIC, 0, uid=0xFF, apic_id=0xFF, flags=0)


def _padded(entry: LoggedTable, body: bytes, unused: Callable[[], bytes]) -> bytes:
    # Firmware tables often end in entries that are switched off; such ones fill up to the logged length.
    filler = unused()
    room = entry.length - layout.HEADER.size - len(body)
    if room > 0:
        body += filler * (room // len(filler))
        rest = room % len(filler)
        if rest > 1:
            body += bytes((UNKNOWN_ENTRY, rest)).ljust(rest, b"\0")
    return sdt(entry.signature, entry.revision & 0xFF, body, _ids(entry))


def _srat(entry: LoggedTable, firmware: Firmware) -> bytes:
    parts = []
    for apic_id, pxm, wide in firmware.cpu_pxm:
        if wide or apic_id >= 0xFF:
            values: dict[str, int | bytes] = {"pxm": pxm, "apic_id": apic_id, "flags": AFFINITY_ENABLED}
            parts.append(_entry(layout.SRAT_X2APIC, 2, **values))
        else:
            high = (pxm >> 8 & 0xFF_FFFF).to_bytes(3, "little")
            values = {"pxm_lo": pxm & 0xFF, "pxm_hi": high, "apic_id": apic_id, "flags": AFFINITY_ENABLED}
            parts.append(_entry(layout.SRAT_CPU, 0, **values))
    for area in firmware.memory:
        flags = AFFINITY_ENABLED | HOTPLUG * area.hotplug | NON_VOLATILE * area.non_volatile
        parts.append(
            _entry(layout.SRAT_MEMORY, 1, pxm=area.pxm, base=area.base, bytes=area.length, flags=flags)
        )
    fixed = layout.SRAT.pack(table_revision=1)[layout.HEADER.size :]
    return _padded(entry, fixed + b"".join(parts), _unused_affinity)


def _unused_affinity() -> bytes:
    return _entry(layout.SRAT_CPU, 0, apic_id=0, flags=0)


def _slit(entry: LoggedTable, firmware: Firmware) -> bytes:
    known = firmware.distances
    logged = math.isqrt(max(0, entry.length - layout.SLIT.size))
    count = max(len(known), min(logged, 1024))
    rows = [
        bytes(
            known[a][b] if a < len(known) and b < len(known) else 10 if a == b else 20
            for b in range(count)
        )
        for a in range(count)
    ]
    body = layout.SLIT.pack(localities=count)[layout.HEADER.size :] + b"".join(rows)
    return sdt("SLIT", entry.revision & 0xFF, body, _ids(entry))
