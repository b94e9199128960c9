"""What the firmware does to PCI before the kernel starts: bus numbers, BARs, bridge windows, decoding on.

It works as firmware does, through the configuration spaces, sizing BARs by writing ones. Captured functions, and
those whose addresses are given, come assigned and are left alone. What finds no room stays unassigned, for the kernel
to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from hw.pci.config import TYPE1
from hw.pci.host import Function, PciTopology, RootBus
from hw.pci.spec import WindowSpec

IO_GRANULE, MEMORY_GRANULE = 0x1000, 0x100000
"""Smallest forwarding windows of a bridge. Source: PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5"""
FOUR_GIB = 1 << 32
COMMAND_IO, COMMAND_MEMORY, COMMAND_MASTER = 1, 2, 4


class Pool(Enum):
    """Which of a bus's address ranges a request is served from."""

    IO = "io"
    MEM32 = "mem32"
    MEM64 = "mem64"


@dataclass
class Request:
    """Room wanted on one bus: by a BAR, the ROM, or the window of a bridge with what is behind it."""

    function: Function
    register: int
    size: int
    align: int
    pool: Pool
    wide: bool = False
    behind: list[Request] = field(default_factory=list)
    pref_window: bool = False


@dataclass
class Arena:
    """A range handed out from its start upwards; ``limit`` is the first address beyond it."""

    at: int
    limit: int

    def take(self, size: int, align: int) -> int | None:
        """An aligned address with ``size`` bytes after it, None if there is no room."""
        start = (self.at + align - 1) & ~(align - 1)
        if start + size > self.limit:
            return None
        self.at = start + size
        return start


def assign_resources(topology: PciTopology, windows: dict[tuple[int, int], list[WindowSpec]] | None = None) -> None:
    """Number the buses and assign every described function's BARs.

    ``windows`` gives the ranges of a root bus by (segment, bus); without it each host bridge's own are used.
    """
    for root in topology.roots:
        _number_buses(topology, root)
    for root in topology.roots:
        key = (root.spec.segment, root.spec.first_bus)
        ranges = root.spec.windows if windows is None else windows.get(key, [])
        requests = [*_requests(topology, root.functions.values())]
        for pool, arenas in _arenas(ranges).items():
            _serve(topology, [request for request in requests if request.pool is pool], arenas)
        for function in _described(_below(root.functions.values())):
            _enable(topology, function)


def _described(functions: Iterable[Function]) -> Iterator[Function]:
    return (function for function in functions if not function.spec.raw and not function.spec.assigned)


def _below(functions: Iterable[Function]) -> Iterator[Function]:
    for function in functions:
        yield function
        yield from _below(function.children.values())


def _write(topology: PciTopology, function: Function, register: int, size: int, value: int) -> None:
    at = function.address
    topology.write(at.segment, at.bus, at.devfn, register, size, value)


def _read(topology: PciTopology, function: Function, register: int, size: int) -> int:
    at = function.address
    return topology.read(at.segment, at.bus, at.devfn, register, size)


def _number_buses(topology: PciTopology, root: RootBus) -> None:
    # Bridges nearer the root come first, since a bridge is reached through those above it.
    for function in _described(_below(root.functions.values())):
        spec = function.spec
        if function.config.is_bridge and spec.secondary is not None and spec.subordinate is not None:
            _write(topology, function, TYPE1["primary"].offset, 1, function.address.bus)
            _write(topology, function, TYPE1["secondary"].offset, 1, spec.secondary)
            _write(topology, function, TYPE1["subordinate"].offset, 1, spec.subordinate)
            _close_windows(topology, function)


def _requests(topology: PciTopology, functions: Iterable[Function]) -> Iterator[Request]:
    for function in _described(functions):
        yield from _bar_requests(topology, function)
        if function.config.is_bridge:
            behind = [*_requests(topology, function.children.values())]
            yield from _window_requests(function, behind)


def _bar_requests(topology: PciTopology, function: Function) -> Iterator[Request]:
    register, end = 0x10, 0x18 if function.config.is_bridge else 0x28
    while register < end:
        low, size = _size_bar(topology, function, register)
        wide = low & 7 == 4
        if size and low & 1:
            yield Request(function, register, size, size, Pool.IO)
        elif size:
            yield Request(function, register, size, size, Pool.MEM64 if wide else Pool.MEM32, wide)
        register += 8 if wide else 4
    rom = 0x38 if function.config.is_bridge else 0x30
    _write(topology, function, rom, 4, 0xFFFF_F800)
    mask = _read(topology, function, rom, 4) & 0xFFFF_F800
    _write(topology, function, rom, 4, 0)
    if mask:
        size = mask & -mask
        yield Request(function, rom, size, size, Pool.MEM32)


