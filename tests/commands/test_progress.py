"""What is said while somebody waits: after a second, on a terminal, and nowhere else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEPS = """
import time
from minikern.commands import common, waiting
common.SILENT_SECONDS = waiting.SILENT_SECONDS = {silent}
waiting.EVERY_SECONDS = 0.05
with common.Progress("booting", 3) as step:
    for name in ("first", "second", "third"):
        step(name)
with waiting.Waiting("fitting"):
    time.sleep(0.3)
print("done")
"""


def on_a_terminal(silent: float, **env: str) -> str:
    """What a script's stderr shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "JPY_PARENT_PID")}
    words = [sys.executable, "-c", STEPS.format(silent=silent)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env={**kept, "TERM": "xterm-256color", **env}
    ) as done:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # how Linux says that nobody has the other end open any more
            pass
        finally:
            os.close(ours)
        assert done.stdout is not None and done.stdout.read() == b"done\n"
    return said.decode()


def test_after_a_second_the_step_and_the_work_are_shown() -> None:
    said = on_a_terminal(0.0)
    assert "booting third" in said and "minikern: fitting, 0 s" in said
    assert "\x1b[" in said


@pytest.mark.parametrize(
    ("silent", "env"), [(9.0, {}), (0.0, {"TERM": "dumb"}), (0.0, {"JPY_PARENT_PID": "1"})], ids=str
)
def test_nothing_before_that_nor_where_lines_cannot_be_written_over(silent: float, env: dict[str, str]) -> None:
    assert on_a_terminal(silent, **env) == ""


def test_no_colour_where_none_is_wanted() -> None:
    said = on_a_terminal(0.0, NO_COLOR="1")
    assert "booting third" in said
    assert not [part for part in said.split("\x1b[")[1:] if part.split("m")[0].replace(";", "").isdecimal() and
                part.partition("m")[0].split(";")[0] in ("30", "31", "32", "33", "34", "35", "36", "38")]  # fmt: skip
