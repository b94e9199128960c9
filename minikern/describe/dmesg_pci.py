"""The PCI hierarchy a boot log tells of: every function with what its lines say, as the firmware had set it up.

What no line says is chosen so that the kernel, enumerating again, writes the same lines.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from hw.pci.spec import (
    BRIDGE_KINDS,
    PCIE_KINDS,
    Address,
    BarSpec,
    FunctionKind,
    HostBridgeSpec,
    PciFunctionSpec,
    PciSpec,
    VirtualFunctions,
    WindowSpec,
)
from minikern.describe.dmesg_chipset import LPC, registers_of
from minikern.describe.dmesg_dmar import remapping_units
from minikern.describe.dmesg_groups import isolating, logged_groups
from minikern.describe.dmesg_ivrs import ivrs_body
from minikern.describe.dmesg_links import links_of
from minikern.describe.dmesg_log import Log
from minikern.describe.dmesg_needed import needed_functions
from minikern.describe.dmesg_pci_kinds import kinds_of
from minikern.describe.dmesg_pci_lines import Range, Seen, seen_functions
from minikern.describe.dmesg_pci_roots import host_bridges
from minikern.describe.dmesg_ports import LoggedPort, logged_ports

ROM_SIZES = range(2048, (16 << 20) + 1)
IO_GRANULE, MEMORY_GRANULE, FOUR_GIB = 0x1000, 0x10_0000, 1 << 32
DECODE_IO, DECODE_MEMORY, MASTER = 1, 2, 4
VGA_ROUTED = 0x08  # bridge control. Source: PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5.18
HOTPLUG_SIZES = (0x1000, 0x20_0000)  # what a kernel adds for one slot: ports, memory
COMMAND_MASK = 0x0547
PORT_KINDS = ("root_port", "upstream", "downstream", "event_collector")
PAGE_BYTES, MAX_VFS = 4096, 0xFFFF
VF_PLACES = range(0x100, 0xFC1)  # where the capability fits

_ECAM = re.compile(
    r"^PCI: (?:MMCONFIG for domain|ECAM \[mem \S+\] \(base 0x(?P<base>[0-9a-f]{1,16})\) for domain)"
    r" 0000 \[bus (?P<first>[0-9a-f]{2})-(?P<last>[0-9a-f]{2})\]"
    r"(?: at \[mem \S+\] \(base 0x(?P<old>[0-9a-f]{1,16})\))?"
)
_SMALL = re.compile(r"^pci_bus ([0-9a-f]{4,8}):([0-9a-f]{2}): extended config space not accessible")
_NODE = re.compile(r"^(?:ACPI: )?SRAT: Node (\d{1,4}) PXM (\d{1,9}) ")


class LoggedPci(NamedTuple):
    """A log's PCI, and the bodies of the tables that tell of its IOMMUs (empty if there are none)."""

    spec: PciSpec
    dmar: bytes = b""
    ivrs: bytes = b""


def pci_from_log(log: Log) -> LoggedPci:
    """The PCI of the machine that wrote the log; empty, with a note of it, if no line names a function."""
    seen = seen_functions(log.lines)
    if not seen:
        log.assumed.append("no PCI functions, as the log has no lines of any")
        return LoggedPci(PciSpec())
    sorted_by_bus = log.first(r"^PCI: Dell System detected, enabling pci=bfsort") is not None
    spec = PciSpec(host_bridges=host_bridges(log.lines, _pxm_of_node(log)), breadth_first=sorted_by_bus)
    _ecam(log, spec)
    if not spec.host_bridges:
        spec.host_bridges = _lost_roots(seen.values())
        log.assumed.append("PCI host bridges where no bridge leads to, without windows, as the log lost their lines")
    kept = _reachable(seen, spec.host_bridges)
    log.read.append(f"{len(kept)} PCI functions on {len(spec.host_bridges)} root buses")
    if len(kept) < len(seen):
        log.assumed.append(f"{len(seen) - len(kept)} logged PCI functions left out, as no bridge leads to their buses")
    groups = logged_groups(log.lines)
    spec.functions = _functions(log, kept, spec.host_bridges, groups)
    if not any(function.bars for function in spec.functions):
        log.assumed.append("PCI functions without addresses, as the log has no lines of them")
    spec.needed = needed_functions(log, spec)
    dmar = remapping_units(log, spec, list(seen), groups)
    return LoggedPci(spec, dmar, ivrs_body(log, spec, groups))


def _pxm_of_node(log: Log) -> dict[int, int]:
    return {int(match[1]): int(match[2]) for match in log.all(_NODE)}


