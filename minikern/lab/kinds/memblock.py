"""A memblock allocator: where the next bytes are taken from, before any other allocator is there.

The judge keeps memory as the bits of one large number, a bit for each unit, and finds places by shifting it.
Source: mm/memblock.c:memblock_find_in_range_node() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Wrong, table, whole
from minikern.lab.kinds.ribbon import Ribbon

NAME = "memblock_find"
ANY_NODE = -1  # Source: include/linux/numa.h:NUMA_NO_NODE
NOWHERE = -1
UNITS = 512  # a made-up machine's addresses, in its unit
TIMED_REGIONS = 64

Range = tuple[int, int]


class Request(NamedTuple):
    """So many bytes inside [start, end), on a node or anywhere, as high as can be or as low."""

    size: int
    align: int
    start: int
    end: int
    nid: int = ANY_NODE
    bottom_up: bool = False

    def __str__(self) -> str:
        where = "" if self.nid == ANY_NODE else f" of node {self.nid}"
        direction = "lowest" if self.bottom_up else "highest"
        return (
            f"{self.size:#x} bytes aligned to {self.align:#x} inside [{self.start:#x}, {self.end:#x}){where},"
            f" {direction} place"
        )


@dataclass(frozen=True)
class Memory:
    """Memory as (start, end, node), what is reserved, and the requests in order; all multiples of ``unit`` bytes."""

    name: str
    unit: int
    memory: tuple[tuple[int, int, int], ...]
    reserved: tuple[Range, ...]
    requests: tuple[Request, ...]

    @property
    def size(self) -> int:
        """Ranges and requests."""
        return len(self.memory) + len(self.reserved) + len(self.requests)

    def describe(self) -> str:
        """One line."""
        memory = ", ".join(f"[{start:#x}, {end:#x}) on node {nid}" for start, end, nid in self.memory)
        held = ", ".join(f"[{start:#x}, {end:#x})" for start, end in self.reserved)
        return f"{self.name}: memory {memory}; reserved {held or 'nothing'}; {len(self.requests)} requests"


def first_wrong(case: Memory, attempt: Attempt) -> Wrong | None:
    """The first request that gets another place than it should."""
    reserved = list(case.reserved)
    expected = "an address, or -1 where there is no room"

    def read(value: Any) -> int:
        return NOWHERE if value is None else whole(NAME, value, expected)

    for number, request in enumerate(case.requests):
        arguments = (table(case.memory, 3), table(sorted(reserved), 2), *request)
        found = attempt.call(f"request {number} ({request}) of {case.describe()}", arguments, read)
        attempt.tally(1)
        wanted = place(case, reserved, request)
        if found != wanted:
            at = found if found >= 0 else max(wanted, 0)
            told = (_told(wanted), f"{_told(found)}{_why(case, reserved, request, found)}")
            picture = tuple(_picture(case, reserved, request, number, (wanted, found)))
            return Wrong(case, "address", at, f"place of request {number}", *told, picture)
        if wanted >= 0:
            reserved.append((wanted, wanted + request.size))
    return None


def _told(address: int) -> str:
    return "no room" if address == NOWHERE else hex(address) if address >= 0 else str(address)


def _bits(start: int, end: int, unit: int) -> int:
    return (1 << end // unit) - (1 << start // unit) if start < end else 0


def place(case: Memory, reserved: list[Range], request: Request) -> int:
    """Where the request has to go, -1 for nowhere: over bits, one for each unit of memory that is free."""
    unit, spots = case.unit, list[int]()
    for start, end, nid in case.memory:  # a place lies in one range of memory: what touches it is another node's
        if request.nid not in (ANY_NODE, nid):
            continue
        free = _bits(start, end, unit) & _bits(request.start, request.end, unit)
        for low, high in reserved:
            free &= ~_bits(low, high, unit)
        for _ in range(request.size // unit - 1):
            free &= free >> 1  # a bit stays where the one above it is free as well
        spots += [at for at in range(free.bit_length()) if free >> at & 1 and at * unit % request.align == 0]
    if not spots:
        return NOWHERE
    return unit * (min(spots) if request.bottom_up else max(spots))


def _why(case: Memory, reserved: list[Range], request: Request, found: int) -> str:
    """What is the matter with a place, if anything but that a better one was there."""
    if found < 0:
        return ""
    end = found + request.size
    if found % request.align:
        return f", which is no multiple of {request.align:#x}"
    if found < request.start or end > request.end:
        return ", which is outside of the range asked for"
    for low, high in reserved:
        if low < end and found < high:
            return f", where [{low:#x}, {high:#x}) is reserved"
    if place(case, reserved, request._replace(start=found, end=end)) == NOWHERE:
        return ", where not all is one range of memory" + ("" if request.nid == ANY_NODE else f" of node {request.nid}")
    return ", though a better place is free" if request.size else ""


def _picture(
    case: Memory, reserved: list[Range], request: Request, number: int, places: tuple[int, int]
) -> list[str]:
    ends = [end for _, end, _ in case.memory] + [at + request.size for at in places if at >= 0]
    ribbon = Ribbon(min([start for start, _, _ in case.memory] + [at for at in places if at >= 0]), max(ends))
    memory = ribbon.line("memory", lambda start, end: _memory_char(case, start, end))
    lines = [
        f"request {number}: {request}",
        f"one character for {ribbon.width:#x} bytes from {ribbon.low:#x}; digits are nodes",
        memory,
        ribbon.marked("reserved", reserved, "#"),
        ribbon.marked("range", [(request.start, request.end)], "-"),
    ]
    for label, at in zip(("expected", "found"), places, strict=True):
        lines.append(ribbon.marked(label, [(at, at + request.size)] if at >= 0 else [], "^").rstrip())
    return lines


def _memory_char(case: Memory, start: int, end: int) -> str:
    return next((str(nid % 10) for low, high, nid in case.memory if low < end and start < high), " ")


# inputs


def _scaled(name: str, unit: int, memory: Any, reserved: Any, *requests: Request) -> Memory:
    """A machine written down in units."""
    return Memory(
        name, unit,
        tuple((start * unit, end * unit, nid) for start, end, nid in memory),
        tuple((start * unit, end * unit) for start, end in reserved),
        tuple(
            Request(r.size * unit, r.align * unit, r.start * unit, r.end * unit, r.nid, r.bottom_up) for r in requests
        ),
    )  # fmt: skip


def corners() -> list[Memory]:
    """Machines chosen by hand."""
    page, gib = 4096, 1 << 30
    one, two = [(1, 9, 0)], [(1, 9, 0), (9, 17, 1)]
    found = [
        _scaled("all of it", page, one, [], Request(8, 1, 0, 64)),
        _scaled("all of it, from below", page, one, [], Request(8, 1, 0, 64, bottom_up=True)),
        _scaled("a page too many", page, one, [], Request(9, 1, 0, 64)),
        _scaled("the top", page, one, [], Request(1, 1, 0, 64)),
        _scaled("the bottom", page, one, [], Request(1, 1, 0, 64, bottom_up=True)),
        _scaled("below a reserved top", page, one, [(7, 9)], Request(2, 1, 0, 64)),
        _scaled("between two reserved ranges", page, one, [(1, 4), (6, 9)], Request(2, 1, 0, 64)),
        _scaled("all is reserved", page, one, [(0, 16)], Request(1, 1, 0, 64)),
        _scaled("aligned", page, one, [], Request(2, 4, 0, 64)),
        _scaled("aligned, nothing fits", page, [(1, 4, 0)], [], Request(1, 4, 0, 64)),
        _scaled("aligned upwards", page, one, [(1, 3)], Request(2, 4, 0, 64, bottom_up=True)),
        _scaled("a limit inside of memory", page, one, [], Request(2, 1, 0, 5)),
        _scaled("a floor inside of memory", page, one, [], Request(2, 1, 4, 64, bottom_up=True)),
        _scaled("the range is empty", page, one, [], Request(1, 1, 5, 5)),
        _scaled("on node 0", page, two, [], Request(2, 1, 0, 64, nid=0)),
        _scaled("on node 1, from below", page, two, [], Request(2, 1, 0, 64, nid=1, bottom_up=True)),
        _scaled("on a node that is not there", page, two, [], Request(1, 1, 0, 64, nid=2)),
        _scaled("across two nodes", page, two, [], Request(12, 1, 0, 64)),
        _scaled("a hole in the way", page, [(1, 5, 0), (6, 9, 0)], [], Request(4, 1, 0, 64)),
        _scaled("reserved across a hole", page, [(1, 5, 0), (8, 12, 0)], [(4, 9)], Request(3, 1, 0, 64)),
        _scaled("three in turn", page, one, [(4, 5)], *[Request(3, 1, 0, 64)] * 3),
        _scaled("from both ends", 64, [(65, 73, 0)], [], Request(2, 2, 0, 99), Request(2, 2, 0, 99, ANY_NODE, True)),
        _scaled("gigabytes", gib, [(0, 2, 0), (4, 64, 0), (64, 128, 1)], [(0, 1)], Request(16, 16, 0, 256, 1)),
    ]
    return sorted(found, key=lambda case: case.size)


def made_up() -> Any:
    """Up to five ranges of memory, reserved ranges anywhere, a few requests in turn."""
    from hypothesis import strategies as st

    def ranges(most: int, least: int = 0) -> Any:
        return st.lists(st.integers(0, UNITS), min_size=2 * least, max_size=2 * most, unique=True).map(
            lambda points: list(zip(sorted(points)[::2], sorted(points)[1::2], strict=False))
        )

    request = st.builds(
        Request,
        st.integers(1, 40), st.sampled_from([1, 1, 2, 4, 8, 64]), st.integers(0, UNITS // 2),
        st.integers(UNITS // 4, 2 * UNITS), st.sampled_from([ANY_NODE, ANY_NODE, 0, 1]), st.booleans(),
    )  # fmt: skip

    @st.composite
    def machines(draw: st.DrawFn) -> Memory:
        memory = [(start, end, draw(st.integers(0, 1))) for start, end in draw(ranges(5, 1))]
        requests = draw(st.lists(request, min_size=1, max_size=4))
        unit = draw(st.sampled_from([1, 64, 4096, 1 << 30]))
        base = max(4096 // unit, 64)  # page 0 is never given out
        memory = [(start + base, end + base, nid) for start, end, nid in memory]
        reserved = [(start + base, end + base) for start, end in draw(ranges(5))]
        moved = [one._replace(start=one.start + base, end=one.end + base) for one in requests]
        return _scaled("made up", unit, memory, reserved, *moved)

    return machines()


def builtins() -> dict[str, Function]:
    """The emulated kernel's."""
    from minikern.state.memblock import Memblock, Region

    def find(memory: Any, reserved: Any, *request: Any) -> int | None:
        size, align, start, end, nid, bottom_up = request
        memblock = Memblock()
        memblock.memory.regions = [Region(low, high, node) for low, high, node in memory.tolist()]
        memblock.reserved.regions = [Region(low, high) for low, high in reserved.tolist()]
        memblock.bottom_up = bottom_up
        return memblock.find_in_range(start, end, size, align, nid)

    return {"built-in": find}


