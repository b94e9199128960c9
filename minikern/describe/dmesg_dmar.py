"""DMA remapping units of a boot log: the DMAR table again, with device scopes that bring the logged groups about.

Source: drivers/iommu/intel/dmar.c:dmar_table_init(), intel/irq_remapping.c:ir_parse_one_ioapic_scope() @ v6.12; VT-d
specification 4.1, chapter 8
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence

from hw.acpi.layout import DMAR, HEADER, TableIds
from hw.acpi.static import dmar
from hw.pci.spec import BRIDGE_KINDS, Address, DeviceScope, DrhdSpec, HostBridgeSpec, PciFunctionSpec, PciSpec
from minikern.describe.dmesg_log import Log

MAX_UNITS = 256
FIRST_MMIO, PAGE = 0x8000_0000, 0x1000
INTR_REMAP, X2APIC_OPT_OUT = 1, 2
ENDPOINT, BRIDGE, IOAPIC, HPET = 1, 2, 3, 4
SCOPE_BUS, SCOPE_PATH = 0xF0, [(0x1F, 0)]  # of I/O APICs and timers; no line tells it
DISPLAY = 0x03
RMRR, ATSR, RHSA, ANDD, SATC = 1, 2, 3, 4, 5

_WIDTH = re.compile(r"^DMAR: Host address width (\d{1,2})\s*$")
_STRUCTURE = re.compile(
    r"^DMAR: (?:DRHD base: 0x(?P<drhd>[0-9a-f]{1,16}) flags: 0x(?P<flags>[0-9a-f]{1,2})"
    r"|RMRR base: 0x(?P<rmrr>[0-9a-f]{1,16}) end: 0x(?P<end>[0-9a-f]{1,16})"
    r"|ATSR flags: 0x(?P<atsr>[0-9a-f]{1,2})|SATC flags: 0x(?P<satc>[0-9a-f]{1,2})"
    r"|RHSA base: 0x(?P<rhsa>[0-9a-f]{1,16}) proximity domain: 0x(?P<pxm>[0-9a-f]{1,8})"
    r"|ANDD device: (?P<andd>[0-9a-f]{1,2}) name: (?P<name>\S{1,200}))\s*$"
)
_REGISTERS = re.compile(
    r"^DMAR: dmar\d+: reg_base_addr ([0-9a-f]{1,16}) ver ([0-9a-f]):([0-9a-f]) cap ([0-9a-f]{1,16})"
    r" ecap ([0-9a-f]{1,16})\s*$"
)
_IOAPIC = re.compile(r"^DMAR-IR: IOAPIC id (\d{1,3}) under DRHD base +0x([0-9a-f]{1,16}) ")
_IRTE = re.compile(r"^IOAPIC\[(\d{1,3})\]: Set IRTE entry \(.* SID:([0-9A-F]{4}) ")
_HPET = re.compile(r"^DMAR-IR: HPET id (\d{1,3}) under DRHD base 0x([0-9a-f]{1,16})")


def remapping_units(log: Log, pci: PciSpec, order: Sequence[Address], groups: dict[Address, int]) -> bytes:
    """Give ``pci`` the logged units; the DMAR table's bytes with all its structures, empty if the log has none.

    ``order`` are the functions as they were found, ``groups`` theirs in the order of the lines.
    """
    lines = list(log.all(_STRUCTURE))[:MAX_UNITS]
    units = {unit.base: unit for unit in _units(lines, pci)}
    if not units:
        return b""
    for match in log.all(_REGISTERS):
        if unit := units.get(int(match[1], 16)):
            unit.version = int(match[2], 16) << 4 | int(match[3], 16)
            unit.cap, unit.ecap = int(match[4], 16) & (1 << 63) - 1, int(match[5], 16) & (1 << 63) - 1
    sources = {int(match[1]): int(match[2], 16) for match in log.all(_IRTE)}
    for pattern, kind in ((_IOAPIC, IOAPIC), (_HPET, HPET)):
        for match in log.all(pattern):
            if (unit := units.get(int(match[2], 16))) and int(match[1]) < 256:
                sid = sources.get(int(match[1])) if kind == IOAPIC else None
                unit.scopes.append(_interrupt_scope(kind, int(match[1]), sid))
    _cover(pci, list(units.values()), _walks(order, groups))
    pci.drhd = list(units.values())
    width = log.number(_WIDTH.pattern, 64)
    pci.dmar_address_width = width if width is not None and width >= 32 else pci.dmar_address_width
    log.read.append(f"{len(units)} DMA remapping units")
    return _table(lines, units, pci.dmar_address_width, _flags(log))


def _interrupt_scope(kind: int, number: int, sid: int | None) -> DeviceScope:
    # With interrupts logged one by one, their entries give the bus, device and function that is listened to.
    if sid is None:
        return DeviceScope(kind, SCOPE_BUS, SCOPE_PATH, number)
    return DeviceScope(kind, sid >> 8, [(sid >> 3 & 0x1F, sid & 7)], number)


def _units(lines: Sequence[re.Match[str]], pci: PciSpec) -> Iterator[DrhdSpec]:
    ecam = range(0)
    if pci.ecam_base is not None:
        ecam = range(pci.ecam_base + (pci.ecam_start_bus << 20), pci.ecam_base + (pci.ecam_end_bus + 1 << 20))
    for match in lines:
        base = int(match["drhd"] or "0", 16)
        if FIRST_MMIO <= base < 1 << 52 and base % PAGE == 0 and base not in ecam:
            yield DrhdSpec(base, include_all=bool(int(match["flags"], 16) & 1), scopes=[])


def _flags(log: Log) -> int:
    remapping = log.first(r"^DMAR-IR: Enabled IRQ remapping|^DMAR-IR: IOAPIC id") is not None
    opt_out = log.first(r"^DMAR-IR: x2apic is disabled because BIOS sets x2apic opt out bit") is not None
    return INTR_REMAP * remapping | X2APIC_OPT_OUT * opt_out


def _walks(order: Sequence[Address], groups: dict[Address, int]) -> list[list[Address]]:
    """The group lines cut where the kernel began anew at the first bus, as it does for each unit that registers."""
    found = {address: place for place, address in enumerate(order)}
    by_discovery = _ascending([address for address in groups if address in found], found)
    by_address = _ascending(list(groups), {address: place for place, address in enumerate(sorted(groups))})
    return min(by_discovery, by_address, key=len)


def _ascending(addresses: list[Address], place: dict[Address, int]) -> list[list[Address]]:
    runs: list[list[Address]] = []
    for address in addresses:
        if not runs or place[address] < place[runs[-1][-1]]:
            runs.append([])
        runs[-1].append(address)
    return runs


def _cover(pci: PciSpec, units: list[DrhdSpec], walks: list[list[Address]]) -> None:
    """Scopes of the units that name their devices: those of its walk, else the bridges of the root bus it lies in."""
    functions = {function.address(): function for function in pci.functions}
    for unit in units:
        if unit.include_all:
            continue
        root = _root_of_unit(pci.host_bridges, unit)
        if len(units) == 1 and walks:  # nobody else could have put them into groups
            own = [at for walk in walks for at in walk]
        elif root is None:
            own = [at for at, function in functions.items() if at.bus == 0 and function.class_code >> 16 == DISPLAY]
        elif len(walks) > 1:
            own = [at for walk in walks[:-1] for at in walk if _root_of(pci.host_bridges, at) is root]
        else:
            on_root = [at for at in functions if (at.segment, at.bus) == (root.segment, root.first_bus)]
            own = [at for at in on_root if functions[at].kind in BRIDGE_KINDS]
        unit.scopes += list(_scopes(functions, own))


def _scopes(functions: dict[Address, PciFunctionSpec], own: list[Address]) -> Iterator[DeviceScope]:
    covered: set[tuple[int, int]] = set()  # bus ranges behind the bridges that are named
    for at in own:
        function = functions.get(at)
        if function is None or any(low <= at.bus <= high for low, high in covered):
            continue
        bridge = function.kind in BRIDGE_KINDS
        if bridge and function.secondary:
            covered.add((function.secondary, function.subordinate or function.secondary))
        yield DeviceScope(BRIDGE if bridge else ENDPOINT, at.bus, [(at.devfn >> 3, at.devfn & 7)])


def _root_of_unit(roots: list[HostBridgeSpec], unit: DrhdSpec) -> HostBridgeSpec | None:
    """The host bridge through whose windows the unit's registers are reached, but not one of a whole small machine."""
    inside = (
        root
        for root in roots
        for window in root.windows
        if window.type == "mem" and window.start <= unit.base <= window.end
    )
    return next(inside, None) if len(roots) > 1 else None