def _ecam(log: Log, spec: PciSpec) -> None:
    match = next(iter(log.all(_ECAM)), None)
    base = int(match["base"] or match["old"] or "0", 16) if match else 0
    if match and base and base < 1 << 52 and match["first"] <= match["last"]:
        spec.ecam_base = base
        spec.ecam_start_bus, spec.ecam_end_bus = int(match["first"], 16), int(match["last"], 16)


def _lost_roots(seen: Iterable[Seen]) -> list[HostBridgeSpec]:
    functions = list(seen)
    behind = {(one.address.segment, one.buses[0]) for one in functions if one.buses}
    roots = sorted({(one.address.segment, one.address.bus) for one in functions} - behind)
    found = []
    for number, (segment, bus) in enumerate(roots):
        following = roots[number + 1] if number + 1 < len(roots) else (None, 0)
        last = following[1] - 1 if following[0] == segment else 0xFF
        found.append(HostBridgeSpec(first_bus=bus, last_bus=last, segment=segment, name=f"R{number:03X}", uid=number))
    return found


def _reachable(seen: dict[Address, Seen], roots: list[HostBridgeSpec]) -> dict[Address, Seen]:
    """The functions that configuration accesses get to; a bridge whose numbers cannot be right leads nowhere."""
    buses = {(root.segment, root.first_bus): root for root in roots}
    kept: dict[Address, Seen] = {}
    for address, one in sorted(seen.items()):
        root = buses.get((address.segment, address.bus))
        if root is None:
            continue
        kept[address] = one
        if one.buses is None:
            continue
        secondary, subordinate = one.buses
        sound = address.bus < secondary <= subordinate <= root.last_bus and (address.segment, secondary) not in buses
        if sound and one.header == 1:
            buses[address.segment, secondary] = root
        else:
            one.buses = None
    return kept


def _functions(
    log: Log, seen: dict[Address, Seen], roots: list[HostBridgeSpec], groups: dict[Address, int]
) -> list[PciFunctionSpec]:
    small = {(int(match[1], 16), int(match[2], 16)) for match in log.all(_SMALL)}
    kinds = kinds_of(seen, {(root.segment, root.first_bus) for root in roots}, small, groups)
    acs = isolating(seen, kinds, groups)
    routed = _vga_path(seen)
    slots = _hotplug_ports(seen)
    following = _ari_chains(seen, kinds)
    links, ports = links_of(seen), logged_ports(log.lines)
    opened = {(one.address.segment, one.address.bus, LPC) for one in seen.values() if one.opened}
    made = []
    for address, one in seen.items():
        spec = _function(one, kinds[address], address in routed)
        if spec.kind in PCIE_KINDS:
            spec.capabilities = ["pm", "msi", "acs"] if address in acs else ["pm", "msi"]
            spec.hotplug, spec.ari_next = address in slots, following.get(address)
            spec.link, spec.virtual = links.get(address), _virtual(one)
            _port(spec, ports.get(address))
        spec.registers = registers_of(one, address in opened)
        made.append(spec)
    return made


def _port(spec: PciFunctionSpec, port: LoggedPort | None) -> None:
    if port is not None and spec.kind in PORT_KINDS:
        spec.slot, spec.hotplug = port.slot, spec.hotplug or port.slot is not None
        spec.capabilities += ["aer"] if port.errors else []
        if port.dpc is not None:
            spec.dpc, spec.capabilities = port.dpc, [*spec.capabilities, "dpc"]


def _function(one: Seen, kind: FunctionKind, routed: bool) -> PciFunctionSpec:
    bridge = kind in BRIDGE_KINDS
    bars = _bars(one.bars, 2 if bridge else 1 if one.header == 2 else 6)
    spec = PciFunctionSpec(
        bdf=str(one.address),
        id=one.id,
        class_code=one.class_code,
        kind=kind,
        bars=bars,
        pme=one.pme,  # type: ignore[arg-type]
        low_power=one.low_power,  # type: ignore[arg-type]
        ext_tag=one.ext_tag,
        assigned=True,
        command=_command(one, bars, bridge),
    )
    if one.rom is not None and one.rom.kind == "mem" and one.rom.size in ROM_SIZES and _power_of_two(one.rom.size):
        spec.rom_size, spec.rom_address = one.rom.size, one.rom.start & 0xFFFF_FFFF
    if bridge:
        spec.windows = [window for window in map(_window, one.windows) if window is not None]
        spec.secondary, spec.subordinate = one.buses or (0, 0)
        spec.bridge_control = VGA_ROUTED if routed else 0
    return spec


