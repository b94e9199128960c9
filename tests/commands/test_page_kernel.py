"""A struct-page kernel of one's own in real boots: looked at page by page, timed, contained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from minikern.commands.boot import boot
from minikern.commands.compare import compare
from minikern.lab.kinds.registry import KINDS
from minikern.lab.kinds.template import template

RIGHT = template(KINDS["struct-page"])
LAST = "    words[:, 6] = np.uint64(0x1FFFFFFFF)\n"


class Done(NamedTuple):
    """How a command ended."""

    exit_code: object
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with a kernel; what its own process prints goes to the descriptors."""

    def with_kernel(command: click.Command, text: str, *more: str) -> Done:
        path = tmp_path / "mine.py"
        path.write_text(text)
        capfd.readouterr()
        code: object = 0
        try:
            command.main(["tiny", *more, "--page-kernel", str(path)], standalone_mode=False)
        except SystemExit as ended:
            code = ended.code
        return Done(code, *capfd.readouterr())

    return with_kernel


def test_the_log_is_the_same_and_the_time_is_told(run: Run) -> None:
    done = run(boot, RIGHT, "--variant", "deferred")
    assert done.exit_code == 0, done
    assert done.stdout == CliRunner().invoke(boot, ["tiny", "--variant", "deferred"]).stdout
    told = [line for line in done.stderr.splitlines() if "page kernel my_struct_page" in line]
    assert len(told) == 1
    assert "65536 struct pages in " in told[0] and "each page as it must be" in told[0]
    assert "simulated time is as counted" in told[0]
    assert "check: 65536 struct pages compared" in done.stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (LAST + "    words[-1, 7] = 5 * (len(words) > 16)\n", "field memcg_data: expected 0x0, found 0x5"),
        (LAST + "    words[len(words) // 2, 6] = 0\n", "field mapcount: expected 0xffffffffffffffff, found 0x0"),
        (LAST + "    raise ValueError('no more')\n", "ValueError: no more"),
        (
            LAST + "    import ctypes\n    ctypes.memset(words.ctypes.data - 8, 3, len(words) > 10000)\n",
            "check: wrong: pfn 0xfff: ",
        ),
        ("    import ctypes\n    ctypes.string_at(0)\n", "crashed: signal 11"),
        ("    while True:\n        pass\n", "still running after 0.5 s"),
        ("    exit(0)\n", "SystemExit: 0"),
        ("    words[0, 0] = len(bytearray(1 << 40))\n", "MemoryError"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(run: Run, change: str, told: str) -> None:
    done = run(boot, RIGHT.replace(LAST, change), "--timeout", "0.5", "--memory-limit", "512M")
    assert done.exit_code == 1, done
    lines = [line for line in done.stderr.splitlines() if "--page-kernel" in line or "check: wrong" in line]
    assert len(lines) == 1 and told in lines[0], done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_used_is_bad_input(run: Run) -> None:
    for text, told in (
        (template(KINDS["hvo"]), '0 functions under @minikern.algorithm("memmap_init_range"): expected one'),
        (RIGHT + RIGHT.replace("my_struct_page", "second"), "2 functions under"),
        ("def (", "SyntaxError"),
        ("import no_such_module\n", "ModuleNotFoundError"),
    ):
        done = run(boot, text)
        assert (done.exit_code, told in done.stderr, done.stdout) == (2, True, ""), done.stderr
    done = run(boot, RIGHT, "--vmemmap", "counted")
    assert (done.exit_code, "nobody initialises them" in done.stderr) == (2, True)


def test_every_rung_of_a_ladder_tells_what_the_kernel_did(run: Run) -> None:
    words = ("--variants", "baseline,deferred", "--json")
    done = run(compare, RIGHT, *words)
    assert done.exit_code == 0, done
    rungs = json.loads(done.stdout)["rungs"]
    assert [rung["page_kernel"]["pages"] for rung in rungs] == [65536, 65536]
    assert all(rung["page_kernel"]["host_ns"] > 0 for rung in rungs)
    plain = json.loads(CliRunner().invoke(compare, ["tiny", *words]).stdout)["rungs"]
    assert [{**rung, "page_kernel": None} for rung in rungs] == plain
    assert done.stderr.count("struct pages in") == 2
