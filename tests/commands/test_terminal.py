"""Completion, the manual, versions, and the line that says something still runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from minikern.cli import COMMANDS, main
from minikern.commands import waiting

ROOT = Path(__file__).parents[2]


def complete(*words: str) -> list[str]:
    """What bash is offered for the last of ``words``."""
    line = {"_MINIKERN_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-m", "minikern"], env={**os.environ, **line}, capture_output=True, text=True, check=True,
        cwd=ROOT,
    )  # fmt: skip
    return [row.partition(",")[2] for row in done.stdout.splitlines()]


def test_words_are_completed() -> None:
    assert complete("minikern", "down") == ["downtime"]
    assert complete("minikern", "boot", "la") == ["laptop"]
    assert complete("minikern", "boot", "tiny", "--variant", "hvo") == ["hvo-skip"]
    assert complete("minikern", "learn", "start", "zo") == ["zones"]
    assert not any(complete("minikern", "learn", "start", "ze"))
    assert "--memory" in complete("minikern", "blame", "--mem")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_script_it_can_read(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0 and f"_MINIKERN_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    script = tmp_path / "script"
    script.write_text(result.stdout)
    assert subprocess.run([shell, "-n", str(script)], capture_output=True, check=False).returncode == 0


def test_the_manual_has_every_command() -> None:
    text = CliRunner().invoke(main, ["man"]).stdout
    assert all(f'.SS "minikern {name.replace("-", chr(92) + "-")} ' in text for name in COMMANDS)
    assert ".SH EXIT STATUS" in text and "\b" not in text
    for tool, words in (("mandoc", ["-Tlint", "-Werror"]), ("groff", ["-man", "-ww", "-Tutf8"])):
        if shutil.which(tool):
            done = subprocess.run([tool, *words], input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def test_versions_and_where_compiled_code_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numba
    import numpy

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    text = CliRunner().invoke(main, ["--version"]).stdout
    assert text.startswith("minikern, version ") and f"numpy {numpy.__version__}" in text
    assert f"numba {numba.__version__}" in text
    if not numba.config.DISABLE_JIT:
        assert "none yet in" in text
        (tmp_path / "mine.code").write_bytes(bytes(1 << 20))
        assert "1 functions, 1.0 MiB" in CliRunner().invoke(main, ["--version"]).stdout


def test_something_long_says_so_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "EVERY_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    for terminal in (False, True):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with waiting.Waiting("booting x") as shown:
            shown.phase("smp")
            time.sleep(0.1)
        said = capsys.readouterr().err
        assert ("booting x: smp, 0 s" in said) is terminal and (said.endswith(waiting.CLEAR)) is terminal