def load(_: int) -> Load:
    """A machine with many small reservations at the top, where the first that fits lies below all of them."""
    step = 1 << 20
    memory = table([(step, 2 * TIMED_REGIONS * step, 0)], 3)
    reserved = table([(at * step, at * step + step // 2) for at in range(TIMED_REGIONS, 2 * TIMED_REGIONS)], 2)

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(memory, reserved, step, step, 0, 1 << 40, ANY_NODE, False)

    return Load(f"{TIMED_REGIONS} reserved ranges", 1, bind)


KIND = Kind(
    "memblock",
    Hook(
        NAME,
        ("memory", "reserved", "size", "align", "start", "end", "nid", "bottom_up"),
        "Return the address of the highest place (with bottom_up the lowest) for size bytes that is a multiple of"
        " align, lies inside [start, end) and in one row of memory, of node nid unless that is -1, and is not reserved;"
        " -1 where there is none. memory has rows (start, end, node), reserved rows (start, end), both sorted and in"
        " bytes (int64).",
    ),
    "requests", "machine", first_wrong, corners, made_up, builtins, load,
    '''\
    # Cut what is reserved out of what may be used; then look at the pieces that are left.
    pieces = [(low, high) for low, high, node in memory.tolist() if nid in (-1, node)]
    for low, high in reserved.tolist():
        pieces = [part for a, b in pieces for part in ((a, min(b, low)), (max(a, high), b)) if part[0] < part[1]]
    pieces = [(max(a, start), min(b, end)) for a, b in pieces]
    if bottom_up:
        places = [-(-a // align) * align for a, b in pieces if -(-a // align) * align + size <= b]
        return min(places, default=-1)
    places = [(b - size) // align * align for a, b in pieces if (b - size) // align * align >= a]
    return max(places, default=-1)
''',
    ("(b - size) // align * align for", "b - size for"),
)  # fmt: skip
