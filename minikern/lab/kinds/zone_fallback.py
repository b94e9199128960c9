"""A zone fallback order: where an allocation on a node looks, and where next, while there is nothing.

Nodes at the same distance may come in any order. Source: mm/page_alloc.c:build_zonelists() @ v6.12
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Merit, Wrong, pairs, table

NAME = "zone_fallback"
ZONES = ("DMA", "DMA32", "Normal", "Movable")
LOCAL, REMOTE = 10, 20  # Source: include/linux/topology.h
MAX_NODES = 5
SHOWN = 12
TIMED_NODES = 64

Place = tuple[int, int]


@dataclass(frozen=True)
class Nodes:
    """Distances by node and node, pages by node and zone; an allocation on ``node`` of zones up to ``highest``."""

    name: str
    distances: tuple[tuple[int, ...], ...]
    pages: tuple[tuple[int, ...], ...]
    node: int = 0
    highest: int = 2

    @property
    def size(self) -> int:
        """Nodes and populated zones."""
        return len(self.pages) + sum(bool(pages) for zones in self.pages for pages in zones)

    def describe(self) -> str:
        """One line."""
        nodes = "; ".join(f"node {nid}: {_zones(zones) or 'no memory'}" for nid, zones in enumerate(self.pages))
        return (
            f"{self.name}: from node {self.node}, zones up to {ZONES[self.highest]}; {nodes}; distances"
            f" {list(self.distances[self.node])}"
        )

    def usable(self) -> list[Place]:
        """Every zone that the allocation may use, as (node, zone)."""
        reach = range(self.highest + 1)
        return [(nid, zone) for nid, zones in enumerate(self.pages) for zone in reach if zones[zone]]

    def away(self, nid: int) -> int:
        """How far a node is, its own nearer than any."""
        return 0 if nid == self.node else self.distances[self.node][nid]


def _zones(pages: tuple[int, ...]) -> str:
    return " ".join(name for name, count in zip(ZONES, pages, strict=True) if count)


def first_wrong(case: Nodes, attempt: Attempt) -> Wrong | None:
    """The first place of the order that is wrong."""
    usable = case.usable()
    expected = "a list of (node, zone)"

    def read(value: Any) -> list[Place]:
        return pairs(NAME, value, len(usable), expected)

    arguments = (case.node, table(case.distances, len(case.distances)), table(case.pages, len(ZONES)))
    order: list[Place] = attempt.call(case.describe(), (*arguments, case.highest), read)
    attempt.tally(len(usable))
    for at in range(len(usable) + 1):
        allowed = _allowed(case, usable, order[:at])
        if order[at : at + 1] == [] and not allowed:
            return None
        if at == len(order) or order[at] not in allowed:
            return _shown(case, order, at, allowed)
    return None


def _allowed(case: Nodes, usable: list[Place], before: list[Place]) -> list[Place]:
    """The zones that may come next: the highest left of the node under way, else that of one of the nearest."""
    left = [place for place in usable if place not in before]
    if not left:
        return []
    under_way = [place for place in left if before and place[0] == before[-1][0]]
    nearest = min(case.away(nid) for nid, _ in left)
    candidates = under_way or [place for place in left if case.away(place[0]) == nearest]
    highest = {nid: max(zone for other, zone in candidates if other == nid) for nid, _ in candidates}
    return sorted(highest.items())


def _shown(case: Nodes, order: list[Place], at: int, allowed: list[Place]) -> Wrong:
    wanted = " or ".join(_place(case, place) for place in allowed) or "no further zone"
    found = _place(case, order[at]) if at < len(order) else "no further zone"
    if at < len(order) and order[at] in order[:at]:
        found += " once more"
    return Wrong(case, "place", at, "zone", wanted, found, tuple(_picture(case, order, at)))


def _place(case: Nodes, place: Place) -> str:
    nid, zone = place
    if not (0 <= nid < len(case.pages) and 0 <= zone < len(ZONES)):
        return f"node {nid} zone {zone}, which there is not"
    told = f"node {nid} {ZONES[zone]}"
    if zone > case.highest:
        return f"{told}, a zone above {ZONES[case.highest]}"
    if not case.pages[nid][zone]:
        return f"{told}, which has no page"
    return f"{told} (distance {case.distances[case.node][nid]})"


def _picture(case: Nodes, order: list[Place], at: int) -> list[str]:
    lines = ["node  distance  zones that may be used"]
    for nid in sorted(range(len(case.pages)), key=case.away):
        zones = _zones(case.pages[nid][: case.highest + 1] + (0,) * (len(ZONES) - case.highest - 1)) or "none"
        own = "   < the allocation's own" if nid == case.node else ""
        lines.append(f"{nid:>4}  {case.distances[case.node][nid]:>8}  {zones}{own}")
    low = max(0, at - SHOWN // 2)
    told = [
        f"{'> ' if place_at == at else ''}{nid} {ZONES[zone] if 0 <= zone < len(ZONES) else zone}"
        for place_at, (nid, zone) in enumerate(order[low : low + SHOWN], low)
    ]
    lines.append(f"found: {'... ' if low else ''}{', '.join(told)}{', > (end)' if at >= len(order) else ''}")
    return lines


# inputs

_LOW = (4000, 500_000, 1_000_000, 0)  # pages of a node with low memory
_HIGH = (0, 0, 2_000_000, 0)
_NONE = (0, 0, 0, 0)


def _even(nodes: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(LOCAL if a == b else REMOTE for b in range(nodes)) for a in range(nodes))


def _line(nodes: int) -> tuple[tuple[int, ...], ...]:
    """Nodes in a row, each hop farther."""
    return tuple(tuple(LOCAL + abs(a - b) * 7 for b in range(nodes)) for a in range(nodes))


def corners() -> list[Nodes]:
    """Machines chosen by hand."""
    far = ((10, 31, 21), (31, 10, 21), (21, 21, 10))
    lame = ((10, 5), (20, 10))  # firmware says that another node is nearer than the own one
    found = [
        Nodes("one zone", _even(1), ((0, 0, 9, 0),)),
        Nodes("no zone low enough", _even(1), ((0, 0, 9, 0),), highest=1),
        Nodes("a PC", _even(1), (_LOW,)),
        Nodes("a PC, 32 bits of address", _even(1), (_LOW,), highest=1),
        Nodes("with a movable zone", _even(1), ((4000, 500_000, 1000, 1000),), highest=3),
        Nodes("movable out of reach", _even(1), ((4000, 500_000, 1000, 1000),)),
        Nodes("two sockets, the first", _even(2), (_LOW, _HIGH)),
        Nodes("two sockets, the second", _even(2), (_LOW, _HIGH), 1),
        Nodes("two sockets, low memory for the second", _even(2), (_LOW, _HIGH), 1, 0),
        Nodes("a node without memory", _even(2), (_LOW, _NONE), 1),
        Nodes("three nodes, the middle one nearest", far, (_LOW, _HIGH, _HIGH)),
        Nodes("three nodes from the second", far, (_LOW, _HIGH, _HIGH), 1),
        Nodes("four in a row", _line(4), (_LOW, _HIGH, _HIGH, _HIGH), 2),
        Nodes("four, all as far", _even(4), (_LOW, _HIGH, _HIGH, _HIGH), 3),
        Nodes("firmware's distances are wrong", lame, (_LOW, _HIGH)),
        Nodes("all zones everywhere", _line(3), ((1, 1, 1, 1),) * 3, 1, 3),
    ]
    return sorted(found, key=lambda case: case.size)


def made_up() -> Any:
    """A few nodes at any distances, with any zones."""
    from hypothesis import strategies as st

    @st.composite
    def machines(draw: st.DrawFn) -> Nodes:
        nodes = draw(st.integers(1, MAX_NODES))
        far = st.lists(st.sampled_from([20, 21, 31, 11]), min_size=nodes, max_size=nodes)
        rows = [draw(far) for _ in range(nodes)]
        distances = tuple(tuple(LOCAL if a == b else rows[a][b] for b in range(nodes)) for a in range(nodes))
        zones = st.tuples(*[st.integers(0, 2)] * len(ZONES))
        pages = tuple(draw(zones) for _ in range(nodes))
        return Nodes("made up", distances, pages, draw(st.integers(0, nodes - 1)), draw(st.integers(0, 3)))

    return machines()


def builtins() -> dict[str, Function]:
    """Nodes sorted by distance; those with a lower number come later, as the emulated kernel weighs them."""

    def fallback(node: int, distances: Any, pages: Any, highest: int) -> list[Place]:
        away = distances[node].tolist()
        order = sorted(range(len(pages)), key=lambda nid: (nid != node, away[nid], nid < node, nid))
        return [(nid, zone) for nid in order for zone in range(highest, -1, -1) if pages[nid][zone]]

    return {"built-in": fallback}


def load(_: int) -> Load:
    """A machine of many nodes."""
    case = Nodes("timing", _line(TIMED_NODES), (_LOW,) + (_HIGH,) * (TIMED_NODES - 1), TIMED_NODES // 2)
    distances, pages = table(case.distances, TIMED_NODES), table(case.pages, len(ZONES))

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(case.node, distances, pages, case.highest)

    return Load(f"{TIMED_NODES} nodes", 1, bind)


def crowd(function: Function) -> int:
    """Nodes that have the same other node next, of as many as do at the worst; all are equally far from each other."""
    case = Nodes("timing", _even(TIMED_NODES), (_HIGH,) * TIMED_NODES)
    distances, pages = table(case.distances, TIMED_NODES), table(case.pages, len(ZONES))
    following = Counter(int(function(node, distances, pages, case.highest)[1][0]) for node in range(TIMED_NODES))
    return max(following.values())


KIND = Kind(
    "zone-fallback",
    Hook(
        NAME,
        ("node", "distances", "pages", "highest"),
        "Return the zones as (node, zone) in the order in which an allocation on node tries them: those with pages, up"
        " to zone number highest (0 DMA, 1 DMA32, 2 Normal, 3 Movable), each once. Its own node first, then nearer ones"
        " before farther ones (distances[node], at the same distance in any order); of a node all zones, the highest"
        " first. distances has a row of int64 for each node, pages a row of its zones' pages.",
    ),
    "zones", "machine", first_wrong, corners, made_up, builtins, load,
    '''\
    # Its own node, then by distance; of each node the highest zone first, so that low memory is spared.
    away = distances[node].tolist()
    away[node] = 0
    order = sorted(range(len(pages)), key=lambda nid: away[nid])
    return [(nid, zone) for nid in order for zone in range(highest, -1, -1) if pages[nid][zone]]
''',
    ("range(highest, -1, -1)", "range(highest + 1)"),
    merit=Merit(f"nodes of {TIMED_NODES}, all equally far, that have the same one next", crowd),
)  # fmt: skip
