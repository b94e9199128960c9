"""The robustness cases that lie beside the checkout: each one's own command, and its files given to every command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from minikern.cli import main
from tests.support import SHARED

CASES = SHARED / "cases/robustness"
FOLDERS = sorted(path.name for path in CASES.iterdir()) if CASES.is_dir() else []
FILES = sorted(str(path.relative_to(CASES)) for path in CASES.rglob("*") if path.is_file() and path.name != "CASE.txt")
_COMMAND = re.compile(r"^(?:command: )?(?:.*?:)?\s*(minikern [^;&(\n]*(?:\$\([^\n]*\))?)", re.MULTILINE)
_ELSEWHERE = ("as root", "&")  # tried by tests/host: a throwaway namespace, interrupted runs
READERS = [
    ("boot",), ("compare",), ("blame",), ("critical-chain",), ("downtime",), ("explore", "smp"), ("fit",), ("pci",),
    ("report", "-o", "x.html"), ("machine", "show"), ("machine", "dump"), ("acpi", "tables"), ("acpi", "cost"),
    ("proc", "zoneinfo"), ("picture", "memory"), ("kexec",), ("check", "--examples", "1", "--timeout", "1"),
    ("explain",), ("sweep", "-o", "x.parquet", "--machines"),
    ("boot", "tiny", "--costs"), ("boot", "tiny", "--variant"),
    ("boot", "tiny", "--kernel"), ("boot", "tiny", "--acpi"), ("boot", "tiny", "--pci"), ("boot", "tiny", "--config"),
]  # fmt: skip


def fine(status: int, told: str) -> None:
    """A status of the program's, and no word of what went on inside."""
    assert status in (0, 1, 2, 3), told
    assert "Traceback" not in told and "internal error" not in told
    if status == 2:
        lines = [line for line in told.splitlines() if not line.startswith("minikern: assumed")]
        assert lines and lines[-1].startswith("minikern: "), told
        assert len(lines[-1]) < 1200


@pytest.mark.skipif(not FOLDERS, reason="no shared/cases/robustness beside the checkout")
@pytest.mark.parametrize("name", FOLDERS)
def test_a_case_s_own_command(name: str, tmp_path: Path) -> None:
    text = (CASES / name / "CASE.txt").read_text("utf-8", "replace")
    found = _COMMAND.search(text)
    if found is None or any(word in text.partition("expected:")[0] for word in _ELSEWHERE):
        pytest.skip("no command that can be run as it stands: see tests/host")
    folder = tmp_path / "case"
    shutil.copytree(CASES / name, folder)
    script = f'minikern() {{ "{sys.executable}" -m minikern "$@"; }}; python() {{ "{sys.executable}" "$@"; }}; '
    env = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script + found[1]], cwd=folder, env=env, capture_output=True, timeout=200,
                          check=False)  # fmt: skip
    fine(done.returncode, done.stderr.decode("utf-8", "replace"))
    if "expected: rc 2" in text and "or" not in text.partition("expected:")[2].partition("\n")[0]:
        assert done.returncode == 2


@pytest.mark.skipif(not FILES, reason="no shared/cases/robustness beside the checkout")
@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_every_command_on_every_file(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        done = CliRunner().invoke(main, [*words, str(CASES / name)])
        assert done.exception is None or isinstance(done.exception, SystemExit), (name, done.exception)
        fine(done.exit_code, done.stderr)
