"""The addresses that functions of a dump decode, and windows of host bridges that hold them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hw.pci.build import build_config
from hw.pci.config import TYPE1, ConfigSpace
from hw.pci.spec import HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec

FOUR_GIB = 1 << 32
PORTS = ((0x0000, 0x0CF7), (0x0D00, 0xFFFF))  # all but the configuration ports
GRANULE = 1 << 24
Range = tuple[int, int]


def root_windows(pci: PciSpec, bridge: HostBridgeSpec) -> list[WindowSpec]:
    """All ports, and memory from the lowest to the highest address on the bridge's buses, below and above 4 GiB."""
    ranges: list[Range] = []
    for function in pci.functions:
        at = function.address()
        if at.segment == bridge.segment and bridge.first_bus <= at.bus <= bridge.last_bus:
            ranges += memory_of(function)
    halves = ([one for one in ranges if one[1] < FOUR_GIB], [one for one in ranges if one[0] >= FOUR_GIB])
    memory = [WindowSpec("mem", *_hull(half)) for half in halves if half]
    return [*(WindowSpec("io", *ports) for ports in PORTS), *memory]


def _hull(ranges: Iterable[Range]) -> Range:
    starts, ends = zip(*ranges, strict=True)
    return min(starts) & -GRANULE, max(ends) | GRANULE - 1


def memory_of(function: PciFunctionSpec) -> Iterator[Range]:
    """The memory a function decodes or forwards, as its registers have it; ends are inclusive."""
    space = build_config(function, multifunction=False)
    for bar in function.bars:
        low = space.read(0x10 + 4 * bar.index, 4)
        high = space.read(0x14 + 4 * bar.index, 4) if bar.type == "mem64" else 0
        address = high << 32 | low & 0xFFFF_FFF0
        if bar.type != "io" and address:
            yield address, address + bar.size - 1
    if space.is_bridge:
        yield from _forwarded(space)


def _forwarded(space: ConfigSpace) -> Iterator[Range]:
    for name, wide in (("memory", False), ("pref", True)):
        base, limit = space.get(TYPE1, f"{name}_base"), space.get(TYPE1, f"{name}_limit")
        start, end = (base & 0xFFF0) << 16, (limit & 0xFFF0) << 16 | 0xF_FFFF
        if wide and base & 1:
            start |= space.get(TYPE1, "pref_base_upper") << 32
            end |= space.get(TYPE1, "pref_limit_upper") << 32
        if 0 < start <= end:
            yield start, end