def _virtual(one: Seen) -> VirtualFunctions | None:
    bars = [bar for bar in _bars(one.vf_bars, 6) if bar.type != "io" and bar.size >= PAGE_BYTES]
    if not bars or not 0 < one.total_vfs <= MAX_VFS:
        return None
    return VirtualFunctions(one.total_vfs, bars, one.vf_at if one.vf_at in VF_PLACES else 0)


def _bars(logged: dict[int, Range], count: int) -> list[BarSpec]:
    """The registers that can be: sizes a power of two, none over another or beyond the last of ``count``."""
    taken: set[int] = set()
    bars = []
    for index, found in sorted(logged.items()):
        wide = found.kind == "mem" and found.wide
        slots = {index, index + 1} if wide else {index}
        least = 4 if found.kind == "io" else 16
        fits = found.end < (1 << 64 if wide else FOUR_GIB)
        if slots & taken or max(slots) >= count or found.size < least or not _power_of_two(found.size) or not fits:
            continue
        taken |= slots
        bars.append(
            BarSpec(
                index,
                "io" if found.kind == "io" else "mem64" if wide else "mem32",
                found.size,
                found.prefetch and found.kind == "mem",
                found.start,
            )
        )
    return bars


def _power_of_two(value: int) -> bool:
    return value & (value - 1) == 0


def _window(found: Range) -> WindowSpec | None:
    granule = IO_GRANULE if found.kind == "io" else MEMORY_GRANULE
    limit = 1 << 32 if found.kind == "io" or not found.wide else 1 << 64
    if found.start % granule or (found.end + 1) % granule or found.end >= limit:
        return None
    return WindowSpec("io" if found.kind == "io" else "mem", found.start, found.end, found.prefetch, found.wide)


def _command(one: Seen, bars: list[BarSpec], bridge: bool) -> int:
    """What decodes: as logged when the kernel turned more on, else what has an address."""
    if one.command is not None:
        return one.command & COMMAND_MASK
    ports = any(bar.type == "io" and bar.address for bar in bars) or bridge
    memory = any(bar.type != "io" and bar.address for bar in bars) or bridge
    shadowed = DECODE_IO | DECODE_MEMORY if one.shadowed else 0
    return (DECODE_IO if ports else 0) | (DECODE_MEMORY if memory else 0) | (MASTER if bridge else 0) | shadowed


def _bridge_above(seen: dict[Address, Seen]) -> dict[tuple[int, int], Seen]:
    """The bridge that leads to a bus, by (segment, bus)."""
    return {(one.address.segment, one.buses[0]): one for one in seen.values() if one.buses}


def _vga_path(seen: dict[Address, Seen]) -> set[Address]:
    """Bridges above a display whose ROM the firmware had copied: accesses to it are routed through them."""
    above = _bridge_above(seen)
    path: set[Address] = set()
    for one in seen.values():
        here = above.get((one.address.segment, one.address.bus)) if one.shadowed else None
        while here is not None and here.address not in path:
            path.add(here.address)
            here = above.get((here.address.segment, here.address.bus))
    return path


def _hotplug_ports(seen: dict[Address, Seen]) -> set[Address]:
    """Ports with a slot: the driver's line says so, or the kernel kept room for one that no bridge below asked for."""
    above = _bridge_above(seen)
    asking = {one.address for one in seen.values() if one.add_sizes}
    parents = {
        bridge.address
        for address in asking
        if (bridge := above.get((address.segment, address.bus))) is not None
    }
    slots = {one.address for one in seen.values() if one.slot}
    return slots | {
        address
        for address in asking - parents
        if all(size in HOTPLUG_SIZES for size in seen[address].add_sizes)
    }


def _ari_chains(seen: dict[Address, Seen], kinds: dict[Address, FunctionKind]) -> dict[Address, int]:
    """Next function of each on buses where device numbers count as functions, as one port leads to several devices."""
    above = _bridge_above(seen)
    buses: dict[tuple[int, int], list[int]] = defaultdict(list)
    for address in seen:
        buses[address.segment, address.bus].append(address.devfn)
    found: dict[Address, int] = {}
    for (segment, bus), members in buses.items():
        port = above.get((segment, bus))
        if port is None or kinds[port.address] not in ("root_port", "downstream") or max(members) < 8:
            continue
        members.sort()
        for devfn, following in zip(members, [*members[1:], 0], strict=True):
            found[Address(segment, bus, devfn)] = following
    return found
