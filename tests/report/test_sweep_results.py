"""Results of a sweep that somebody hands over: what is no such file is told in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hw.errors import InputError
from minikern.lab.sweep.plan import Plan, grid
from minikern.report import sweep_results
from minikern.report.sweep_results import read_results
from minikern.report.sweep_store import Store, table

HEAD = "row,machine,kernel,variant,words,draw,error,total_ns"
ROW = "0,a,,b,,,,5"


def test_rows_come_back(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(f"{HEAD},smp_ns,memory,doubt_ns\n{ROW},,abc,\n")
    assert read_results(tmp_path / "r.csv").to_pylist()[0]["total_ns"] == 5
    pq.write_table(table([], grid(Plan(["tiny"]))), tmp_path / "r.parquet")
    assert read_results(tmp_path / "r.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Empty"),
        ("row,machine\n", "no column 'draw'"),
        (f"{HEAD},row\n{ROW},0\n", "two columns 'row'"),
        (f"{HEAD}\n0,a,,b,,,,x\n", "'total_ns': expected whole numbers, found 'x'"),
        (f"{HEAD}\n0,a,,b,,,,\n", "'total_ns': expected whole numbers, found None"),
        (f"{HEAD}\n0,a,,b,,,,9223372036854775808\n", "'total_ns': expected whole numbers"),
        (f"{HEAD},memory\n{ROW},inf\n", "'memory': expected numbers or words, found inf"),
        (f"{HEAD},doubt_ns\n{ROW},{{\n", "'doubt_ns': Input data was truncated"),
        (f"{HEAD},doubt_ns\n{ROW},[1]\n", "'doubt_ns': Expected `object`"),
        ("\0" * 1000, "Empty"),
    ],
)
def test_columns_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=f"not a sweep's results: .*{said}"):
        read_results(tmp_path / "r.csv")


def test_files_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"a.parquet": b"", "b.parquet": b"PAR1" + os.urandom(99) + b"PAR1", "c.csv": b"\xff,\x80\n"}
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="not a sweep's results"):
            read_results(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="found a pipe"):
        read_results(tmp_path / "pipe.csv")
    pq.write_table(pa.table({"row": range(9)}), tmp_path / "d.parquet")
    monkeypatch.setattr(sweep_results, "MAX_ROWS", 8)
    with pytest.raises(InputError, match=r"9 rows of .* expected at most 8"):
        read_results(tmp_path / "d.parquet")


def test_damaged_parts_are_named(tmp_path: Path) -> None:
    plan = grid(Plan(["tiny"]))
    assert Store(tmp_path / "r.csv", plan).open(False) == set()
    (tmp_path / "r.csv.parts/part-mine.parquet").write_bytes(b"not a part")
    assert Store(tmp_path / "r.csv", plan).open(True) == set()
    (tmp_path / "r.csv.parts/part-000000.parquet").write_bytes(b"half")
    with pytest.raises(InputError, match=r"part-000000.parquet: not what a sweep leaves there .* remove it to go on"):
        Store(tmp_path / "r.csv", plan).open(True)
