"""Forms in which programs keep kernel messages, turned into plain lines with the kernel's stamps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from hw.numbers import is_count
from minikern.describe.record_forms import from_records

MIN_WRAPPED = 4  # lines as long as the longest one, before that is a terminal's width
MAX_LINE = 8192  # characters of a message with its prefix; Source: include/linux/printk.h:CONSOLE_EXT_LOG_MAX @ v6.1
WIDTHS = (79, 80, 100, 120, 132)  # of terminals

_KERNEL_STAMP = re.compile(r"^\W{0,4}\[ *\d+\.\d{3,9}\]")
_STEP = re.compile(r"^\[ *\+(-?\d{1,9}\.\d{6})\] ?")
_PHRASE = r"(?:BIOS-e820: \[mem 0x|Linux version \d)"
_STAMPED = re.compile(rf"(?:<\d+>)?(?:\[ *\d+\.\d{{3,9}}\] ?(?:\[ *[TC]\d+\] ?)?)?{_PHRASE}")
_BARE = re.compile(_PHRASE)
_WORDS = re.compile(r"\d+|[A-Za-z]+|[^A-Za-z0-9]+")


def plain_lines(text: str, prefix_length: Callable[[str], int]) -> list[str]:
    """The lines of ``text``, whatever form it has: records become lines with a stamp, foreign prefixes are cut off.

    ``prefix_length`` says what of a line in a known form stands before the kernel's text.
    """
    lines = from_records(text)
    if lines is None:
        lines = [line[:MAX_LINE] for line in text.split("\n")]  # what is longer was printed by no kernel
        lines = _unpadded(_joined(_without_prefix(lines, prefix_length)))
    return _once(_summed(lines))


def _unpadded(lines: list[str]) -> list[str]:
    padded = sum(line.endswith((" ", "\t")) for line in lines)
    return [line.rstrip() for line in lines] if padded * 2 > len(lines) else lines


def _summed(lines: list[str]) -> list[str]:
    """Lines of ``dmesg --reltime`` with the stamps that its steps add up to; a line with a time of day has none."""
    steps = [_STEP.match(line) for line in lines]
    if sum(step is not None for step in steps) * 2 <= len(lines):
        return lines
    found: list[str] = []
    at = 0.0
    for line, step in zip(lines, steps, strict=True):
        at += float(step[1]) if step else 0.0
        found.append(f"[{at:12.6f}] {line[step.end() :]}" if step else line)
    return found


def _once(lines: list[str]) -> list[str]:
    """Lines that two consoles wrote to one terminal, each once."""
    stamped = [line for line in lines if _KERNEL_STAMP.match(line)]
    twice = sum(one == two for one, two in pairwise(stamped))
    if twice * 3 < len(stamped):  # all of them are half of the pairs; until one console leaves, fewer
        return lines
    found: list[str] = []
    fresh = True
    for line, before in zip(lines, ["", *lines], strict=False):
        fresh = not fresh or line != before or not _KERNEL_STAMP.match(line)
        if fresh:
            found.append(line)
    return found


def _without_prefix(lines: list[str], prefix_length: Callable[[str], int]) -> list[str]:
    """Lines without what a CI system or a terminal program wrote before each; the same shape counts as the same."""
    shapes = Counter(
        _shape(line[: match.start()])
        for line in lines
        if (match := _STAMPED.search(line)) and match.start() and not _BARE.match(line, prefix_length(line))
    )
    if not shapes:
        return lines
    prefix = re.compile(shapes.most_common(1)[0][0])
    return [line[match.end() :] if (match := prefix.match(line)) else line for line in lines]


def _shape(prefix: str) -> str:
    # Numbers that stand right-aligned have fewer blanks before them the longer they are.
    parts = _WORDS.findall(prefix.lstrip())
    aligned = r"\s*" if prefix[0].isspace() else ""
    return aligned + "".join(
        r"\d+" if is_count(part) else r"[A-Za-z]+" if part.isalpha() else re.escape(part) for part in parts
    )


def wrapped_at(lines: list[str]) -> int:
    """The width at which a terminal broke long lines, 0 if none did."""
    stamped = [line for line in lines if _KERNEL_STAMP.match(line)]
    width = max(map(len, lines), default=0)
    full = sum(len(line) == width for line in lines)
    return width if width in WIDTHS and full >= MIN_WRAPPED and len(stamped) > len(lines) // 3 else 0


def _joined(lines: list[str]) -> list[str]:
    width = wrapped_at(lines)
    found: list[str] = []
    for line, before in zip(lines, ["", *lines], strict=False):
        if width and len(before) == width and not _KERNEL_STAMP.match(line):
            found[-1] += line
        else:
            found.append(line)
    return found


def cut_at(lines: list[str]) -> int:
    """The width at which long lines end without going on anywhere, 0 if they do not."""
    width = wrapped_at(lines)
    longest = [line for line in lines if len(line) == width]
    return width if longest and any("BIOS-e820" not in line for line in longest) else 0