def _root_of(roots: list[HostBridgeSpec], at: Address) -> HostBridgeSpec | None:
    return next((one for one in roots if one.segment == at.segment and one.first_bus <= at.bus <= one.last_bus), None)


def _table(lines: Sequence[re.Match[str]], units: dict[int, DrhdSpec], width: int, flags: int) -> bytes:
    fixed = DMAR.pack(width=width - 1, flags=flags)[HEADER.size :]
    left = dict(units)
    body = b""
    for match in lines:
        unit = left.pop(int(match["drhd"], 16), None) if match["drhd"] else None
        if unit is not None:
            body += dmar([unit], TableIds())[DMAR.size :]
        else:
            body += _other(match)
    return fixed + body


def _other(match: re.Match[str]) -> bytes:
    if match["rmrr"]:
        return struct.pack("<HHHHQQ", RMRR, 24, 0, 0, int(match["rmrr"], 16), int(match["end"], 16))
    if match["atsr"] or match["satc"]:
        kind, flags = (ATSR, match["atsr"]) if match["atsr"] else (SATC, match["satc"])
        return struct.pack("<HHBBH", kind, 8, int(flags, 16), 0, 0)
    if match["rhsa"]:
        return struct.pack("<HHIQI", RHSA, 20, 0, int(match["rhsa"], 16), int(match["pxm"], 16))
    if match["andd"]:
        name = match["name"].encode("ascii", "replace") + b"\0"
        return struct.pack("<HHHBB", ANDD, 8 + len(name), 0, 0, int(match["andd"], 16)) + name
    return b""
