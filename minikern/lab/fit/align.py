"""Two boots' lines laid side by side: pairs of the same line, in the order of both.

Lines that occur once in either boot are the surest; between these the next surest are sought, so that a torn, partial
or reordered log loses only what is around the damage.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from minikern.core.line_mask import mask

ALIKE, FEW = 0.7, 900  # share of two masks that is the same; product of two stretches' lengths
SMALL = 60_000  # product of two stretches' lengths up to which every line is tried against every other


class Pair(NamedTuple):
    """Places of one line in the first and the second boot."""

    first: int
    second: int


def align(first: Sequence[str], second: Sequence[str]) -> list[Pair]:
    """Pairs of lines that say the same, rising in both: first by whole text, then by mask."""
    masked = [mask(text) for text in first], [mask(text) for text in second]
    whole = _in_order(_unique(first, second, 0, len(first), 0, len(second)))
    pairs: list[Pair] = []
    for stretch in _between(whole, len(first), len(second)):
        pairs += _by_mask(masked[0], masked[1], *stretch)
    return sorted(whole + pairs)


def rewritten(first: Sequence[str], second: Sequence[str], pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs of lines that stand between the same ``pairs`` and say nearly the same, in other words; masks are given."""
    found: list[Pair] = []
    for a, b, c, d in _between(pairs, len(first), len(second)):
        if 0 < (b - a) * (d - c) <= FEW:
            alike = [(_likeness(first[at], second[to]), Pair(at, to)) for at in range(a, b) for to in range(c, d)]
            found += _best([one for one in alike if one[0] >= ALIKE])
    return found


def _likeness(first: str, second: str) -> float:
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return matcher.ratio() if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= ALIKE else 0.0


def _best(alike: list[tuple[float, Pair]]) -> list[Pair]:
    """The likest first, then what crosses none of them."""
    chosen: list[Pair] = []
    for _, pair in sorted(alike, key=lambda one: (-one[0], one[1])):
        if all((pair.first - other.first) * (pair.second - other.second) > 0 for other in chosen):
            chosen.append(pair)
    return sorted(chosen)


def _by_mask(first: Sequence[str], second: Sequence[str], a: int, b: int, c: int, d: int) -> list[Pair]:
    """Pairs within lines [a, b) of the first and [c, d) of the second boot."""
    if a >= b or c >= d:
        return []
    unique = _in_order(_unique(first, second, a, b, c, d))
    if not unique:
        return _all_pairs(first, second, a, b, c, d)
    found = list(unique)
    for low, high, left, right in _between(unique, b, d, a, c):
        found += _by_mask(first, second, low, high, left, right)
    return found


def _all_pairs(first: Sequence[str], second: Sequence[str], a: int, b: int, c: int, d: int) -> list[Pair]:
    if (b - a) * (d - c) > SMALL:
        return _one_by_one(first, second, a, b, c, d)
    blocks = SequenceMatcher(None, first[a:b], second[c:d], autojunk=False).get_matching_blocks()
    return [Pair(a + block.a + at, c + block.b + at) for block in blocks for at in range(block.size)]


def _one_by_one(first: Sequence[str], second: Sequence[str], a: int, b: int, c: int, d: int) -> list[Pair]:
    """The nth line of a kind with the nth of the same kind, as far as both orders agree; for long stretches."""
    seen: Counter[str] = Counter()
    places: dict[tuple[str, int], int] = {}
    for at in range(c, d):
        seen[second[at]] += 1
        places[second[at], seen[second[at]]] = at
    seen.clear()
    pairs = []
    for at in range(a, b):
        seen[first[at]] += 1
        place = places.get((first[at], seen[first[at]]))
        if place is not None:
            pairs.append(Pair(at, place))
    return _in_order(pairs)


def _unique(first: Sequence[str], second: Sequence[str], a: int, b: int, c: int, d: int) -> list[Pair]:
    once = _once(first, a, b), _once(second, c, d)
    return [Pair(at, once[1][text]) for text, at in once[0].items() if text in once[1]]


def _once(lines: Sequence[Hashable], start: int, end: int) -> dict[Hashable, int]:
    counts = Counter(lines[start:end])
    return {lines[at]: at for at in range(start, end) if counts[lines[at]] == 1}


def _in_order(pairs: list[Pair]) -> list[Pair]:
    """A longest part of the pairs (rising in the first boot) that rises in the second too."""
    pairs = sorted(pairs)
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, pair in enumerate(pairs):
        at = bisect_left(tails, pair.second)
        before.append(ends[at - 1] if at else -1)
        tails[at : at + 1] = [pair.second]
        ends[at : at + 1] = [index]
    return [pairs[index] for index in _chain(before, ends[-1] if ends else -1)]


def _chain(before: Sequence[int], last: int) -> list[int]:
    chain = []
    while last >= 0:
        chain.append(last)
        last = before[last]
    return chain[::-1]


def _between(
    pairs: Sequence[Pair], first_end: int, second_end: int, first: int = 0, second: int = 0
) -> Iterator[tuple[int, int, int, int]]:
    """The stretches before, between and after the pairs."""
    for pair in (*pairs, Pair(first_end, second_end)):
        yield first, pair.first, second, pair.second
        first, second = pair.first + 1, pair.second + 1


