"""Machines described in words: TOML files, options, and the kernel's command line."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import tomli_w

from minikern.core.parameters import listed
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.init.params import parameter_table
from minikern.report.machine_files import spec_toml
from tests.fuzz.mutations import (
    EDGES,
    REALS,
    SHAPES,
    SIZES,
    WORDS,
    damaged,
    edge_number,
    number_within,
    one_in,
)  # fmt: skip

SMALL: dict[str, Any] = {"name": "small", "memory": "256M", "cpus": {"count": 2, "cores": 2, "tsc_khz": 2_000_000}}
WIDE = 1 << 40  # a field without a bound of its own

Place = tuple[tuple[Any, ...], Any]  # key path, type


@cache
def places(of: type = Case) -> tuple[Place, ...]:
    """Every field of a description, as (key path, msgspec's type of it)."""
    return tuple(_places(msgspec.inspect.type_info(of), ()))


def _places(kind: Any, path: tuple[Any, ...]) -> Iterator[Place]:
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
    elif isinstance(kind, _LEAVES):
        yield path, kind


_LEAVES = (
    msgspec.inspect.IntType, msgspec.inspect.FloatType, msgspec.inspect.StrType, msgspec.inspect.BoolType,
    msgspec.inspect.LiteralType, msgspec.inspect.AnyType,
)  # fmt: skip


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


def value_of(chance: Random, kind: Any) -> object:
    """A value for a field: mostly one it may have, at times one of another kind."""
    if one_in(chance, 20):
        return chance.choice(([], {}, "x", 1, True))
    if isinstance(kind, msgspec.inspect.IntType):
        low = kind.ge if kind.ge is not None else 0
        high = kind.le if kind.le is not None else WIDE
        return edge_number(chance) if one_in(chance, 6) else number_within(chance, low, high)
    if isinstance(kind, msgspec.inspect.FloatType):
        return chance.choice(REALS) if one_in(chance, 3) else chance.uniform(kind.ge or 0.0, kind.le or 1e4)
    if isinstance(kind, msgspec.inspect.BoolType):
        return one_in(chance, 2)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return chance.choice(kind.values)
    return chance.choice((*WORDS, *SIZES, *SHAPES, "0-1", "0", "tiny"))


def changed_fields(chance: Random, tree: dict[str, Any], of: type, most: int) -> None:
    """Set up to ``most`` fields of a description to something."""
    for _ in range(chance.randint(0, most)):
        path, kind = chance.choice(places(of))
        try:
            put(tree, path, value_of(chance, kind))
        except (AttributeError, TypeError):
            continue


@cache
def _tree(name: str) -> dict[str, Any]:
    return tomllib.loads(spec_toml(load_machine(name))) if name != "small" else SMALL


def toml_text(chance: Random, tree: dict[str, Any]) -> bytes:
    """The tree as TOML; at times damaged as text."""
    data = tomli_w.dumps(tree).encode("utf-8", "replace")
    return damaged(chance, data) if one_in(chance, 8) else data


def description(chance: Random) -> bytes:
    """A machine as TOML with some fields set to what they should not be; at times damaged as text."""
    tree = copy.deepcopy(_tree(chance.choice(("small", "small", "tiny", "laptop"))))
    changed_fields(chance, tree, Case, 2)
    return toml_text(chance, tree)


@cache
def names() -> tuple[str, ...]:
    """The kernel's own table."""
    return tuple(sorted({name.rstrip("=") for kind in listed().values() for name in kind}))


@cache
def modelled() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(parameter, words that it knows) of all that somebody acts on."""
    found: dict[str, tuple[str, ...]] = {}
    for one in parameter_table().declared:
        words = (*one.words.modelled, *one.words.other) if one.words is not None else ()
        found[one.name.rstrip("=")] = tuple(sorted({*found.get(one.name.rstrip("="), ()), *words}))
    return tuple(sorted(found.items()))


def command_line(chance: Random) -> str:
    """Words of the kernel's own table with values of the shapes that its parsers know."""
    return " ".join(_word(chance) for _ in range(chance.randint(1, 6)))


def _word(chance: Random) -> str:
    name, known = chance.choice(modelled()) if chance.randrange(5) else (chance.choice(names()), ())
    if one_in(chance, 6):
        return name
    return f'{name}="{_value(chance, known)}"' if one_in(chance, 20) else f"{name}={_value(chance, known)}"


def _value(chance: Random, known: tuple[str, ...]) -> str:
    if known and chance.randrange(3):
        words = [chance.choice(known).replace("*", chance.choice(SIZES)) for _ in range(chance.randint(1, 3))]
        return ",".join(words)
    return "".join(_part(chance) for _ in range(chance.randint(0, 6)))


def _part(chance: Random) -> str:
    match chance.randrange(6):
        case 0 | 1:
            return chance.choice(",:@$!-%#;")
        case 2 | 3:
            return chance.choice(SIZES)
        case 4:
            return str(edge_number(chance))
    return chance.choice((*SHAPES, *WORDS[:5], str(chance.choice(EDGES))))


SHAPED = {
    "cpus": ("8", "8,sockets=2", "cores=2", "threads=2", "dies=2", "sockets=65536", "0", "cpus=4"),
    "memory": SIZES,
    "cpu": ("Xeon Gold 6154", "Milan", "Xeon Platinum 8167M", "EPYC 7763,guest", "i7-8700", "Ice", "guest", "6154"),
    "numa": ("128M,cpus=0", "1G,cpus=1-3", "2G", "cpus=0", "4K", "64T,cpus=0-8191", "128M,cpus=0-0"),
    "numa_distance": ("0,1=21", "1,0=10", "0,0=10", "0,1=255", "0,1=256", "9,9=9", "0,1"),
    "fault": ("dead=1", "slow=1:15", "late=1", "madt-twice=0", "madt-missing=1", "tsc-skew=1:5", "tsc-drift=1:0.5",
              "microcode=1", "dead=0-1", "slow=1"),
    "vm": ("20x16G,vcpus=8", "2x64G,vfio=1", "1G", "0x1G", "1x1G,pages=4K", "1x1G,dirty=1G", "1x1G,disks=3"),
    "measured": ("deferred=88", "total=1ms", "deferred:smp=12.5ms", "x=1", "smp=1e308", "smp=nan", "total="),
    "vary": ("memory=64G..24T:log:13", "cpus=16,64,256", "nodes=1,2", "costs.struct_page_init=1..9:lin:3",
             "cpus=8,sockets=2", "memory=1G", "x=1"),
    "argument": ("5", "0x1F", "(01 02)", "[1 2]", "text", "[1 [2 3]]", "(zz)"),
    "flip": ("kernel:0x1000.3", "initrd:5", "1:0.0"),
}  # fmt: skip


def option_word(chance: Random) -> tuple[str, str]:
    """(option, value): one as the manual page has it, with numbers, words and separators exchanged."""
    name = chance.choice(tuple(SHAPED))
    text = chance.choice(SHAPED[name])
    for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
        at = chance.randint(0, len(text))
        until = at + chance.randrange(3)
        text = text[:at] + chance.choice((_part(chance), chance.choice(SHAPED[name]), ",", "=", "x")) + text[until:]
    return name, text
