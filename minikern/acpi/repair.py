"""Checking what a predefined name returned, and repairing what firmware is known to get wrong.

Source: drivers/acpi/acpica/nspredef.c, nsrepair.c, nsconvert.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.messages import error, warning
from minikern.acpi.operands import element
from minikern.acpi.predefined import RETURNS, ReturnInfo, Unfit, expected_words
from minikern.acpi.repair_names import NAMES_REPAIRED, complex_repair
from minikern.acpi.repair_package import check_package
from minikern.acpi.values import AmlError, NamePath, NodeRef, RefOf, type_name
from minikern.state.namespace import Node, shown

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

NO_INDEX = -1
"""Stands for the value itself, where others are elements of a package."""
_SCALARS: dict[type, str] = {int: "I", str: "S", bytearray: "B"}
_LETTERS: dict[type, str] = {**_SCALARS, list: "P", type(None): "N", NodeRef: "R", RefOf: "R"}


def check_return_value(run: Interpreter, node: Node, value: Any) -> Any:
    """The value as the kernel gets it. Source: drivers/acpi/acpica/nspredef.c:acpi_ns_check_return_value() @ v6.12"""
    found = _SCALARS.get(type(value))
    if found is not None and found in _AS_IT_IS.get(node.name, "ISB"):
        return value
    value = plain(run, value)
    info = RETURNS.get(node.name)
    return value if info is None else Check(run, node, info).value(value)


MAX_PLAIN = 1 << 18  # elements of a value, packages in packages included: 4 MB of object pointers and more


def plain(run: Interpreter, value: Any) -> Any:
    """A package with the names in it replaced by what they stand for; other values as they are.

    AmlError for a package that is in itself, by its name, and for one that unfolds without bounds.
    """
    return _Unfolding(run).plain(value)


class _Unfolding:
    """One value on its way to its caller: the packages it is in, and how many elements it has had."""

    def __init__(self, run: Interpreter) -> None:
        self._run = run
        self._inside: list[int] = []
        self._elements = 0

    def plain(self, value: Any) -> Any:
        if isinstance(value, NamePath):
            try:
                value = element(self._run, value)
            except AmlError:
                return None
            return self.plain(value) if not isinstance(value, NamePath) else None
        return self._package(value) if isinstance(value, list) else value

    def _package(self, value: list[Any]) -> list[Any]:
        self._elements += len(value)
        if id(value) in self._inside:
            raise AmlError("AE_AML_CIRCULAR_REFERENCE", "a package that is in itself")
        if self._elements > MAX_PLAIN:
            raise AmlError("AE_NO_MEMORY", f"a package of more than {MAX_PLAIN} elements")
        self._inside.append(id(value))
        made = [self.plain(item) for item in value]
        self._inside.pop()
        return made


def letter(value: Any) -> str:
    """The type of a value as a letter, "" for what nobody expects."""
    return _LETTERS.get(type(value), "")


class Check:
    """One check of one returned value."""

    def __init__(self, run: Interpreter, node: Node, info: ReturnInfo) -> None:
        self.run, self.node, self.info = run, node, info
        self.silent = node.warned  # an earlier evaluation told of it
        self.repaired = False
        self.wrapped = False

    def value(self, value: Any) -> Any:
        """Check the value and repair it; what cannot be repaired stays as it is."""
        try:
            value = self.object(value, self.info.types, NO_INDEX)
            if value is not None:
                status = ""
                if isinstance(value, list):
                    value, status = check_package(self, value)
                value = complex_repair(self, value, status)
        except Unfit:
            self.node.warned = True
        if self.repaired:
            self.node.warned = True
        return value

    def warn(self, text: str, line: str, always: bool = False) -> None:
        """A warning of this name, unless one was given before."""
        if always or not self.silent:
            warning(self.run.k, f"{shown(self.node.path)}: {text}", {"": line})

    def object(self, value: Any, types: str, index: int) -> Any:
        """One value of the expected types. Source: nspredef.c:acpi_ns_check_object_type() @ v6.12"""
        found = letter(value)
        if found == "R" and "R" in types:
            return value
        if found:
            try:
                return self.simple_repair(value, found, types, index)
            except Unfit:
                pass
        self._mismatch(value, types, index)
        raise Unfit

    def _mismatch(self, value: Any, types: str, index: int) -> None:
        wanted = expected_words(types)
        if value is None:
            self.warn(f"Expected return object of type {wanted}", "nspredef-242")
        elif index == NO_INDEX:
            self.warn(f"Return type mismatch - found {type_name(value)}, expected {wanted}", "nspredef-246")
        else:
            text = f"Return Package type mismatch at index {index} - found {type_name(value)}, expected {wanted}"
            self.warn(text, "nspredef-253")

    def simple_repair(self, value: Any, found: str, types: str, index: int) -> Any:
        """Source: drivers/acpi/acpica/nsrepair.c:acpi_ns_simple_repair() @ v6.12"""
        special = _SPECIAL.get(self.node.name)
        if special is not None and found in special[0] and special[1] in (index, ALL):
            if value is None:
                self.warn("Missing expected return value", "nsrepair-129", always=True)
            made = self._special(special[2], value)
            if made is not None:
                return self._made(made)
        if found in types:
            return value
        return self._made(self._converted(value, types, index))

    def _made(self, value: Any) -> Any:
        self.repaired = True
        return value

    def _special(self, kind: str, value: Any) -> Any:
        try:
            return _SPECIAL_REPAIRS[kind](self, value)
        except Unfit as problem:
            error(self.run.k, f"{problem.status}, During return object analysis", {"": "nsrepair-139"})
            raise

    def _converted(self, value: Any, types: str, index: int) -> Any:
        if value is None:
            return self._missing(types, index)
        for wanted, change in (("I", _as_integer), ("S", _as_string), ("B", _as_buffer)):
            if wanted in types:
                made = change(value, self.run.width)
                if made is not None:
                    return made
        if "P" in types:
            self.wrapped = True
            return [value]
        raise Unfit

    def _missing(self, types: str, index: int) -> Any:
        """A value that is not there: an empty one where an element must be."""
        if "N" not in types and index != NO_INDEX:
            self.warn("Found unexpected NULL package element", "nsrepair-186", always=True)
            for wanted, empty in (("I", 0), ("S", ""), ("B", bytearray())):
                if wanted in types:
                    return empty
        if types and types != "N":
            self.warn("Missing expected return value", "nsrepair-199", always=True)
            raise Unfit("AE_AML_NO_RETURN_VALUE")
        raise Unfit


def _as_integer(value: Any, width: int) -> int | None:
    """Source: drivers/acpi/acpica/nsconvert.c:acpi_ns_convert_to_integer() @ v6.12"""
    if isinstance(value, str):
        return convert.constant_number(value)
    if isinstance(value, bytearray) and len(value) <= 8:
        return int.from_bytes(value, "little")
    return None


def _as_string(value: Any, width: int) -> str | None:
    """Source: drivers/acpi/acpica/nsconvert.c:acpi_ns_convert_to_string() @ v6.12"""
    if isinstance(value, int):
        return convert.to_string(value, width) if value else ""
    if isinstance(value, bytearray):
        return bytes(value).split(b"\0", 1)[0].decode("latin-1")
    return None


def _as_buffer(value: Any, width: int) -> bytearray | None:
    """Source: drivers/acpi/acpica/nsconvert.c:acpi_ns_convert_to_buffer() @ v6.12"""
    if isinstance(value, int):
        return convert.to_buffer(value, width)
    if isinstance(value, str):
        return bytearray(value.encode("latin-1", "replace"))
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return bytearray(b"".join((item & 0xFFFF_FFFF).to_bytes(4, "little") for item in value))
    return None


def _resource(check: Check, value: Any) -> bytearray | None:
    """An empty template for no resources. Source: nsconvert.c:acpi_ns_convert_to_resource() @ v6.12"""
    if isinstance(value, bytearray) and value:
        return None
    if isinstance(value, str) or (isinstance(value, int) and value):
        raise Unfit
    return bytearray(b"\x79\x00")


def _unicode(check: Check, value: Any) -> bytearray | None:
    """Source: drivers/acpi/acpica/nsconvert.c:acpi_ns_convert_to_unicode() @ v6.12"""
    if isinstance(value, str):
        return bytearray((value + "\0").encode("latin-1", "replace").decode("latin-1").encode("utf-16-le"))
    if isinstance(value, bytearray) and len(value) < 2:
        raise Unfit("AE_AML_OPERAND_VALUE")
    return None


def _named(check: Check, value: Any) -> NodeRef:
    """Source: drivers/acpi/acpica/nsconvert.c:acpi_ns_convert_to_reference() @ v6.12"""
    node = check.run.namespace.find(str(value), check.node)
    if node is None:
        check.run.namespace_error(check.node, str(value), "AE_NOT_FOUND", {"": "nsconvert-480"})
        raise Unfit("AE_NOT_FOUND")
    return NodeRef(node)


ALL = -2
_SPECIAL: dict[str, tuple[str, int, str]] = {
    "_CRS": ("ISBN", NO_INDEX, "resource"),
    "_DMA": ("ISBN", NO_INDEX, "resource"),
    "_PRS": ("ISBN", NO_INDEX, "resource"),
    "_DEP": ("S", ALL, "named"),
    "_MLS": ("S", 1, "unicode"),
    "_STR": ("SB", NO_INDEX, "unicode"),
}
"""Types that need a repair of their own, the element concerned, and the repair."""
_SPECIAL_REPAIRS = {"resource": _resource, "named": _named, "unicode": _unicode}
_AS_IT_IS = {
    name: "" if name in _SPECIAL or name in NAMES_REPAIRED else info.types for name, info in RETURNS.items()
}
"""Types, by name, of which a value has nothing about it that could need a repair."""
