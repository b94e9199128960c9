from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from minikern.host import jit

CODE = "import numpy as np; from minikern.mm.page.page_kernels import set_flags; w = np.zeros((2, 8), dtype=np.uint64);"
CODE += "set_flags(w, np.uint64(4)); assert w[:, 0].tolist() == [4, 4]"


def run(tmp_path: Path, **env: str) -> None:
    base = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", CODE], env={**base, "PYTHONPATH": root, **env}, cwd=tmp_path, check=True)


def compiled(folder: Path) -> list[Path]:
    return list(folder.rglob("*.code"))


def test_code_is_kept_in_the_user_s_cache(tmp_path: Path) -> None:
    run(tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert compiled(tmp_path / "cache" / "minikern")
    folder = next((tmp_path / "cache" / "minikern").iterdir())
    assert not folder.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def test_numba_cache_dir_is_honoured(tmp_path: Path) -> None:
    run(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "mine"), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert compiled(tmp_path / "mine")
    assert not compiled(tmp_path / "cache")


def test_without_the_jit_nothing_is_kept(tmp_path: Path) -> None:
    run(tmp_path, NUMBA_DISABLE_JIT="1", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert not compiled(tmp_path)


def test_a_folder_others_can_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "inner"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    assert not jit._is_private(shared)
    shared.chmod(0o700)
    assert jit._is_private(shared)


def test_a_place_that_can_not_be_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    jit.cache_folder.cache_clear()
    try:
        folder = jit.cache_folder("code")
    finally:
        jit.cache_folder.cache_clear()
    assert folder is None or "file" not in folder


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "a bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "foreign": lambda data: b"\x80\x04\x95" + bytes(200),
}


@pytest.mark.skipif(jit.DISABLED, reason="needs compiled kernels")
@pytest.mark.parametrize("kind", [*DAMAGES, "open to others", "a folder"])
def test_what_is_damaged_or_foreign_is_a_miss(kind: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(tmp_path, XDG_CACHE_HOME=str(cache))
    for path in [*cache.rglob("*.code"), *cache.rglob("*.nbc"), *cache.rglob("*.nbi")]:
        if kind in DAMAGES:
            path.write_bytes(DAMAGES[kind](path.read_bytes()))
        elif kind == "open to others":
            path.chmod(0o666)
        else:
            path.unlink()
            path.mkdir()
    run(tmp_path, XDG_CACHE_HOME=str(cache))
    run(tmp_path, XDG_CACHE_HOME=str(cache))


@pytest.mark.skipif(jit.DISABLED, reason="needs compiled kernels")
def test_two_programs_fill_one_cache(tmp_path: Path) -> None:
    base = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    env = {**base, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_CACHE_HOME": str(tmp_path)}
    running = [subprocess.Popen([sys.executable, "-c", CODE], env=env, cwd=tmp_path) for _ in range(2)]
    assert [one.wait() for one in running] == [0, 0]
    assert not list(tmp_path.rglob("*.tmp"))
