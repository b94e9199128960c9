from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import minikern
from hw.errors import InputError
from minikern.commands.check import check
from minikern.host import jit
from minikern.lab import algorithms
from minikern.lab.algorithms import HOOKS, Found, load_algorithms
from minikern.lab.cases import Case, case_of_kernel, corner_cases
from minikern.lab.check import Trial, check_algorithm
from minikern.lab.kinds import struct_page
from minikern.lab.kinds.struct_page import reference_split
from minikern.lab.kinds.struct_page_load import builtins_of
from tests.naive_mm import padata_chunks

RIGHT = """
import minikern
import numpy as np

@minikern.algorithm("memmap_init_range")
def mine(words, flags, lru):
    words[:] = 0
    words[:, 0] = flags
    words[:, 1] = words[:, 2] = lru + np.arange(len(words), dtype=np.uint64) * np.uint64(64)
    words[:, 6] = np.uint64(0x1FFFFFFFF)
"""
PAGE_HOOKS = [kind.hook.name for kind in struct_page.KINDS]
MISSING_ZERO = RIGHT.replace("words[:] = 0\n", "words[:, :7] = 0\n")


def found(hook: str, function: Any) -> Found:
    return Found("mine", HOOKS[hook], function)


def run(tmp_path: Path, text: str, *more: str) -> Any:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return CliRunner().invoke(check, [str(path), "--examples", "20", *more])


def test_right_function(tmp_path: Path) -> None:
    done = run(tmp_path, RIGHT)
    assert done.exit_code == 0, done.output
    assert "mine (memmap_init_range): right" in done.output
    assert "built-in nontemporal" in done.output
    assert "machines were too large for a function that is not compiled" in done.output


def test_wrong_function_names_pfn_field_and_smallest_machine(tmp_path: Path) -> None:
    done = run(tmp_path, MISSING_ZERO)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "mine (memmap_init_range): wrong"
    assert lines[1] == "  pfn 0x5: field memcg_data: expected 0x0, found 0xa5a5a5a5a5a5a5a5"
    assert "0xa5a5a5a5a5a5a5a5  < never written" in lines[3]
    assert lines[5] == "  smallest failing machine: one page: pfns [0x5, 0x6) on node 0"


def test_json(tmp_path: Path) -> None:
    body = json.loads(run(tmp_path, MISSING_ZERO + RIGHT.replace("mine", "second"), "--json").output)
    first, second = body["results"]
    assert (first["right"], first["wrong"]["field"], first["wrong"]["pfn"]) == (False, "memcg_data", 5)
    assert (second["right"], second["name"], second["hook"]) == (True, "second", "memmap_init_range")
    assert all(len(timing["samples"]) >= 5 for timing in second["timings"])


def test_wrong_only_where_it_is_rare() -> None:
    def forgets_row_1000(words: Any, flags: Any, lru: Any) -> None:
        builtins_of("memmap_init_range")["built-in fused"](words, flags, lru)
        if len(words) > 1000:
            words[1000, 6] = 0

    verdict = check_algorithm(found("memmap_init_range", forgets_row_1000), made_up=60)
    assert verdict.wrong is not None
    case = verdict.wrong.case
    assert isinstance(case, Case)
    assert verdict.wrong.at - case.memory[0][0] >= 1000
    assert verdict.wrong.field == "mapcount"
    assert case.pages <= 1024


@pytest.mark.parametrize("hook", PAGE_HOOKS)
def test_built_in_algorithms_are_right(hook: str) -> None:
    limit = 3000 if jit.DISABLED else 1 << 40
    for name, function in builtins_of(hook).items():
        trial = Trial(found(hook, function))
        for case in corner_cases():
            if case.pages <= limit:
                wrong = trial.first_wrong(case)
                assert wrong is None, f"{name} on {case.name}: {wrong}"



DAMAGE: dict[str, Any] = {
    "memmap_init_range": lambda words: words.__setitem__((-1, 2), 5),
    "deferred_init_range": lambda words: words.__setitem__((0, 6), 5),
    "free_range": lambda words: words.__setitem__((-1, 6), 0x1FFFFFFFF),
    "reserve_range": lambda words: words.__setitem__((0, 0), 0),
    "prep_compound_tails": lambda words: words.__setitem__((0, 3), 0),
}


