from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from hw.errors import InputError
from minikern.commands.bench import bench
from minikern.host import jit
from minikern.host.backing import last_level_cache_bytes
from minikern.lab import bench as bench_room
from minikern.lab import bench_c, rooflines
from minikern.lab.bench import Bench, Kernel, Part, default_threads, run_pages, validate

compiled = pytest.mark.skipif(jit.DISABLED, reason="benchmarks need compiled kernels")


@compiled
def test_json_has_every_kernel_and_raw_samples() -> None:
    done = CliRunner().invoke(bench, ["pages", "--pages", "1000", "--threads", "2", "--rounds", "3", "--json"])
    assert done.exit_code == 0, done.output
    body = json.loads(done.output)
    assert (body["clock"], body["pages"], body["bytes"]) == ("measured", 32768, 2 << 20)
    rows = {row["kernel"]: row for row in body["results"]}
    assert {"memset", "read", "linux", "fused", "nontemporal", "deferred", "deferred-node", "check"} <= set(rows)
    for row in rows.values():
        assert (row["threads"], row["pages"], len(row["samples"])) == (2, 32768, 3)
        assert row["pages_per_s"] == pytest.approx(32768 / min(row["samples"]))
        assert row["bytes_per_s"] == pytest.approx(64 * row["pages_per_s"])
        assert row["spread"] >= 0
    assert body["in_cache"] is (last_level_cache_bytes() >= 2 << 20)
    if body["compiler"]:
        assert rows["linux"]["ratio_to_c"] == pytest.approx(rows["linux"]["pages_per_s"] / rows["c"]["pages_per_s"])


@compiled
def test_the_roofline_is_the_better_of_two_and_there_is_none_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache, told in ((1 << 20, "2 MiB, only 2.0 times the last-level cache"), (4 << 20, "the cache was measured")):
        for module in (bench_room, rooflines):
            monkeypatch.setattr(module, "last_level_cache_bytes", lambda cache=cache: cache)
        report = run_pages(32768, [1], 2)
        rows = {row.kernel: row for row in report.results}
        assert told in report.memory
        if cache < 2 << 20:
            top = max(rows[name].bytes_per_s for name in ("memset", "fill") if name in rows)
            assert rows["linux"].ratio_to_roofline == pytest.approx(rows["linux"].bytes_per_s / top)
        else:
            assert report.in_cache and all(row.ratio_to_roofline is None for row in report.results)


@compiled
def test_table_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    done = CliRunner().invoke(bench, ["pages", "--pages", "32768", "--threads", "1", "--rounds", "1"])
    assert done.exit_code == 0, done.output
    assert "nontemporal" in done.output
    assert "no C compiler" in done.stderr


def test_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(bench_c.NoCompiler, match="failed: no message"):
        bench_c.CKernels()
    monkeypatch.setattr(bench_c, "c_source", lambda: None)
    with pytest.raises(bench_c.NoCompiler, match="source checkout"):
        bench_c.CKernels()


@compiled
def test_wrong_kernel_is_not_timed() -> None:
    buffer = Bench(32768)

    def forgets_one(part: Part) -> None:
        part.words[:] = np.uint64(0)

    with pytest.raises(AssertionError, match=r"kernel mine: pfn 0x100000 is not as expected \(init\)"):
        validate(buffer, Kernel("mine", "", forgets_one, after="init"))
    buffer.close()


@compiled
def test_parts_cover_everything_once() -> None:
    buffer = Bench(32768)
    for threads in (1, 2, 3, 5, 32, 33):
        parts = buffer.parts(threads)
        assert len(parts) <= threads
        assert sum(len(part.words) for part in parts) == 32768
        at = buffer.start
        for part in parts:
            assert (part.pfn, part.pfn % 1024) == (at, 0)
            at += len(part.words)
    buffer.close()


def test_bad_sizes() -> None:
    with pytest.raises(InputError, match="positive multiple of 32768"):
        Bench(1000)
    assert default_threads()[0] == 1
    done = CliRunner().invoke(bench, ["pages", "--pages", "0"])
    assert done.exit_code == 2


def test_needs_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "DISABLED", True)
    with pytest.raises(InputError, match="NUMBA_DISABLE_JIT"):
        run_pages(32768, [1], 1)
