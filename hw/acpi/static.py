"""Builders of the static tables: small typed arguments in, bytes with right lengths and checksums out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from hw.acpi import layout
from hw.acpi.checksum import fix_checksum
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import AcpiSpec

SPACE_MEMORY, SPACE_IO = 0, 1
_ACCESS = {8: 1, 16: 2, 32: 3, 64: 4}  # Source: ACPI 6.5 table 5.1, access size
LAPIC_ENABLED, LAPIC_ONLINE_CAPABLE = 1, 2
AFFINITY_ENABLED, MEMORY_HOTPLUG = 1, 2


class PlaceLike(Protocol):
    """A CPU's APIC id; see ``hw.spec.CpuPlace``."""

    @property
    def apic_id(self) -> int: ...


class MemoryLike(Protocol):
    """A memory range of a node; see ``hw.spec.NodeMemory``."""

    @property
    def base(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def hotplug(self) -> bool: ...


class ScopeLike(Protocol):
    """A device under a remapping unit: ``path`` is (device, function) pairs from ``bus`` on."""

    @property
    def type(self) -> int: ...
    @property
    def bus(self) -> int: ...
    @property
    def path(self) -> Sequence[tuple[int, int]]: ...
    @property
    def enumeration_id(self) -> int: ...


class DrhdLike(Protocol):
    """A DMA-remapping unit."""

    @property
    def segment(self) -> int: ...
    @property
    def include_all(self) -> bool: ...
    @property
    def base(self) -> int: ...
    @property
    def scopes(self) -> Sequence[ScopeLike]: ...


def gas(space: int, bits: int, address: int) -> bytes:
    """A generic address; all zero for address 0. Source: ACPI 6.5 clause 5.2.3.2"""
    if not address:
        return bytes(layout.GAS.size)
    return layout.GAS.pack(space=space, bit_width=bits, access=_ACCESS.get(bits, 0), address=address)


def rsdp(revision: int, oem_id: str, rsdt_address: int, xsdt_address: int) -> bytes:
    """20 bytes for revision 0, 36 from revision 2 on."""
    data = layout.RSDP.pack(
        signature=b"RSD PTR ",
        oem_id=oem_id.encode("ascii").ljust(6)[:6],
        revision=revision,
        rsdt=rsdt_address,
        length=layout.RSDP.size if revision >= 2 else 0,
        xsdt=xsdt_address if revision >= 2 else 0,
    )
    data = fix_checksum(data, layout.RSDP.offset("checksum"), layout.RSDP_V0_SIZE)
    if revision < 2:
        return data[: layout.RSDP_V0_SIZE]
    return fix_checksum(data, layout.RSDP.offset("extended_checksum"))


def xsdt(addresses: Sequence[int], ids: TableIds) -> bytes:
    """Root table with 64-bit entries."""
    return sdt("XSDT", 1, b"".join(address.to_bytes(8, "little") for address in addresses), ids)


def rsdt(addresses: Sequence[int], ids: TableIds) -> bytes:
    """Root table with 32-bit entries; OverflowError for an address above 4 GiB."""
    return sdt("RSDT", 1, b"".join(address.to_bytes(4, "little") for address in addresses), ids)


def facs() -> bytes:
    """A FACS without a waking vector."""
    return layout.FACS.pack(signature=b"FACS", length=layout.FACS.size, version=2)


def fadt(spec: AcpiSpec, facs_address: int, dsdt_address: int) -> bytes:
    """FADT of the revision the spec asks for (1, 3 or 6), fixed hardware in I/O space."""
    shape = {1: layout.FADT_V1, 3: layout.FADT_V3, 6: layout.FADT_V6}[spec.fadt_revision]
    values: dict[str, int | bytes] = {
        "facs": facs_address & 0xFFFF_FFFF,
        "dsdt": dsdt_address & 0xFFFF_FFFF,
        "profile": 4,  # enterprise server
        "sci": spec.sci_irq,
        "pm1a_evt": spec.pm_base,
        "pm1a_cnt": spec.pm_base + 4,
        "pm_tmr": spec.pm_timer_port,
        "gpe0": spec.gpe0_address,
        "pm1_evt_len": 4,
        "pm1_cnt_len": 2,
        "pm_tmr_len": 4,
        "gpe0_len": spec.gpe0_length,
        "c2_latency": 0xFFF,
        "c3_latency": 0xFFF,
        "century": 0x32,
        "boot_arch": spec.boot_arch,
        "flags": 0x4A5,  # WBINVD, C1, sleep button by method, 32-bit timer, reset register
    }
    if spec.fadt_revision > 1:
        # a 32-bit pointer and its 64-bit twin must not both be set (ACPI 6.5 table 5.9), so the twin stands alone
        values |= {"reset_register": gas(SPACE_IO, 8, 0xCF9), "reset_value": 6}
        values |= {"x_facs": facs_address, "x_dsdt": dsdt_address, "facs": 0, "dsdt": 0}
        values |= {"x_pm1a_evt": gas(SPACE_IO, 32, spec.pm_base), "x_pm1a_cnt": gas(SPACE_IO, 16, spec.pm_base + 4)}
        values |= {"x_pm_tmr": gas(SPACE_IO, 32, spec.pm_timer_port)}
        values |= {"x_gpe0": gas(SPACE_IO, min(255, spec.gpe0_length * 8), spec.gpe0_address)}
    body = shape.pack(**values)[layout.HEADER.size :]
    return sdt("FACP", spec.fadt_revision, body, spec.ids())


def madt(spec: AcpiSpec, cpus: Sequence[PlaceLike]) -> bytes:
    """MADT: processors in the order given (x2APIC form from id 255 on), I/O APICs, overrides, NMI wiring.

    Kernels pass over the x2APIC form of ids below 255 if any processor has the other one; so where a number does not
    fit the short form of such an id, all have the long one.
    """
    wide = any(place.apic_id < 0xFF < uid for uid, place in enumerate(cpus))
    entries = [_lapic(place.apic_id, uid, LAPIC_ENABLED, wide) for uid, place in enumerate(cpus)]
    spare = max((place.apic_id for place in cpus), default=-1) + 1
    entries += [
        _lapic(spare + index, len(cpus) + index, LAPIC_ONLINE_CAPABLE, wide) for index in range(spec.hotplug_cpus)
    ]
    entries += [
        _entry(layout.MADT_IOAPIC, 1, id=io.id, address=io.address, gsi_base=io.gsi_base) for io in spec.ioapics
    ]
    entries += [
        _entry(layout.MADT_OVERRIDE, 2, bus=0, irq=item.irq, gsi=item.gsi, flags=item.flags)
        for item in spec.overrides
    ]
    for nmi in spec.lapic_nmis:
        kind, shape = (10, layout.MADT_X2APIC_NMI) if nmi.x2apic else (4, layout.MADT_LAPIC_NMI)
        entries.append(_entry(shape, kind, uid=nmi.uid, flags=nmi.flags, lint=nmi.lint))
    if spec.wakeup_mailbox:
        entries.append(_entry(layout.MADT_WAKEUP, 16, version=0, mailbox=spec.wakeup_mailbox))
    fixed = layout.MADT.pack(lapic_address=spec.lapic_address, flags=1)[layout.HEADER.size :]
    return sdt("APIC", 4 if spec.fadt_revision == 6 else 1, fixed + b"".join(entries), spec.ids())


def _lapic(apic_id: int, uid: int, flags: int, wide: bool) -> bytes:
    if apic_id < 0xFF and not wide and uid <= 0xFF:
        return _entry(layout.MADT_LAPIC, 0, uid=uid, apic_id=apic_id, flags=flags)
    return _entry(layout.MADT_X2APIC, 9, uid=uid, apic_id=apic_id, flags=flags)


def _entry(shape: layout.Layout, kind: int, **values: int | bytes) -> bytes:
    return shape.pack(type=kind, length=shape.size, **values)


def srat(
    cpus: Iterable[tuple[int, int]], memory: Iterable[tuple[int, MemoryLike]], ids: TableIds
) -> bytes:
    """SRAT from (pxm, APIC id) pairs and (pxm, memory range) pairs."""
    entries = []
    for pxm, apic_id in cpus:
        if apic_id < 0xFF:
            high = (pxm >> 8).to_bytes(3, "little")
            values: dict[str, int | bytes] = {"pxm_lo": pxm & 0xFF, "pxm_hi": high, "apic_id": apic_id}
            entries.append(_entry(layout.SRAT_CPU, 0, flags=AFFINITY_ENABLED, **values))
        else:
            entries.append(_entry(layout.SRAT_X2APIC, 2, pxm=pxm, apic_id=apic_id, flags=AFFINITY_ENABLED))
    for pxm, area in memory:
        flags = AFFINITY_ENABLED | (MEMORY_HOTPLUG if area.hotplug else 0)
        entries.append(_entry(layout.SRAT_MEMORY, 1, pxm=pxm, base=area.base, bytes=area.length, flags=flags))
    fixed = layout.SRAT.pack(table_revision=1)[layout.HEADER.size :]
    return sdt("SRAT", 3, fixed + b"".join(entries), ids)


def slit(distances: Sequence[Sequence[int]], ids: TableIds) -> bytes:
    """SLIT from a square matrix."""
    fixed = layout.SLIT.pack(localities=len(distances))[layout.HEADER.size :]
    return sdt("SLIT", 1, fixed + b"".join(bytes(row) for row in distances), ids)


def mcfg(windows: Iterable[tuple[int, int, int, int]], ids: TableIds) -> bytes:
    """MCFG with one allocation for each (base, segment, first bus, last bus)."""
    entries = [
        layout.MCFG_ENTRY.pack(base=base, segment=segment, start_bus=first, end_bus=last)
        for base, segment, first, last in windows
    ]
    return sdt("MCFG", 1, bytes(8) + b"".join(entries), ids)


def hpet(address: int, id: int, ids: TableIds) -> bytes:
    """HPET description of the one timer block at ``address``."""
    values: dict[str, int | bytes] = {"id": id, "address": gas(SPACE_MEMORY, 64, address), "min_tick": 0x37EE}
    return sdt("HPET", 1, layout.HPET.pack(**values)[layout.HEADER.size :], ids)


def dmar(units: Iterable[DrhdLike], ids: TableIds, width: int = 46, flags: int = 1) -> bytes:
    """DMAR with one DRHD a unit, in the order given. Source: VT-d 4.1 chapter 8"""
    body = layout.DMAR.pack(width=width - 1, flags=flags)[layout.HEADER.size :]
    for unit in units:
        scopes = b"".join(_scope(scope) for scope in unit.scopes)
        body += layout.DMAR_DRHD.pack(
            type=0,
            length=layout.DMAR_DRHD.size + len(scopes),
            flags=1 if unit.include_all else 0,
            segment=unit.segment,
            base=unit.base,
        )
        body += scopes
    return sdt("DMAR", 1, body, ids)


def _scope(scope: ScopeLike) -> bytes:
    path = b"".join(bytes(step) for step in scope.path)
    length = layout.DMAR_SCOPE.size + len(path)
    return layout.DMAR_SCOPE.pack(type=scope.type, length=length, bus=scope.bus, id=scope.enumeration_id) + path
