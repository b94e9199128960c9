from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minikern.host import jit, machine_code

pytestmark = pytest.mark.skipif(jit.DISABLED or not machine_code.possible(), reason="needs object code")

STEP = 3


def _helped(value: int) -> int:
    return value + STEP


helped = jit.jit(_helped)


@jit.jit
def weigh(rows: Any, scale: np.uint32, flag: bool, factor: float) -> Any:
    """Rows by what they are in memory, and everything else that is passed."""
    total = 0.0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            total += rows[i, j] * (i * 10 + j + 1)
    return total * factor + scale, flag, helped(rows.shape[0])


@jit.jit
def divide(a: int, b: int) -> int:
    """An exception where b is 0."""
    return a // b


@jit.jit
def made(count: int) -> Any:
    """An array that compiled code makes."""
    return np.zeros(count)


def answers(function: Any, *args: Any) -> Any:
    return function(*args), function.dispatcher(*args)


def test_every_layout_is_read_as_numba_reads_it() -> None:
    whole = np.arange(48, dtype=np.int64).reshape(6, 8)
    fixed = whole.copy()
    fixed.flags.writeable = False
    for rows in (whole, whole.T, whole[::2, ::3].astype(np.uint32)[::-1], whole[3:3], fixed):
        ours, numbas = answers(weigh, rows, np.uint32(7), True, 0.5)
        assert ours == numbas
        assert [type(one) for one in ours] == [type(one) for one in numbas]
    kinds: Any = weigh
    assert len(kinds._ready) == 4  # an array without rows is of the same kind as one with some


def test_an_exception_is_one() -> None:
    assert divide(7, -2) == -4
    with pytest.raises(machine_code.MachineCodeError, match="divide"):
        divide(1, 0)


def test_what_needs_numba_gets_it() -> None:
    assert made(3).tolist() == [0, 0, 0]
    assert divide(2**80 // 2**79, 1) == 2
    assert machine_code.type_name(2**64) == machine_code.type_name("text") == ""


def test_the_user_s_compiled_code_calls_ours() -> None:
    import numba

    def theirs(value: int) -> int:
        return helped(value) * 2

    jit.teach_numba()
    compiled: Any = numba.njit(theirs)
    assert compiled(4) == 14


CODE = """
import sys, numpy as np
from minikern.mm.page.page_kernels import set_flags
w = np.zeros((2, 8), dtype=np.uint64)
set_flags(w, np.uint64(4))
assert w[:, 0].tolist() == [4, 4]
print('numba' in sys.modules)
"""


def with_numba(tmp_path: Path, **env: str) -> bool:
    base = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    root = str(Path(__file__).parents[2])
    env = {**base, "PYTHONPATH": root, "XDG_CACHE_HOME": str(tmp_path / "cache"), **env}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, cwd=tmp_path, check=True, capture_output=True)
    return done.stdout.strip() == b"True"


def test_numba_is_needed_once(tmp_path: Path) -> None:
    assert with_numba(tmp_path)
    assert not with_numba(tmp_path)
    assert with_numba(tmp_path, NUMBA_BOUNDSCHECK="1")  # who sets numba's own variables gets numba itself
    (tmp_path / ".numba_config.yaml").write_text("boundscheck: 1\n")
    assert with_numba(tmp_path)
