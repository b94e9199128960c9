"""Plan: what a sweep boots. The product of all its lists is a table, one row a boot."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.files import read_text_input
from hw.numbers import MAX_SEED
from hw.spelling import check_names
from hw.toml_file import MAX_BYTES, convert, decode_file
from minikern.core.cost_table import default_costs
from minikern.core.release import load_release
from minikern.core.variant import load_variant
from minikern.describe.presets import machine_names
from minikern.lab.sweep.limits import MAX_DRAWS, MAX_ROWS
from minikern.lab.sweep.vary import Value, values_of

AS_IS = "as-is"  # the boot a machine has without any variant
MAX_MACHINES = 1_000_000  # of one pattern: then it is not a fleet but a whole disk
METRICS = ("total", "residue", "early memory", "smp", "deferred", "acpi", "pci", "hugepages", "rest")
_MAGIC = re.compile(r"[*?[]")


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """A sweep as its TOML file says it; every list that is left out has one entry."""

    machines: list[str]  # presets, files, folders, archives, globs of them
    kernels: list[str] = []  # names or files; none: each machine's own
    variants: list[str] = []  # names or files, "as-is" for none
    words: list[str] = []  # alternatives of words added to the command line
    vary: dict[str, str | list[int | float | str]] = {}
    draws: Annotated[int, Meta(ge=0, le=MAX_DRAWS)] = 0  # of the unit costs; 0: each cost as it is stated
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    metrics: list[str] = []  # columns of times; none: all
    vmemmap: Literal["counted", "window"] = "counted"


class Point(NamedTuple):
    """One row still to be made: everything a worker needs, by reference."""

    row: int
    machine: str
    kernel: str
    variant: str
    words: str
    draw: int | None
    vary: tuple[tuple[str, Value], ...]
    seed: int
    vmemmap: str


@dataclass(frozen=True)
class Grid:
    """A plan with its globs and ranges written out; the last of ``axes`` turns fastest."""

    machines: tuple[str, ...]
    vary: tuple[tuple[str, tuple[Value, ...]], ...]
    kernels: tuple[str, ...]
    words: tuple[str, ...]
    variants: tuple[str, ...]
    draws: tuple[int | None, ...]
    seed: int
    vmemmap: str
    metrics: tuple[str, ...]

    @property
    def axes(self) -> tuple[Sequence[object], ...]:
        """Machines, each varied parameter, kernels, words, variants, draws."""
        return (
            self.machines, *(values for _, values in self.vary), self.kernels, self.words, self.variants, self.draws
        )  # fmt: skip

    def __len__(self) -> int:
        """How many rows there are."""
        return prod(len(axis) for axis in self.axes)

    def point(self, row: int) -> Point:
        """Row ``row`` of the table."""
        places, rest = [], row
        for axis in reversed(self.axes):
            rest, place = divmod(rest, len(axis))
            places.append(place)
        machine, *varied, kernel, words, variant, draw = reversed(places)
        chosen = tuple((name, values[at]) for (name, values), at in zip(self.vary, varied, strict=True))
        return Point(
            row, self.machines[machine], self.kernels[kernel], self.variants[variant], self.words[words],
            self.draws[draw], chosen, self.seed, self.vmemmap,
        )  # fmt: skip

    def points(self, rows: Sequence[int]) -> Iterator[Point]:
        """Some rows of the table."""
        return (self.point(row) for row in rows)

    def digest(self) -> str:
        """What tells one sweep from another: two with the same digest have the same rows."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def is_plan(path: Path) -> bool:
    """True for a TOML file that describes a sweep, False for one that describes a machine."""
    if path.suffix != ".toml" or not os.path.isfile(path):  # noqa: PTH113 - False for names that no file can have
        return False
    text = read_text_input(path, MAX_BYTES)
    return re.search(r"^\s*machines\s*=", text, re.MULTILINE) is not None


def read_plan(path: Path) -> Plan:
    """A plan's TOML file. InputError names file, key and what was expected."""
    return decode_file(path, Plan)


def checked(plan: Plan) -> Plan:
    """``plan``, some of whose fields were set. InputError: one is outside its bounds."""
    return convert(msgspec.to_builtins(plan), Plan, "plan")


def grid(plan: Plan, folder: Path | None = None) -> Grid:
    """Write a plan out. Files and globs are looked for beside ``folder``, else where the user is.

    InputError: a variant, kernel, parameter or metric that does not exist, a product without a row or with too many.
    """
    check_names("metrics", "metric", plan.metrics, METRICS)
    variants = [_placed(text, folder) for text in plan.variants]
    kernels = [_placed(text, folder) for text in plan.kernels]
    for variant in variants:
        if variant != AS_IS:
            load_variant(variant)
    for kernel in kernels:
        load_release(kernel)
    kinds = sorted(default_costs())
    machines = tuple(_machines(plan.machines, folder))
    if not machines:
        raise InputError(f"machines: {', '.join(plan.machines) or 'none'}: nothing of that name: expected at least one")
    found = Grid(
        machines=machines,
        vary=tuple((name, tuple(values_of(name, given, kinds))) for name, given in plan.vary.items()),
        kernels=tuple(dict.fromkeys(kernels)) or ("",),
        words=tuple(dict.fromkeys(plan.words)) or ("",),
        variants=tuple(dict.fromkeys(variants)) or (AS_IS,),
        draws=tuple(range(plan.draws)) or (None,),
        seed=plan.seed,
        vmemmap=plan.vmemmap,
        metrics=tuple(plan.metrics),
    )
    if (rows := prod(map(len, found.axes))) > MAX_ROWS:
        raise InputError(f"the plan has {rows} rows: expected at most {MAX_ROWS}")
    return found


def _machines(given: Sequence[str], folder: Path | None) -> list[str]:
    known, found = machine_names(), dict[str, None]()
    for text in given:
        if text in known:
            found[text] = None
        elif _MAGIC.search(text):
            found.update(dict.fromkeys(_matching(text, folder)))
        else:
            found[_placed(text, folder)] = None
    return list(found)


def _placed(text: str, folder: Path | None) -> str:
    beside = folder / text if folder is not None else None
    if beside is None or Path(text).is_absolute():
        return text
    # Path.exists() raises for names that no file can have.
    return str(beside) if os.path.exists(beside) else text  # noqa: PTH110


def _matching(pattern: str, folder: Path | None) -> list[str]:
    path = Path(pattern)
    if path.is_absolute():
        return _glob(Path(path.anchor), str(path.relative_to(path.anchor)))
    found = _glob(folder, pattern) if folder is not None else []
    return found or _glob(Path(), pattern)


def _glob(folder: Path, pattern: str) -> list[str]:
    try:
        found = list(islice(folder.glob(pattern), MAX_MACHINES + 1))
    except (ValueError, NotImplementedError, OSError, RecursionError) as error:
        raise InputError(f"machines: {pattern!r:.80}: no pattern of names: {error}") from error
    if len(found) > MAX_MACHINES:
        raise InputError(f"machines: {pattern!r:.80}: expected at most {MAX_MACHINES} names")
    return sorted(map(str, found))
