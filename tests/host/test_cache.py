"""The cache of compiled code where it cannot be kept, and where somebody else may have filled it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minikern.host import jit, machine_code
from minikern.host.sealed import seal, unsealed
from tests.host.namespaces import run_apart
from tests.host.test_jit import CODE, compiled

pytestmark = pytest.mark.skipif(
    jit.DISABLED or not machine_code.possible() or sys.platform != "linux", reason="needs object code in files of Linux"
)
NOBODY = 65534
root_only = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root gives files away")


def environment(place: Path) -> dict[str, str]:
    """All places where code may be kept are inside ``place``; Python's own, which it cuts short, is not used."""
    (place / "tmp").mkdir(exist_ok=True)
    base = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    paths = {"XDG_CACHE_HOME": str(place / "cache"), "TMPDIR": str(place / "tmp")}
    return {**base, **paths, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}


def run(place: Path, **more: Any) -> None:
    subprocess.run([sys.executable, "-c", CODE], env=environment(place), cwd=place, check=True, **more)


def test_no_room_for_a_file(tmp_path: Path) -> None:
    run(tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk(tmp_path: Path) -> None:
    script = "mkdir cache tmp; mount -t tmpfs -o size=4k none cache; mount -t tmpfs -o size=4k none tmp; "
    script += 'head -c 4096 /dev/zero > cache/full || true; "$1" -c "$2"; find cache tmp -type f'
    done = run_apart(f"cd {tmp_path}; rmdir tmp; {script}", environment(tmp_path), sys.executable, CODE)
    assert (done.returncode, done.stdout.split()) == (0, ["cache/full"]), done.stderr


def test_a_read_only_home(tmp_path: Path) -> None:
    script = f'mount --bind {tmp_path} {tmp_path}; mount -o remount,bind,ro {tmp_path}; "$1" -c "$2"'
    done = run_apart(script, environment(tmp_path), sys.executable, CODE)
    assert done.returncode == 0, done.stderr
    assert not compiled(tmp_path)


@root_only
@pytest.mark.parametrize("depth", ["cache/minikern", "cache"])
def test_a_folder_of_another_user(depth: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache/minikern/code"
    folder.parent.mkdir(parents=True)
    assert jit._is_private(folder)
    os.chown(tmp_path / depth, NOBODY, NOBODY)
    assert not jit._is_private(folder)


@root_only
def test_a_link_that_another_user_made(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "minikern").symlink_to("elsewhere")
    assert jit._is_private(tmp_path / "minikern/code")
    os.chown(tmp_path / "minikern", NOBODY, NOBODY, follow_symlinks=False)
    assert not jit._is_private(tmp_path / "minikern/code")


def test_a_folder_in_which_everybody_may_rename(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert not jit._is_private(tmp_path / "minikern/code")
    tmp_path.chmod(0o1777)
    assert jit._is_private(tmp_path / "minikern/code")


@root_only
def test_a_file_of_another_user(tmp_path: Path) -> None:
    seal(tmp_path / "a.code", b"code")
    assert unsealed(tmp_path / "a.code") == b"code"
    os.chown(tmp_path / "a.code", NOBODY, NOBODY)
    with pytest.raises(OSError, match="others can write it"):
        unsealed(tmp_path / "a.code")


def test_code_of_another_function_under_its_name(tmp_path: Path) -> None:
    seal(tmp_path / "a.code", b"code")
    (tmp_path / "a.code").rename(tmp_path / "b.code")
    with pytest.raises(OSError, match="damaged"):
        unsealed(tmp_path / "b.code")
