"""A finished sweep's results read back: a file that somebody hands over, so each column is looked at first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hw.errors import InputError
from hw.files import open_input

SUFFIXES = (".parquet", ".csv")
MAX_FILE_BYTES, MAX_UNPACKED_BYTES = 4 << 30, 16 << 30
MAX_ROWS = 1 << 24  # more do not fit one process: see bench/scale
TEXTS = ("machine", "kernel", "variant", "words", "error")
_MORE_TEXTS = ("counts", "doubt_ns", "inputs_sha256", "versions")


def read_results(path: Path) -> Any:
    """A finished sweep's rows as a pyarrow table. InputError: it is none."""
    import pyarrow as pa

    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a sweep's results, {' or '.join(SUFFIXES)}")
    with open_input(path, MAX_FILE_BYTES) as file:
        try:
            found = _read_parquet(file) if path.suffix == ".parquet" else _read_csv(file)
            said = next(_wrong(found), "")
        except (pa.ArrowException, OSError, ValueError) as error:
            said = f"{str(error).strip().partition(chr(10))[0]:.200}"
    if said:
        raise InputError(f"{path}: not a sweep's results: {said}")
    return found


def _read_parquet(file: Any) -> Any:
    import pyarrow.parquet as pq

    packed = pq.ParquetFile(file)
    told = packed.metadata
    size = sum(told.row_group(at).total_byte_size for at in range(told.num_row_groups))
    if told.num_rows > MAX_ROWS or size > MAX_UNPACKED_BYTES:
        raise InputError(f"{told.num_rows} rows of {size} bytes: expected at most {MAX_ROWS}, {MAX_UNPACKED_BYTES}")
    return packed.read()


def _read_csv(file: Any) -> Any:
    import pyarrow as pa
    import pyarrow.csv

    texts = dict.fromkeys((*TEXTS, *_MORE_TEXTS), pa.string())
    return pa.csv.read_csv(file, convert_options=pa.csv.ConvertOptions(column_types=texts, strings_can_be_null=False))


def _wrong(found: Any) -> Iterator[str]:
    """What a column lacks that the summary goes by, column by column."""
    import pyarrow as pa

    names = found.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = sorted({"row", "draw", *TEXTS} - set(names))
    if twice or missing:
        yield f"two columns {twice[0]!r:.80}" if twice else f"no column {missing[0]!r}"
    booted = [not error for error in found.column("error").to_pylist()]
    for name in names:
        values, kind = found.column(name), found.schema.field(name).type
        if name in (*TEXTS, *_MORE_TEXTS):
            if not (pa.types.is_string(kind) or pa.types.is_null(kind)):
                yield f"column {name!r}: expected text, found {kind}"
            if name == "doubt_ns":
                yield from _wrong_doubts(values.to_pylist())
        elif name != "draw":
            yield from _wrong_numbers(name, kind, [v for v, use in zip(values.to_pylist(), booted, strict=True) if use])


def _wrong_numbers(name: str, kind: Any, values: Sequence[Any]) -> Iterator[str]:
    # Times are whole ns; a varied parameter is a number or a word, and each row that was booted has one.
    whole = name == "row" or name.endswith("_ns")
    types = (int,) if whole else (int, float, str)
    bad = [v for v in values if type(v) not in types or (isinstance(v, float) and not math.isfinite(v))]
    optional = whole and name != "total_ns"
    if [value for value in bad if not (optional and value is None)]:
        expected = "whole numbers" if whole else "numbers or words"
        yield f"column {name!r:.80}: expected {expected}, found {bad[0]!r:.40} ({kind})"


def _wrong_doubts(texts: Sequence[str | None]) -> Iterator[str]:
    decoder = msgspec.json.Decoder(dict[str, float])
    for text in texts:
        try:
            decoder.decode(text or "{}")
        except msgspec.DecodeError as error:
            yield f"column 'doubt_ns': {error}"
