"""A sheet for a terminal too narrow for its table: words stay whole, and where columns do not fit, rows are turned."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

GAP, LEAST_WIDTH = "  ", 8
LEAST_WORDS = 24  # columns that are left to a row's words beside its figures; with less the row is turned


def narrow_lines(title: str, heads: Sequence[str], left: int, rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The sheet as lines of at most ``width`` columns, but for single words that are longer."""
    width = max(width, LEAST_WIDTH)
    lines = _wrapped(title, width)
    room = width - sum(len(GAP) + size for size in _sizes(heads, rows)[1:])
    longest = max((len(word) for row in rows for word in row[0].split()), default=0)
    if left == 1 and room >= max(LEAST_WORDS, longest):
        return [*lines, *_table(heads, rows, room)]
    return [*lines, *(line for row in rows for line in _turned(heads, left, row, width))]


def natural_width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns that the table fills when nothing is folded."""
    sizes = _sizes(heads, rows)
    return sum(sizes) + len(GAP) * (len(sizes) - 1)


def _sizes(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max([len(head), *(len(row[at]) for row in rows if at < len(row))]) for at, head in enumerate(heads)]


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    own = text[: len(text) - len(text.lstrip())]  # what stands deeper stays deeper
    return textwrap.wrap(
        text, width, initial_indent="", subsequent_indent=own + indent, break_long_words=False, break_on_hyphens=False
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> Iterator[str]:
    sizes = _sizes(heads, rows)
    sizes[0] = room
    for row in (heads, *rows):
        words = _wrapped(row[0], room, "  ") or [""]
        figures = [cell.rjust(size) for cell, size in zip(row[1:], sizes[1:], strict=False)]
        yield GAP.join([words[0].ljust(room), *figures]).rstrip()
        yield from words[1:]


def _turned(heads: Sequence[str], left: int, row: Sequence[str], width: int) -> Iterator[str]:
    """The row's first cell on a line of its own; below it each other cell that says something, behind its heading."""
    yield from _wrapped(row[0], width, "  ") or [""]
    line = ""
    for at, (head, cell) in enumerate(zip(heads[1:], row[1:], strict=False), 1):
        if not cell or cell == "-":
            continue
        part = f"{head} {cell}".strip() if at >= left else f"{head}: {cell}".removeprefix(": ")
        if line and len(GAP) + len(line) + len(GAP) + len(part) > width:
            yield GAP + line
            line = ""
        if len(GAP) + len(part) > width:
            yield from (GAP + piece for piece in _wrapped(part, width - len(GAP), "  "))
        else:
            line += (GAP if line else "") + part
    if line:
        yield GAP + line
