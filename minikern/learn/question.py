"""Questions: asked with a seed, answered by the emulator, checked as a learner types."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, TypeAlias

import msgspec

Answer: TypeAlias = int | float | str | list[int]

_NUMBER = re.compile(r"-?(0[xX][0-9a-fA-F]+|\d[\d_,']*)")
_DECIMAL = re.compile(r"-?\d[\d_]*(\.\d+)?")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
FORMS = {int: "a whole number, as 4096 or 0x1000", float: "a number, as 12.5", list: "numbers in order, as 2,1,3"}
LONGEST_RANGE = 10_000


class Asked(msgspec.Struct, frozen=True):
    """One question of one seed. ``given`` holds what the text says, by name, so that it can be answered another way.

    ``tolerance`` is the share by which a measured or rounded answer may be off.
    """

    text: str
    given: dict[str, Any]
    answer: Answer
    hints: tuple[str, ...]
    solution: str
    command: str = ""
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0

    def expected(self) -> str:
        """What form an answer has."""
        return f"one of {', '.join(self.choices)}" if self.choices else FORMS[type(self.answer)]

    def shown(self) -> str:
        """The answer as text that is itself a right answer."""
        if isinstance(self.answer, list):
            return ",".join(map(str, self.answer))
        return f"{self.answer:.6g}" if isinstance(self.answer, float) else str(self.answer)

    def right(self, text: str) -> bool | None:
        """Whether ``text`` is the answer; None where it is not in the form of one."""
        given = parse_answer(text, self.answer)
        if self.choices and given not in self.choices:
            return None
        if given is None or not isinstance(self.answer, (int, float)):
            return None if given is None else given == self.answer
        assert isinstance(given, (int, float))
        return abs(given - self.answer) <= self.tolerance * abs(self.answer)


class Question(NamedTuple):
    """A kind of question: ``ask`` draws the machine from the first generator, everything else from the second.

    The first is the same for all questions of a lesson, so that they are about one machine.
    """

    name: str
    lesson: str
    ask: Callable[[Random, Random], Asked]

    def with_seed(self, seed: int) -> Asked:
        """The question of one seed: the same seed, the same question."""
        return self.ask(Random(f"{self.lesson}:{seed}"), Random(f"{self.name}:{seed}"))


def parse_answer(text: str, like: Answer) -> Answer | None:
    """An answer of the kind of ``like`` out of what was typed; None if it is none."""
    word = text.strip()
    if isinstance(like, str):
        return word.casefold() or None
    if isinstance(like, list):
        return _numbers(word)
    if isinstance(like, float):
        return float(word.replace("_", "")) if _DECIMAL.fullmatch(word) else None
    if not _NUMBER.fullmatch(word):
        return None
    digits = re.sub(r"[_,']", "", word)
    return int(digits, 0) if "x" in digits.lower() else int(digits)


def _numbers(text: str) -> list[int] | None:
    found: list[int] = []
    for part in re.split(r"[,\s]+", text.strip("[]() ")):
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if last - first > LONGEST_RANGE:
            return None
        found += range(first, last + 1)
    return found
