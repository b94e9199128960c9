"""Rows that read like a sequence, turn into a data frame, and show themselves as a table in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from importlib.util import find_spec
from typing import Any, Generic, Literal, TypeAlias, TypeVar, overload

import msgspec

from hw.errors import InputError

Library: TypeAlias = Literal["polars", "pandas", "pyarrow"]
FRAMES: tuple[Library, ...] = ("polars", "pandas", "pyarrow")  # libraries a frame may be of, first choice first
SHOWN_ROWS = 40  # of a long table in a notebook

R = TypeVar("R", bound=msgspec.Struct)


def frame_library(wanted: str = "") -> Library:
    """The library frames are made with: ``wanted``, else the first of polars, pandas and pyarrow that is installed.

    InputError: it is none of them, or not installed.
    """
    if wanted and wanted not in FRAMES:
        raise InputError(f"{wanted!r}: expected one of {', '.join(FRAMES)}")
    there = [name for name in FRAMES if wanted in ("", name) and find_spec(name) is not None]
    if not there or find_spec("narwhals") is None:
        raise InputError(
            f"frames need narwhals and {wanted or 'one of ' + ', '.join(FRAMES)}: pip install 'minikern[notebook]'"
        )
    return there[0]


def make_frame(columns: dict[str, list[Any]], library: str = "") -> Any:
    """A frame of ``library``, or of the first there is. InputError: none is installed."""
    backend = frame_library(library)
    import narwhals as nw

    return nw.from_dict(columns, backend=backend).to_native()


class Records(Sequence[R], Generic[R]):
    """Rows of one kind, each a structure whose field names say the units.

    >>> class Row(msgspec.Struct):
    ...     name: str
    ...     spent_ns: int
    >>> rows = Records(Row, [Row("a", 1), Row("b", 2)], "an example")
    >>> len(rows), rows[1].name, [row.spent_ns for row in rows]
    (2, 'b', [1, 2])
    >>> rows.columns()
    {'name': ['a', 'b'], 'spent_ns': [1, 2]}
    >>> rows.where(name="b")[0].spent_ns
    2
    >>> rows.to_frame("polars").columns
    ['name', 'spent_ns']
    """

    def __init__(self, kind: type[R], rows: Iterable[R], title: str = "") -> None:
        self.kind = kind
        self.title = title
        self._rows = tuple(rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return self.kind.__struct_fields__

    def columns(self) -> dict[str, list[Any]]:
        """The rows by column, for a library that ``to_frame()`` does not know."""
        return {name: [getattr(row, name) for row in self._rows] for name in self.names}

    def to_frame(self, library: str = "") -> Any:
        """A data frame of polars, pandas or pyarrow: of ``library``, else of the first of them that is installed.

        InputError: none is.
        """
        return make_frame(self.columns(), library)

    def where(self, keep: Callable[[R], bool] | None = None, **fields: object) -> Records[R]:
        """The rows for which ``keep`` is true and whose ``fields`` have these values."""
        rows = (
            row
            for row in self._rows
            if (keep is None or keep(row)) and all(getattr(row, name) == value for name, value in fields.items())
        )
        return Records(self.kind, rows, self.title)

    @overload
    def __getitem__(self, index: int) -> R: ...

    @overload
    def __getitem__(self, index: slice) -> Records[R]: ...

    def __getitem__(self, index: int | slice) -> R | Records[R]:
        if isinstance(index, slice):
            return Records(self.kind, self._rows[index], self.title)
        return self._rows[index]

    def __iter__(self) -> Iterator[R]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {', '.join(self.names)}>"

    def _repr_html_(self) -> str:
        return html_table(self.names, ([getattr(row, name) for name in self.names] for row in self._rows), self.title)


def html_table(heads: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """A table for a notebook; of a long one the first rows, and how many more there are."""
    found = list(rows)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in found[:SHOWN_ROWS])
    more = f"<p>and {len(found) - SHOWN_ROWS} more rows</p>" if len(found) > SHOWN_ROWS else ""
    caption = f"<caption>{escape(title)}</caption>" if title else ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f'<td style="text-align:left">{escape("" if value is None else str(value))}</td>'
    text = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
    return f'<td style="text-align:right">{text}</td>'
