"""Inputs that are nearly right: what a reader expects, with the mistakes that people, disks and strangers make."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import tomli_w
from hypothesis import strategies as st

from minikern.core.parameters import listed
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.report.machine_files import spec_toml

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
EDGES = (-1, 0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**52, 2**63 - 1, 2**63, 2**64)
WORDS = ("", "x", "²", "\x00", "\x1b[31m", "9" * 5000, "é", "0-9999999", "%s", "\n", "inf", "nan", "1e308", "x" * 3000)
SIZES = ("0", "1", "4K", "1M", "64M", "1G", "4T", "0x10000", "-1", "2E", "18446744073709551615", "5%")
SHAPES = ("on", "off", "auto", "nr", "all", "ttyS0", "node", "", "high")
REALS = (-1.0, 0.0, 1e-300, 1e9, 1e100, 1e308, float("inf"), float("nan"))

_NUMBER = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{16}\b|\d+")
_SEPARATE = re.compile(r"([,:@$!\-+=])")


def edge_numbers() -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from(EDGES), st.integers(-(2**64), 2**65), st.integers(0, 300))


@cache
def places() -> tuple[tuple[tuple[Any, ...], str], ...]:
    """Every field of a description, as (key path, kind)."""
    return tuple(_places(msgspec.inspect.type_info(Case), ()))


def _places(kind: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(kind, msgspec.inspect.UnionType):
        for choice in kind.types:
            yield from _places(choice, path)
    elif isinstance(kind, msgspec.inspect.StructType):
        for field in kind.fields:
            yield from _places(field.type, (*path, field.encode_name))
    elif isinstance(kind, msgspec.inspect.ListType | msgspec.inspect.VarTupleType):
        yield from _places(kind.item_type, (*path, 0))
    elif isinstance(kind, msgspec.inspect.DictType):
        yield from _places(kind.value_type, (*path, "*"))
    elif isinstance(kind, msgspec.inspect.IntType | msgspec.inspect.FloatType | msgspec.inspect.StrType):
        yield path, type(kind).__name__


def put(tree: Any, path: tuple[Any, ...], value: object) -> None:
    """Set one field of a description that was read from TOML, making what it lies in."""
    for key, following in pairwise(path):
        if isinstance(tree, list):
            if not tree:
                tree.append([] if isinstance(following, int) else {})
            tree = tree[0]
        else:
            name = next(iter(tree), "x") if key == "*" else key
            tree = tree.setdefault(name, [] if isinstance(following, int) else {})
    if isinstance(tree, list):
        tree[:1] = [value]
    elif isinstance(tree, dict):
        tree[next(iter(tree), "x") if path[-1] == "*" else path[-1]] = value


@cache
def _tree(name: str) -> dict[str, Any]:
    return tomllib.loads(spec_toml(load_machine(name)))


@st.composite
def descriptions(draw: st.DrawFn) -> bytes:
    """A preset as TOML with some fields set to what they should not be; at times damaged as text."""
    tree = copy.deepcopy(_tree(draw(st.sampled_from(("tiny", "laptop")))))
    for _ in range(draw(st.integers(0, 3))):
        path, kind = draw(st.sampled_from(places()))
        values = {"IntType": edge_numbers(), "FloatType": st.sampled_from(REALS), "StrType": st.sampled_from(WORDS)}
        value: object = draw(values[kind]) if draw(st.integers(0, 9)) else draw(st.sampled_from(([], {}, "x", 1, True)))
        try:
            put(tree, path, value)
        except (AttributeError, TypeError):
            continue
    data = tomli_w.dumps(tree).encode("utf-8", "replace")
    return draw(damaged(data)) if not draw(st.integers(0, 7)) else data


@st.composite
def damaged(draw: st.DrawFn, data: bytes, most: int = 6) -> bytes:
    """``data`` with bytes changed, cut out, doubled or cut off; at first, as it is."""
    found = bytearray(data)
    for _ in range(draw(st.integers(0, most))):
        at = draw(st.integers(0, max(0, len(found) - 1)))
        what = draw(st.integers(0, 9))
        if what < 6 and found:
            found[at] = draw(st.integers(0, 255))
        elif what == 6:
            found[at : at + 4] = draw(st.sampled_from((b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\xff\xff\xff\x7f")))
        elif what == 7:
            del found[at : at + draw(st.integers(1, 64))]
        elif what == 8:
            found[at:at] = found[at : at + draw(st.integers(1, 64))]
        else:
            del found[at:]
    return bytes(found)


@cache
def logs() -> tuple[tuple[str, ...], ...]:
    paths = sorted(CAPTURES.glob("*/dmesg.txt"))
    return tuple(tuple(path.read_text("utf-8", "replace").splitlines()) for path in paths)


@st.composite
def boot_logs(draw: st.DrawFn) -> bytes:
    """A real log with lines lost, doubled, swapped or cut, and numbers that no machine has."""
    lines = list(draw(st.sampled_from(logs())))
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.integers(0, 9))
        if what < 6:
            lines[at] = draw(_other_number(lines[at]))
        elif what == 6 and len(lines) > 1:
            del lines[at : at + draw(st.integers(1, 30))]
        elif what == 7:
            lines[at:at] = lines[at : at + 3] * draw(st.sampled_from((1, 2, 500)))
        elif what == 8:
            lines[at] = lines[at][: draw(st.integers(0, 80))]
        else:
            lines[at] += draw(st.sampled_from(WORDS))
        lines = lines or [""]
    return "\n".join(lines).encode("utf-8", "replace")


@st.composite
def _other_number(draw: st.DrawFn, line: str) -> str:
    found = list(_NUMBER.finditer(line))
    if not found:
        return line
    one = draw(st.sampled_from(found))
    value = abs(draw(edge_numbers()))
    text = f"{value:#x}" if one[0].startswith("0x") else f"{value:016x}" if len(one[0]) == 16 else str(value)
    return line[: one.start()] + draw(st.sampled_from((text, text, "9" * 5000, "²"))) + line[one.end() :]


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted({name.rstrip("=") for kind in listed().values() for name in kind}))


@st.composite
def command_lines(draw: st.DrawFn, modelled: tuple[str, ...] = ()) -> str:
    """Words of the kernel's own table with values of the shapes that its parsers know."""
    part = st.one_of(st.sampled_from(SIZES), edge_numbers().map(str), st.sampled_from((*SHAPES, *WORDS[:5])))
    joined = st.lists(st.one_of(part, st.sampled_from(tuple(",:@$!-%#"))), max_size=6).map("".join)
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        name = draw(st.sampled_from(modelled) if modelled and draw(st.integers(0, 4)) else st.sampled_from(names()))
        lines.append(name if not draw(st.integers(0, 5)) else f"{name}={draw(joined)}")
    return " ".join(lines)
