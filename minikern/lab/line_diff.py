"""Two logs line by line: what both say, what they say with other figures, what appeared and what vanished."""

from __future__ import annotations

from typing import Literal

import msgspec

from hw.units import NS_PER_MS
from minikern.lab.fit.align import Pair, align
from minikern.lab.two_boots import OneBoot

Kind = Literal["same", "changed", "vanished", "appeared"]


class DiffLine(msgspec.Struct, frozen=True, array_like=True):
    """One line of two boots. A text is empty and a time None where the line is not there, or has no stamp."""

    kind: Kind
    first_ms: float | None
    second_ms: float | None
    first: str
    second: str


def line_diff(first: OneBoot, second: OneBoot) -> list[DiffLine]:
    """Both logs from their beginning to their end, in the order of both."""
    a, b = _lines(first), _lines(second)
    pairs = align([text for text, _ in a], [text for text, _ in b])
    found: list[DiffLine] = []
    at = Pair(0, 0)
    for pair in (*pairs, Pair(len(a), len(b))):
        found += [DiffLine("vanished", ms, None, text, "") for text, ms in a[at.first : pair.first]]
        found += [DiffLine("appeared", None, ms, "", text) for text, ms in b[at.second : pair.second]]
        if pair.first < len(a):
            (was, before), (text, now) = a[pair.first], b[pair.second]
            found.append(DiffLine("same" if was == text else "changed", before, now, was, text))
        at = Pair(pair.first + 1, pair.second + 1)
    return found


def _lines(boot: OneBoot) -> list[tuple[str, float | None]]:
    if boot.stamped is None:
        return [(text, None) for text in boot.log.lines]
    return [
        (line.text, None if line.at_ns is None else round(line.at_ns / NS_PER_MS, 3)) for line in boot.stamped.lines
    ]