def _size_bar(topology: PciTopology, function: Function, register: int) -> tuple[int, int]:
    """(low dword with its type bits, bytes decoded or 0)."""
    _write(topology, function, register, 4, 0xFFFF_FFFF)
    mask = _read(topology, function, register, 4)
    _write(topology, function, register, 4, 0)
    low = _read(topology, function, register, 4)
    mask &= 0xFFFF_FFFC if low & 1 else 0xFFFF_FFF0
    if low & 7 == 4:
        _write(topology, function, register + 4, 4, 0xFFFF_FFFF)
        mask |= _read(topology, function, register + 4, 4) << 32
        _write(topology, function, register + 4, 4, 0)
    return low, mask & -mask


def _window_requests(bridge: Function, behind: list[Request]) -> Iterator[Request]:
    """The windows a bridge needs; only prefetchable 64-bit BARs may go behind its prefetchable window."""
    prefetchable = [request for request in behind if request.pool is Pool.MEM64 and _prefetchable(request)]
    plain = [request for request in behind if request.pool is not Pool.IO and request not in prefetchable]
    ports = [request for request in behind if request.pool is Pool.IO]
    for members, register, granule, pool in (
        (ports, TYPE1["io_base"].offset, IO_GRANULE, Pool.IO),
        (plain, TYPE1["memory_base"].offset, MEMORY_GRANULE, Pool.MEM32),
        (prefetchable, TYPE1["pref_base"].offset, MEMORY_GRANULE, Pool.MEM64),
    ):
        if members:
            align = max(granule, *(request.align for request in members))
            size = (_packed_size(members) + granule - 1) & ~(granule - 1)
            yield Request(bridge, register, size, align, pool, True, members, register == TYPE1["pref_base"].offset)


def _prefetchable(request: Request) -> bool:
    if request.behind:
        return request.pref_window
    return bool(request.function.config.read(request.register, 4) & 8)


def _largest_first(requests: list[Request]) -> list[Request]:
    return sorted(requests, key=lambda request: (-request.align, -request.size))


def _packed_size(requests: list[Request]) -> int:
    arena = Arena(0, 1 << 64)
    for request in _largest_first(requests):
        arena.take(request.size, request.align)
    return arena.at


def _arenas(windows: list[WindowSpec]) -> dict[Pool, list[Arena]]:
    ports = [Arena(max(w.start, IO_GRANULE), w.end + 1) for w in windows if w.type == "io"]
    low = [Arena(w.start, w.end + 1) for w in windows if w.type == "mem" and w.end < FOUR_GIB and w.start >= 1 << 20]
    high = [Arena(w.start, w.end + 1) for w in windows if w.type == "mem" and w.start >= FOUR_GIB]
    largest_first = sorted(low, key=lambda arena: arena.at - arena.limit)
    return {Pool.IO: ports, Pool.MEM32: largest_first, Pool.MEM64: [*high, *largest_first]}


def _serve(topology: PciTopology, requests: list[Request], arenas: list[Arena]) -> None:
    for request in _largest_first(requests):
        for arena in arenas:
            address = arena.take(request.size, request.align)
            if address is not None:
                _place(topology, request, address)
                break


def _place(topology: PciTopology, request: Request, address: int) -> None:
    if request.behind:
        _open_window(topology, request, address)
        _serve(topology, request.behind, [Arena(address, address + request.size)])
        return
    _write(topology, request.function, request.register, 4, address & 0xFFFF_FFFF)
    if request.wide:
        _write(topology, request.function, request.register + 4, 4, address >> 32)


def _open_window(topology: PciTopology, request: Request, address: int) -> None:
    bridge, last = request.function, address + request.size - 1
    if request.pool is Pool.IO:
        _write(topology, bridge, TYPE1["io_base"].offset, 2, (address >> 8 & 0xF0) | (last & 0xF000))
        _write(topology, bridge, TYPE1["io_base_upper"].offset, 4, address >> 16 | (last >> 16) << 16)
        return
    _write(topology, bridge, request.register, 4, (address >> 16 & 0xFFF0) | (last & 0xFFF0_0000))
    if request.pref_window:
        _write(topology, bridge, TYPE1["pref_base_upper"].offset, 4, address >> 32)
        _write(topology, bridge, TYPE1["pref_limit_upper"].offset, 4, last >> 32)


def _enable(topology: PciTopology, function: Function) -> None:
    command = COMMAND_IO | COMMAND_MEMORY | (COMMAND_MASTER if function.config.is_bridge else 0)
    _write(topology, function, 4, 2, command)


def _close_windows(topology: PciTopology, bridge: Function) -> None:
    """A window with base above limit forwards nothing; after reset base and limit are both zero, which would."""
    _write(topology, bridge, TYPE1["io_base"].offset, 2, 0x00F0)
    for register in (TYPE1["memory_base"].offset, TYPE1["pref_base"].offset):
        _write(topology, bridge, register, 4, 0x0000_FFF0)
