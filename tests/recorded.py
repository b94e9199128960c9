"""Two logs of one boot, line by line: what stands in one and not in the other, where it must.

Every line the emulated kernel printed has to stand in the real log, in the same order. Every real line whose shape (its
text without numbers) the emulated kernel knows has to be printed by it. Only what nobody can reproduce is masked.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

FOLDERS = Path(__file__).parent / "data" / "captures"

ZONE_FIELDS = ("min", "low", "high", "spanned", "present", "managed", "protection", "start_pfn")

_STAMP = re.compile(r"^\[ *\d+\.\d+\] ?")
_MASKS = [
    (re.compile(pattern), mask)
    for pattern, mask in (
        # What the host's clock rate decides.
        (r"^tsc: .*", ""),
        (r"(clocksource: tsc(?:-early)?: mask: \S+) .*", r"\1"),
        (r"^Calibrating delay loop.*", "Calibrating delay loop"),
        (r"(processors activated) .*", r"\1"),
        # How much is free depends on what other kernel threads allocated until then.
        (r"^Memory: \d+K/", "Memory: /"),
        (r"(HugeTLB: allocation took) \d+ms", r"\1"),
        (r"(node) \d+ (deferred pages initialised in) \d+ms", r"\1 \2"),
    )
]


# Printed by workers, whenever they come to it.
_ASYNCHRONOUS = re.compile(r"^(?:Trying to unpack rootfs|node deferred pages)")


class Differences(NamedTuple):
    """Lines of one log that the other should have, and the first two lines that stand in another order."""

    invented: list[str]
    missing: list[str]
    order: list[str]


def masked(text: str) -> list[str]:
    """The log's lines up to the first process, without time stamps and what nobody can reproduce."""
    lines = []
    for line in text.splitlines():
        line = _STAMP.sub("", line.rstrip())
        for pattern, mask in _MASKS:
            line = pattern.sub(mask, line)
        if line:
            lines.append(line)
        if line.startswith("Run "):
            break
    return lines


def shape(line: str) -> str:
    """A line without its numbers."""
    return re.sub(r"(?:0x)?[0-9a-f]*\d[0-9a-f]*", "#", line)


def compare(emulated: str, real: str) -> Differences:
    """What is wrong with an emulated log."""
    ours, theirs = masked(emulated), masked(real)
    invented, missing = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    known = {shape(line) for line in ours}
    both = Counter(ours) & Counter(theirs)
    return Differences(
        list(invented.elements()),
        [line for line in missing.elements() if shape(line) in known],
        _first_out_of_order(_only(ours, both), _only(theirs, both)),
    )


def zones(text: str) -> dict[str, dict[str, str]]:
    """Of every zone in a zoneinfo text, the fields that booting decides."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"(?=^Node \d+, zone)", text, flags=re.MULTILINE)[1:]:
        rows = re.findall(rf"^ +({'|'.join(ZONE_FIELDS)}):? +(\S.*)$", block, re.MULTILINE)
        found[block.splitlines()[0]] = dict(rows)
    return found


def _only(lines: list[str], counts: Counter[str]) -> list[str]:
    left, kept = counts.copy(), []
    for line in lines:
        if left[line] > 0 and not _ASYNCHRONOUS.match(line):
            left[line] -= 1
            kept.append(line)
    return kept


def _first_out_of_order(ours: list[str], theirs: list[str]) -> list[str]:
    return next(([a, b] for a, b in zip(ours, theirs, strict=True) if a != b), [])
