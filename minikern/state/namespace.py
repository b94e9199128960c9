"""The ACPI namespace: named objects in a tree, found by path with the upward search rule.

Source: ACPI 6.5 clause 5.3
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

_PADDING = re.compile(r"_+(?=\.|$)")


class Kind(Enum):
    """What a name stands for; the values are ACPICA's words for it."""

    UNTYPED = "Untyped"
    INTEGER = "Integer"
    STRING = "String"
    BUFFER = "Buffer"
    PACKAGE = "Package"
    DEVICE = "Device"
    EVENT = "Event"
    METHOD = "Method"
    MUTEX = "Mutex"
    REGION = "Region"
    POWER = "Power"
    PROCESSOR = "Processor"
    THERMAL = "Thermal"
    BUFFER_FIELD = "BufferField"
    REGION_FIELD = "RegionField"
    BANK_FIELD = "BankField"
    INDEX_FIELD = "IndexField"
    ALIAS = "Alias"
    REFERENCE = "Reference"
    SCOPE = "Scope"

    __hash__ = object.__hash__  # members are one object each; an enumeration's own hash is a function of Python's


def shown(scope: str, name: str = "") -> str:
    r"""A path as ACPICA's messages show it: ``name`` below ``scope``, padding underscores left off (``\_SB.PCI0``)."""
    path = name if name.startswith("\\") or not name else f"{scope.rstrip(chr(92))}.{name}"
    path = path or scope
    if path.startswith("."):
        path = "\\" + path[1:]
    return _PADDING.sub("", path)


ALL_KINDS = frozenset(Kind)
CONTAINERS = frozenset({Kind.DEVICE, Kind.PROCESSOR, Kind.THERMAL, Kind.POWER, Kind.SCOPE})
DEVICES = frozenset({Kind.DEVICE, Kind.PROCESSOR, Kind.THERMAL, Kind.POWER})
_ALIAS = Kind.ALIAS  # up to Python 3.11 a member's own name is looked up by a function of Python's


class Node:
    """One named object. ``value`` is data (int, str, bytearray, list) or a record (method, field, region).

    ``owner`` is the number of the table that made it, in the order of loading from 1; 0 for the kernel's own.
    """

    __slots__ = ("children", "kind", "name", "owner", "parent", "shared", "value", "warned")

    def __init__(self, name: str, parent: Node | None, kind: Kind, value: Any = None) -> None:
        self.name = name
        self.parent = parent
        self.kind = kind
        self.value = value
        self.owner = 0
        self.shared: list[Any] | None = None  # the package elements that stand for this object's value
        self.warned = False  # a repair of its value has been logged
        self.children: dict[str, Node] = {}

    @property
    def path(self) -> str:
        r"""Full path, four characters a segment: ``\_SB_.PCI0``."""
        segments = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            segments.append(node.name)
            node = node.parent
        return "\\" + ".".join(reversed(segments))

    def child(self, name: str) -> Node | None:
        """The direct child of that name, an alias resolved."""
        return resolve(self.children.get(name))

    def __repr__(self) -> str:
        return f"<{self.kind.value} {self.path}>"


def resolve(node: Node | None) -> Node | None:
    """The object behind an alias (or the node itself)."""
    for _ in range(8):
        if node is None or node.kind is not _ALIAS:
            return node
        node = node.value
    return node


# Source: ACPI 6.5 clause 5.3.1, and ACPICA's utglobal.c for the order of the predefined names
_PREDEFINED: tuple[tuple[str, Kind, Any], ...] = (
    ("_GPE", Kind.SCOPE, None),
    ("_PR_", Kind.SCOPE, None),
    ("_SB_", Kind.DEVICE, None),
    ("_SI_", Kind.SCOPE, None),
    ("_TZ_", Kind.DEVICE, None),
    ("_REV", Kind.INTEGER, 2),
    ("_OS_", Kind.STRING, "Microsoft Windows NT"),
    ("_GL_", Kind.MUTEX, None),
)


class Namespace:
    """The tree. Below ``plain`` objects there is no device, nor anything that could hold one: no walk looks there."""

    def __init__(self) -> None:
        self.root = Node("\\", None, Kind.SCOPE)
        self.plain: set[Node] = set()
        for name, kind, value in _PREDEFINED:
            self.root.children[name] = Node(name, self.root, kind, value)

    def find(self, path: str, scope: Node | None = None) -> Node | None:
        r"""Object at ``path`` (``\_SB.PCI0``, ``^FOO``, ``FOO``), aliases resolved; single names search upwards."""
        node = scope or self.root
        rest = path
        if rest.startswith("\\"):
            node, rest = self.root, rest[1:]
        while rest.startswith("^"):
            node, rest = node.parent or node, rest[1:]
        segments = [part.ljust(4, "_") for part in rest.split(".")] if rest else []
        return resolve(self.lookup(node, segments, search=len(segments) == 1 and rest is path))

    def lookup(self, node: Node, segments: list[str], search: bool) -> Node | None:
        """Walk ``segments`` down from ``node``; with ``search`` one segment is looked for in every outer scope too."""
        if search:
            outer: Node | None = node
            while outer is not None:
                found = outer.children.get(segments[0])
                if found is not None:
                    return found
                outer = outer.parent
            return None
        for segment in segments:
            below = node.children.get(segment)
            if below is None:
                return None
            node = resolve(below) or below
        return node

    def walk(
        self, start: Node | None = None, depth: int = 64, kinds: frozenset[Kind] = ALL_KINDS
    ) -> Iterator[Node]:
        """Objects of ``kinds`` below ``start`` (default the root), each before its children, in order of creation."""
        stack = [iter(list((start or self.root).children.values()))]
        passed_over = self.plain if kinds <= DEVICES else frozenset()
        while stack:
            for node in stack[-1]:
                if node.kind in kinds:
                    yield node
                if node.children and len(stack) < depth and node not in passed_over:
                    stack.append(iter(list(node.children.values())))
                    break
            else:
                stack.pop()

    def devices(self) -> Iterator[Node]:
        """Devices, processors, thermal zones and power resources in order."""
        return self.walk(kinds=DEVICES)

    def grows(self, parent: Node) -> None:
        """An object is put below ``parent``: neither it nor what it is in are plain any more."""
        self.plain.discard(parent)
        if parent.parent is not None:
            self.plain.discard(parent.parent)

    def check(self) -> None:
        """Invariants: every child knows its parent and its own name; what is below a plain object is no container."""
        for node in self.walk():
            assert node.parent is not None and node.parent.children.get(node.name) is node, node
            if node.parent in self.plain:
                assert not node.children and node.kind not in DEVICES, node
