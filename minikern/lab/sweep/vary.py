"""Values of a parameter that a sweep varies: ``64G..24T:log:13``, ``16,64,256``, or a list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hw.errors import InputError
from hw.numbers import is_count
from hw.spec import MAX_CPUS
from hw.spelling import check_names
from hw.units import MIB, parse_size
from minikern.describe.adjust import MAX_MEMORY

Value = int | float | str
MAX_VALUES = 10_000
MEMORY_STEP = 128 * MIB  # a section: nodes are cut at it
MAX_NODES = 1024  # Source: arch/x86/Kconfig:NODES_SHIFT, at most 10
COST_PREFIX = "costs."  # costs.KIND: a unit cost in ns

_RANGE = re.compile(r"\s*([^.:,\s]+)\s*\.\.\s*([^:,\s]+?)\s*:\s*(log|lin)\s*:\s*([0-9]{1,6})\s*")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


class _Kind(NamedTuple):
    """How one parameter is read and rounded."""

    read: Callable[[str, str], Value]
    step: float


def _read_memory(text: str, where: str) -> int:
    size = parse_size(text, where)
    if size > MAX_MEMORY:
        raise InputError(f"{where}: {text!r}: expected at most {MAX_MEMORY >> 40}T")
    return size


def _read_cpus(text: str, where: str) -> Value:
    return text if "=" in text else _count(text, where, MAX_CPUS)


def _read_nodes(text: str, where: str) -> int:
    return _count(text, where, MAX_NODES)


def _count(text: str, where: str, most: int) -> int:
    if not (is_count(text) and 1 <= int(text) <= most):
        raise InputError(f"{where}: {text!r:.80} is not a count: expected 1 to {most}")
    return int(text)


def _read_cost(text: str, where: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise InputError(f"{where}: {text!r:.80} is no unit cost: expected ns, as 3.2")
    return float(text)


_KINDS: dict[str, _Kind] = {
    "memory": _Kind(_read_memory, MEMORY_STEP),
    "cpus": _Kind(_read_cpus, 1),
    "nodes": _Kind(_read_nodes, 1),
}


def values_of(name: str, given: str | Sequence[Value], kinds_of_work: Sequence[str]) -> list[Value]:
    """The values that ``name`` takes. InputError: no such parameter, or a value it cannot have."""
    kind = _kind(name, kinds_of_work)
    where = f"vary {name}"
    found = _texts(given, where, kind) if isinstance(given, str) else [kind.read(str(one), where) for one in given]
    if not found:
        raise InputError(f"{where}: no value: expected some, as 16,64,256 or 64G..24T:log:13")
    if len(found) > MAX_VALUES:
        raise InputError(f"{where}: {len(found)} values: expected at most {MAX_VALUES}")
    return list(dict.fromkeys(found))


def _kind(name: str, kinds_of_work: Sequence[str]) -> _Kind:
    if name.startswith(COST_PREFIX):
        check_names("vary costs", "kind of work", [name.removeprefix(COST_PREFIX)], kinds_of_work)
        return _Kind(_read_cost, 0.0)
    check_names("vary", "parameter", [name], [*_KINDS, f"{COST_PREFIX}KIND"])
    return _KINDS[name]


def _texts(text: str, where: str, kind: _Kind) -> list[Value]:
    if ".." in text:
        return _range(text, where, kind)
    parts: list[str] = []
    for part in text.split(","):
        if "=" in part and parts:
            parts[-1] += f",{part}"  # 8,sockets=2 is one value
        else:
            parts.append(part.strip())
    return [kind.read(part, where) for part in parts if part]


def _range(text: str, where: str, kind: _Kind) -> list[Value]:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: {text!r:.80} is no range: expected FIRST..LAST:log:N or FIRST..LAST:lin:N")
    first, last = (kind.read(end, where) for end in match.group(1, 2))
    count = int(match.group(4))
    if isinstance(first, str) or isinstance(last, str) or not first <= last or not 2 <= count <= MAX_VALUES:
        raise InputError(f"{where}: {text!r:.80}: expected numbers that grow, and 2 to {MAX_VALUES} of them")
    if match.group(3) == "log" and first <= 0:
        raise InputError(f"{where}: {text!r:.80}: a logarithmic range begins above 0")
    points = (np.geomspace if match.group(3) == "log" else np.linspace)(first, last, count)
    inner = [_rounded(float(point), kind.step, first, last) for point in points[1:-1]]
    return [first, *inner, last]


def _rounded(point: float, step: float, first: Value, last: Value) -> Value:
    if not step:
        return float(f"{point:.6g}")
    near = round(point / step) * int(step)
    return min(max(near, int(first)), int(last))
