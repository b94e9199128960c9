"""ACPICA's own acpiexec as judge: what it prints, read into values that can be compared with ours.

Its kernel is a machine whose ports and memory read as zero: the tool starts every operation region so.
"""

from __future__ import annotations

import re
from typing import Any

from hw.bus import Bus
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.evaluate import evaluate as evaluated
from minikern.acpi.spaces import DATA_TABLE, Region, SpaceHandler, table_space
from minikern.acpi.values import AmlError, IndexRef, NodeRef, RefOf
from minikern.state.acpi import AcpiState, Table
from tests.acpi.support import StubKernel

_ELEMENT = re.compile(r"^( *)\[(Object Reference|[A-Z][A-Za-z]+(?: Object Descriptor)?)\] ?(.*)$")
_BYTES = re.compile(r"[0-9A-F]{4}: ((?:[0-9A-F]{2} ?)+) ")
_FAILED = re.compile(r"failed with status (AE_\w+)")


class RegionBuffers:
    """Every operation region is memory of its own that starts as zeros, whatever its space."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, int, int], bytearray] = {}

    def __call__(self, run: Any, region: Region, address: int, size: int, value: int | None) -> int:
        key = region.space, region.offset, region.length
        buffer = self.buffers.setdefault(key, bytearray(region.length + 16))
        at = address - region.offset
        if value is None:
            return int.from_bytes(buffer[at : at + size], "little")
        buffer[at : at + size] = value.to_bytes(size, "little")
        return 0


def kernel_of(tables: list[tuple[str, bytes]]) -> StubKernel:
    """A kernel that has loaded these tables, in this order, on a machine of zeros."""
    k = StubKernel(Bus(), acpi_core_revision="20200925")
    k.acpi = AcpiState(tables=[Table(name, number, len(data), data) for number, (name, data) in enumerate(tables)])
    buffers = RegionBuffers()
    spaces: dict[int, SpaceHandler] = dict.fromkeys(range(256), buffers) | {DATA_TABLE: table_space}
    assert acpi_load_tables(k, slack=False, spaces=spaces)
    return k


def initialize(k: StubKernel) -> None:
    """What acpiexec does after loading: device initialisation."""
    from minikern.acpi.acpi_init import acpi_initialize_objects

    acpi_initialize_objects(k, k.acpi.interpreter)  # type: ignore[arg-type]


def namespace_of(k: StubKernel) -> dict[str, str]:
    """Path and type of every object."""
    return {node.path: node.kind.value for node in k.acpi.namespace.walk()}


def parse_result(text: str) -> Any:
    """The value in acpiexec's answer to one evaluation; ("failed", status), or None when nothing came back."""
    failed = _FAILED.search(text)
    if failed:
        return ("failed", failed[1])
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("  [") and _ELEMENT.match(line):
            return _value(lines, number)[0]
    return None


def _value(lines: list[str], at: int) -> tuple[Any, int]:
    found = _ELEMENT.match(lines[at])
    assert found is not None, lines[at]
    kind, rest = found[2], found[3]
    if kind == "Integer":
        return int(rest.removeprefix("= "), 16), at + 1
    if kind == "String":
        return rest.split('"', 1)[1].rsplit('"', 1)[0], at + 1
    if kind == "Buffer":
        return _bytes(lines, at)
    if kind == "Package":
        count, values = int(rest.split()[1]), []
        at += 1
        for _ in range(count):
            value, at = _value(lines, at)
            values.append(value)
        return values, at
    if kind == "Object Reference":
        name = re.search(r"Name (\S+)", rest)
        return ("reference", name[1] if name else rest), at + 1
    return (kind, rest), at + 1


def _bytes(lines: list[str], at: int) -> tuple[bytes, int]:
    length = int(lines[at].split("Length ")[1].split()[0], 16)
    data = b""
    inline = _BYTES.search(lines[at] + " ")
    if inline:
        data += bytes.fromhex(inline[1])
    at += 1
    while len(data) < length and at < len(lines):
        row = _BYTES.search(lines[at])
        if row:
            data += bytes.fromhex(row[1])
        at += 1
    return data[:length], at


def evaluate(k: StubKernel, path: str, args: list[Any] | None = None) -> Any:
    """Our value of the object, in the same shape."""
    node = k.acpi.namespace.find(path)
    assert node is not None, path
    try:
        return plain(evaluated(k.acpi.interpreter, node, args or []))
    except AmlError as problem:
        return ("failed", problem.status)


def plain(value: Any) -> Any:
    """A value of ours as acpiexec's answers are read."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, NodeRef):
        return ("reference", value.node.name)
    if isinstance(value, RefOf | IndexRef):
        return ("reference", "")
    return value
