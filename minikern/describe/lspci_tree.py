"""The tree that ``lspci -t`` draws: which bus lies behind which bridge, and the functions on each.

With -v a function's name follows it, with -n or -nn its ids; classes are never there.
Source: pciutils lspci(8), option -t; ls-tree.c of pciutils 3.9 for the drawing
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hw.errors import InputError
from hw.pci.lspci import MAX_FUNCTIONS
from hw.pci.spec import Address, FunctionKind, HostBridgeSpec, PciFunctionSpec, PciSpec

LAST_BUS = 0xFF
HOST_BRIDGE, PCI_BRIDGE, UNKNOWN_CLASS = 0x060000, 0x060400, 0xFF0000
UNKNOWN_ID = "0000:0001"  # of nobody: 0000 is no vendor's, and a device that is there has not all zeros

_TREE = re.compile(r"^ *-(?:\[|\+-\[)(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}\]", re.MULTILINE)
_BUS = re.compile(r"\[(?:([0-9a-f]{4,8}):)?([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]")
_FUNCTION = re.compile(r"([01][0-9a-f])\.([0-7])(?![0-9a-f])")
_IDS = re.compile(r" +(?:.*\[)?([0-9a-f]{4}:[0-9a-f]{4})\]?\s*$")


@dataclass
class TreeBus:
    """A bus of the tree; ``last`` is the last bus behind the bridge that leads to it."""

    segment: int
    number: int
    last: int
    functions: list[TreeFunction] = field(default_factory=list)


@dataclass
class TreeFunction:
    """A function, the buses that its bridge leads to, and its ids where they stand there."""

    address: Address
    ids: str = ""
    behind: TreeBus | None = None


def is_tree(text: str) -> bool:
    """True for a text that ``lspci -t`` can have printed."""
    return _TREE.search(text) is not None


def parse_tree(text: str, where: str) -> list[TreeBus]:
    """The root buses in their order. InputError: a line that hangs on no branch, or bus numbers that cannot be."""
    roots: list[TreeBus] = []
    branches: dict[int, TreeBus | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip(" |"):
            _Line(f"{where}:{number}", line.rstrip(), branches, roots).read()
    if sum(1 for _ in _all(roots)) > MAX_FUNCTIONS:
        raise InputError(f"{where}: more than {MAX_FUNCTIONS} functions in the tree")
    return roots


class _Line:
    """One line from left to right. ``branches`` are the columns at which a bus (None: the root) goes on."""

    def __init__(self, where: str, text: str, branches: dict[int, TreeBus | None], roots: list[TreeBus]) -> None:
        self.where, self.text, self.branches, self.roots = where, text, branches, roots
        self.at = len(text) - len(text.lstrip(" |"))

    def read(self) -> None:
        bus, bridge = self._start(), None
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in "-\\":
                self.at += 1
            elif sign == "+":
                self.branches[self.at] = bus
                self.at += 1
            elif found := _BUS.match(self.text, self.at):
                bus, bridge = self._bus(found, bus, bridge), None
            elif (found := _FUNCTION.match(self.text, self.at)) and bus is not None and bridge is None:
                bridge = self._function(found, bus)
                if self.text[self.at : self.at + 2] != "-[":
                    if self.text[self.at : self.at + 1] not in ("", " "):
                        raise InputError(f"{self.where}: {self.text[self.at :]!r:.60}: expected a name or a bus [01]")
                    ids = _IDS.match(self.text, self.at)
                    bridge.ids = ids[1] if ids else ""
                    return
            else:
                raise InputError(f"{self.where}: {self.text[self.at :]!r:.60}: expected a bus [01] or a function 00.0")

    def _start(self) -> TreeBus | None:
        """The bus on which the line goes on: that of the branch at its first sign."""
        if self.text[self.at] == "-":
            return None
        if self.text[self.at] in "+\\" and self.at in self.branches:
            return self.branches[self.at]
        raise InputError(f"{self.where}: {self.text!r:.60}: hangs on no branch of the tree")

    def _bus(self, found: re.Match[str], above: TreeBus | None, bridge: TreeFunction | None) -> TreeBus:
        first, last = int(found[2], 16), int(found[3] or found[2], 16)
        self.at = found.end()
        if bridge is None:
            bus = TreeBus(int(found[1] or "0", 16), first, LAST_BUS)
            if any((other.segment, other.number) == (bus.segment, bus.number) for other in self.roots):
                raise InputError(f"{self.where}: root bus {found[0]} a second time")
            self.roots.append(bus)
            return bus
        assert above is not None
        if not above.number < first <= last:
            raise InputError(f"{self.where}: bus {found[0]} behind bus {above.number:02x}: expected larger numbers")
        bridge.behind = TreeBus(above.segment, first, last)
        return bridge.behind

    def _function(self, found: re.Match[str], bus: TreeBus) -> TreeFunction:
        self.at = found.end()
        function = TreeFunction(Address(bus.segment, bus.number, int(found[1], 16) << 3 | int(found[2])))
        if bus.functions and function.address <= bus.functions[-1].address:
            raise InputError(f"{self.where}: function {function.address} after {bus.functions[-1].address}")
        bus.functions.append(function)
        return function


def _all(buses: list[TreeBus]) -> list[TreeFunction]:
    found: list[TreeFunction] = []
    pending = list(buses)
    while pending:
        bus = pending.pop()
        found += bus.functions
        pending += [one.behind for one in bus.functions if one.behind is not None]
    return found


def pci_of_tree(text: str, where: str) -> PciSpec:
    """Host bridges and functions of the tree, with the kinds that its shape allows. InputError as parse_tree()."""
    roots = parse_tree(text, where)
    spec = PciSpec(functions=[], host_bridges=[])
    for root in roots:
        following = [other.number for other in roots if other.segment == root.segment and other.number > root.number]
        last, index = min(following, default=LAST_BUS + 1) - 1, len(spec.host_bridges)
        name = f"PCI{index}" if index < 10 else f"R{index:03X}"
        spec.host_bridges.append(HostBridgeSpec(root.number, last, root.segment, name=name, uid=index))
        spec.functions += _functions(root, None)
    spec.functions.sort(key=lambda one: one.address())
    return spec


def _functions(bus: TreeBus, above: FunctionKind | None) -> list[PciFunctionSpec]:
    made: list[PciFunctionSpec] = []
    pending: list[tuple[TreeBus, FunctionKind | None]] = [(bus, above)]
    while pending:
        here, parent = pending.pop()
        for one in here.functions:
            kind = _kind(one, parent)
            made.append(_function(one, kind, on_root=parent is None))
            if one.behind is not None:
                pending.append((one.behind, kind))
    return made


def _kind(one: TreeFunction, parent: FunctionKind | None) -> FunctionKind:
    """PCI Express where it can be: its ports have but one device below them, and switches stand between two ports."""
    if parent in ("pci_bridge", "pcie_pci_bridge"):
        return "pci_bridge" if one.behind is not None else "conventional"
    if one.behind is None:
        return "endpoint" if parent is not None else "conventional"
    if parent == "upstream":
        return "downstream"
    if parent is None:
        return "root_port" if _one_device(one.behind) else "pci_bridge"
    return "upstream" if _switch(one.behind) else "pcie_pci_bridge"


def _one_device(bus: TreeBus) -> bool:
    return all(one.address.devfn < 8 for one in bus.functions)


def _switch(bus: TreeBus) -> bool:
    """Bridges alone, with one device behind each."""
    return all(one.behind is not None and _one_device(one.behind) for one in bus.functions)


def _function(one: TreeFunction, kind: FunctionKind, on_root: bool) -> PciFunctionSpec:
    spec = PciFunctionSpec(bdf=str(one.address), id=one.ids or UNKNOWN_ID, kind=kind, class_code=UNKNOWN_CLASS)
    if one.behind is not None:
        spec.class_code, spec.secondary, spec.subordinate = PCI_BRIDGE, one.behind.number, one.behind.last
    elif on_root and not one.address.devfn:
        spec.class_code = HOST_BRIDGE
    return spec
