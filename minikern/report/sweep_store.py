"""Where a sweep's rows go: parts while it runs, one sorted Parquet or CSV file when it is done.

The parts lie in ``NAME.parts`` beside the result, each written whole; what is in them survives any end of the process,
and ``--resume`` makes only what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from hw.errors import InputError
from hw.files import open_input, read_input
from minikern.host.output import check_place, new_folder, output_file, remove_folder, write_file
from minikern.lab.sweep.plan import METRICS, Grid
from minikern.lab.sweep.rows import Row
from minikern.report.sweep_results import SUFFIXES

PLAN, PART = "plan.json", "part-{:06}.parquet"
_PART_NAME = re.compile(r"part-([0-9]{6,9})\.parquet")
MAX_PLAN_BYTES = 1 << 16
MEMORY = "memory"


def column(metric: str) -> str:
    """The column of a metric: ``early_memory_ns``."""
    return f"{metric.replace(' ', '_')}_ns"


class _PlanOfParts(msgspec.Struct, forbid_unknown_fields=True):
    """What the parts are of."""

    digest: str
    rows: int


class Store:
    """The file that a sweep fills."""

    def __init__(self, path: Path, grid: Grid) -> None:
        if path.suffix not in SUFFIXES:
            raise InputError(f"-o: {path}: expected a file ending in {' or '.join(SUFFIXES)}")
        if not path.parent.is_dir():
            raise InputError(f"-o: {path.parent} is no folder")
        self.path = path
        self.folder = path.with_name(f"{path.name}.parts")
        self._grid = grid
        self._next = 0

    def open(self, resume: bool) -> set[int]:
        """Begin, or go on; returns the rows that are there already. InputError: it would overwrite something else."""
        check_place(self.path)
        if self.path.exists():
            raise InputError(f"-o: {self.path}: there already, and whole: expected a new name")
        if self.folder.exists() and not resume:
            raise InputError(f"-o: {self.path}: begun already ({self.folder.name}): --resume goes on with it")
        if not self.folder.exists():
            plan = msgspec.json.encode(_PlanOfParts(self._grid.digest(), len(self._grid)))
            with new_folder(self.folder) as draft:
                write_file(draft / PLAN, plan)
            return set()
        return self._resumed()

    def _resumed(self) -> set[int]:
        where = self.folder / PLAN
        try:
            told = msgspec.json.decode(read_input(where, MAX_PLAN_BYTES), type=_PlanOfParts)
        except msgspec.DecodeError as error:
            raise InputError(f"{where}: not what a sweep leaves there: {error}") from error
        if told.digest != self._grid.digest():
            raise InputError(f"--resume: {self.folder} is of another plan ({told.rows} rows): expected the same one")
        there: set[int] = set()
        for part in self._parts():
            there.update(self._read_part(part).column("row").to_pylist())
            self._next = max(self._next, int(part.stem.partition("-")[2]) + 1)
        return there

    def _read_part(self, path: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with open_input(path) as file:
            try:
                return pq.read_table(file, schema=_schema(self._grid))
            except (pa.ArrowException, OSError, ValueError) as error:
                what = str(error).partition("\n")[0]
                raise InputError(f"{path}: not what a sweep leaves there ({what:.80}): remove it to go on") from error

    def _parts(self) -> list[Path]:
        return sorted(part for part in self.folder.glob("part-*.parquet") if _PART_NAME.fullmatch(part.name))

    def add(self, rows: Sequence[Row]) -> None:
        """Keep some rows for good. InputError: there is no room."""
        import pyarrow.parquet as pq

        part = table(rows, self._grid)
        with output_file(self.folder / PART.format(self._next)) as file:
            pq.write_table(part, file)
        self._next += 1

    def leave(self) -> bool:
        """Stop before the end: True if rows are kept for ``--resume``; without one nothing is left behind."""
        if self._parts():
            return True
        if self.folder.exists():
            remove_folder(self.folder)
        return False

    def close(self) -> Any:
        """Put all rows into the one file, in the plan's order; returns them as a pyarrow table."""
        whole = self.read()
        with output_file(self.path) as file:
            _write(whole, file, self.path.suffix)
        remove_folder(self.folder)
        return whole

    def read(self) -> Any:
        """The rows so far, in the plan's order."""
        import pyarrow as pa

        parts = [self._read_part(part) for part in self._parts()]
        return pa.concat_tables(parts).sort_by("row").combine_chunks() if parts else table([], self._grid)


def table(rows: Iterable[Row], grid: Grid) -> Any:
    """Rows as a pyarrow table; the schema follows from the plan alone."""
    import pyarrow as pa

    schema = _schema(grid)
    return pa.Table.from_pylist([flat(row, grid) for row in rows], schema=schema)


def flat(row: Row, grid: Grid) -> dict[str, Any]:
    """One row by column: varied parameters by their names (memory in bytes), times in ns, counts as JSON text."""
    varied = {name: row.vary.get(name) for name, _ in grid.vary}
    if (size := varied.get(MEMORY)) is not None:
        varied[MEMORY] = int(size)
    for name, values in grid.vary:
        if any(isinstance(value, str) for value in values):
            varied[name] = str(varied[name])
    return {
        "row": row.row,
        "machine": row.machine,
        "kernel": row.kernel,
        "variant": row.variant,
        "words": row.words,
        "draw": row.draw,
        **varied,
        **{column(name): row.times_ns.get(name) for name in grid.metrics or METRICS},
        "total_low_ns": row.total_low_ns,
        "total_high_ns": row.total_high_ns,
        "counts": msgspec.json.encode(row.counts).decode(),
        "doubt_ns": msgspec.json.encode(row.doubt_ns).decode(),
        "inputs_sha256": row.inputs_sha256,
        "versions": row.versions,
        "error": row.error,
    }


def _schema(grid: Grid) -> Any:
    import pyarrow as pa

    number, text = pa.int64(), pa.string()
    fields = {"row": number, "machine": text, "kernel": text, "variant": text, "words": text, "draw": number}
    for name, values in grid.vary:
        words = any(isinstance(value, str) for value in values)
        fields[name] = text if words else pa.float64() if any(isinstance(value, float) for value in values) else number
    fields |= dict.fromkeys(map(column, grid.metrics or METRICS), number)
    fields |= {"total_low_ns": number, "total_high_ns": number}
    fields |= dict.fromkeys(("counts", "doubt_ns", "inputs_sha256", "versions", "error"), text)
    return pa.schema(list(fields.items()))


def _write(whole: Any, file: BinaryIO, suffix: str) -> None:
    import pyarrow.csv
    import pyarrow.parquet as pq

    if suffix == ".parquet":
        pq.write_table(whole, file)
    else:
        pyarrow.csv.write_csv(whole, file)
