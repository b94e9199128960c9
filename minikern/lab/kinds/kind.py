"""What a kind of algorithm declares: the hook's signature, a judge of its own, inputs, and how a fault is shown.

A kind says what is right by itself: no judge calls the code that the kernel rooms use, which is only timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from hw.errors import InputError

Function = Callable[..., Any]
HEXADECIMAL = ("pfn", "address")  # what is told in hexadecimal


class Hook(NamedTuple):
    """A hook point: its name, its arguments in order, and what a function for it has to do."""

    name: str
    arguments: tuple[str, ...]
    task: str


class Input(Protocol):
    """Something to try a function on."""

    @property
    def size(self) -> int:
        """What a smaller counterexample has less of."""

    def describe(self) -> str:
        """The whole of it in one line."""


@dataclass(frozen=True)
class Wrong:
    """The first thing that was wrong on one input: where, what was expected and found, and a picture around it.

    ``unit`` says what ``at`` is a number of: pfn, CPU, bit. Without it the fault has no place, as with an exception.
    """

    case: Input
    unit: str
    at: int
    field: str
    expected: str
    found: str
    picture: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        where = f"{self.unit} {self.at:#x}" if self.unit in HEXADECIMAL else f"{self.unit} {self.at}"
        return f"{f'{where}: field ' if self.unit else ''}{self.field}: expected {self.expected}, found {self.found}"


class CallError(Exception):
    """A call of the user's function raised something; the message is one line."""

    def __init__(self, told: str, picture: tuple[str, ...] = ()) -> None:
        super().__init__(told)
        self.picture = picture


class Attempt(Protocol):
    """Runs the user's function for a judge, watched: it may crash or never end."""

    def call(self, where: str, arguments: Sequence[Any], read: Callable[[Any], Any] | None = None) -> Any:
        """What the function returns, or what ``read`` makes of that, which is watched as well. CallError."""

    def tally(self, compared: int) -> None:
        """So many more things (see ``Kind.counted``) were compared."""


class Load(NamedTuple):
    """Something to time. ``bind`` gives a call of a function on rows [low, high) of it."""

    about: str
    rows: int
    bind: Callable[[Function, int, int], Callable[[], object]]


class Merit(NamedTuple):
    """What a right function achieves, other than speed: a count, the same on every computer. ``about`` names it."""

    about: str
    of: Callable[[Function], int]


@dataclass(frozen=True)
class Kind:
    """One kind of algorithm.

    ``counted`` names what is compared and ``noun`` what it is tried on; ``first_wrong`` is the judge, ``corners`` gives
    hand-picked inputs, the smallest first, and ``made_up`` a hypothesis strategy of others. ``load(rows)`` is what it
    is timed on: rows of ``row_bytes`` of memory each, or one small input again and again where that is 0.
    ``roofline`` says what the memory is held against: "write" or "read". ``example`` is the text of a right function,
    ``mistake`` what is changed in it, and into what, for a wrong one to show.
    """

    name: str
    hook: Hook
    counted: str
    noun: str
    first_wrong: Callable[[Any, Attempt], Wrong | None]
    corners: Callable[[], Sequence[Any]]
    made_up: Callable[[], Any]
    builtins: Callable[[], dict[str, Function]]
    load: Callable[[int], Load]
    example: str
    mistake: tuple[str, str]
    row_bytes: int = 0
    roofline: str = ""
    threaded: bool = False  # rows may be shared out over threads
    merit: Merit | None = None
    plain_size: int = 0  # larger inputs take a function too long that is not compiled; 0: none does


def nonsense(hook: str, value: Any, expected: str) -> InputError:
    """The error for a result that is not of the kind that was asked for."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return InputError(f"{hook} returned {shown} ({type(value).__name__}): expected {expected}")


def listed(hook: str, value: Any, most: int, expected: str) -> list[Any]:
    """The items of a result, ``most`` and one more of what goes on. InputError: it is no sequence of anything."""
    if isinstance(value, (str, bytes, dict)) or not hasattr(value, "__iter__"):
        raise nonsense(hook, value, expected)
    items = []
    for item in value:
        items.append(item)
        if len(items) > most:
            break
    return items


def whole(hook: str, value: Any, expected: str) -> int:
    """A result, or an item of one, as a whole number. InputError: it is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise nonsense(hook, value, expected)
    return int(value)


def table(rows: Sequence[Any], columns: int) -> Any:
    """Rows of numbers as functions get them: an array of int64."""
    return np.array(list(rows), dtype=np.int64).reshape(len(rows), columns)


def pairs(hook: str, value: Any, most: int, expected: str) -> list[tuple[int, int]]:
    """A result as pairs of whole numbers. InputError: it is none."""
    found = []
    for item in listed(hook, value, most, expected):
        pair = listed(hook, item, 2, expected)
        if len(pair) != 2:
            raise nonsense(hook, item, expected)
        found.append((whole(hook, pair[0], expected), whole(hook, pair[1], expected)))
    return found
