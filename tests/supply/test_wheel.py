"""The wheel: the same bytes each time, everything in it, and of use without compiler, cache or home."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.host.namespaces import run_apart

ROOT = Path(__file__).parents[2]
NO_CODE = {".pyc", ".pyo"}

pytestmark = pytest.mark.skipif(find_spec("hatchling") is None, reason="no hatchling to build a wheel with")


def build(out: Path) -> Path:
    env = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def test_two_builds_are_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    one, two = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (wheel, build(tmp_path)))
    assert one == two


def test_all_of_the_package_is_in_it(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    files = {path.relative_to(ROOT).as_posix() for room in ("minikern", "hw") for path in (ROOT / room).rglob("*")
             if path.is_file() and path.suffix not in NO_CODE}  # fmt: skip
    assert files - inside == set()
    assert "minikern/lab/struct_page.c" in inside


def test_it_works_without_compiler_cache_or_home(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(place)
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; cd "$1"; '
    script += 'for args in "boot tiny --check" "compare tiny"; do "$2" -m minikern $args > /dev/null; done; '
    script += '"$2" -c "import minikern; print(minikern.__file__)"'
    bare = {"PYTHONPATH": str(place), "PATH": "/nonexistent:/usr/bin:/bin", "TMPDIR": str(tmp_path), "CC": "/bin/false"}
    done = run_apart(script, bare, str(tmp_path), sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(place / "minikern/__init__.py")
    assert "Traceback" not in done.stderr