@pytest.mark.parametrize("hook", DAMAGE)
def test_damage_is_found_at_every_hook(hook: str) -> None:
    right = next(iter(builtins_of(hook).values()))

    def wrong(words: Any, *arguments: Any) -> None:
        right(words, *arguments)
        DAMAGE[hook](words)

    verdict = check_algorithm(found(hook, wrong), made_up=5)
    assert verdict.wrong is not None
    assert verdict.clocked is None


def test_writing_outside_the_range_is_found() -> None:
    right = builtins_of("memmap_init_range")["built-in linux"]

    def too_far(words: Any, flags: Any, lru: Any) -> None:
        longer = np.lib.stride_tricks.as_strided(words, (len(words) + 1, 8), (64, 8))
        right(np.ascontiguousarray(longer), flags, lru)
        right(words, flags, lru)
        longer[-1, 0] = np.uint64(1)

    wrong = Trial(found("memmap_init_range", too_far)).first_wrong(corner_cases()[0])
    assert wrong is not None
    assert (wrong.at, wrong.found) == (6, "it was written")


def test_exceptions_are_reported() -> None:
    def breaks(*_: Any) -> None:
        raise ValueError("no such page\nsecond line")

    for hook in PAGE_HOOKS:
        wrong = check_algorithm(found(hook, breaks), made_up=0).wrong
        assert wrong is not None
        assert wrong.found == "ValueError: no such page"


@settings(max_examples=200)
@given(st.integers(0, 500), st.integers(1, 3000), st.integers(1, 64), st.integers(1, 100), st.integers(1, 20))
def test_reference_split_against_naive(start: int, size: int, align: int, chunk: int, threads: int) -> None:
    assert reference_split(start, size, align, chunk, threads) == padata_chunks(start, size, align, chunk, threads)


def test_wrong_split() -> None:
    verdict = check_algorithm(found("padata_split", lambda start, size, *_: [(start, start + size)]), made_up=0)
    assert verdict.wrong is not None
    assert verdict.wrong.field.startswith("piece 0 of padata_split(")
    short = check_algorithm(found("padata_split", lambda start, *_: []), made_up=0).wrong
    assert short is not None
    assert short.found == "no further piece"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "no function under"),
        ("def broken(:\n", "line 1: SyntaxError"),
        ("\n\nraise RuntimeError('boom')\n", "line 3: RuntimeError: boom"),
        ("import minikern\n@minikern.algorithm('nope')\ndef f(): ...\n", "unknown hook point 'nope'"),
        ("import minikern\n@minikern.algorithm('free_range')\ndef f(words): ...\n", "is called with (words, reserved)"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, told: str) -> None:
    done = run(tmp_path, text)
    assert done.exit_code == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    @minikern.algorithm("reserve_range")
    def mine(words: Any, reserved: Any) -> None:
        words[:, 0] |= reserved

    points = {"theirs": SimpleNamespace(name="theirs", load=lambda: mine)}
    points["other"] = SimpleNamespace(name="other", load=lambda: print)
    monkeypatch.setattr(algorithms, "entry_points", lambda group: list(points.values()))
    (loaded,) = load_algorithms("theirs")
    assert check_algorithm(loaded, made_up=3).wrong is None
    with pytest.raises(InputError, match="expected a function under"):
        load_algorithms("other")
    with pytest.raises(InputError, match="installed are other, theirs"):
        load_algorithms("nobody")
    assert importlib.metadata.entry_points(group="minikern.no-such-group") is not None


def test_a_booted_machine_is_a_case() -> None:
    from minikern.describe.presets import load_machine
    from minikern.lab.run import boot

    case = case_of_kernel("tiny", boot(load_machine("tiny")).kernel)
    assert case.pages == sum(piece.end - piece.start for piece in case.pieces())
    right = builtins_of("memmap_init_range")["built-in linux"]
    if not jit.DISABLED:
        trial = Trial(found("memmap_init_range", right))
        assert trial.first_wrong(case) is None
        assert trial.compared == case.pages


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, minikern; print('numba' in sys.modules, callable(minikern.algorithm), 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minikern.nothing  # type: ignore[attr-defined]
