"""A program that is interrupted, terminated or killed leaves whole files, one line, the right status and no process."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minikern.host.children import forked_map, run_tool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc of Linux")

MARK = "MINIKERN_TEST_MARK"
LOG = Path(__file__).parents[1] / "data/captures/q35-2cpu-2g/dmesg.txt"
WRITERS = [
    ("boot", "tiny", "--trace", "{}/a.json"),
    ("compare", "tiny", "--variants", "baseline,deferred,quiet", "--plot", "{}/a.svg"),
    ("machine", "dump", "tiny", "{}/a"),
    ("proc", "kpageflags", "tiny", "-o", "{}/a.bin"),
    ("acpi", "cost", "tiny", "--flame", "{}/a.json"),
    ("boot", "tiny", "--plot", "{}/a.svg"),
    ("picture", "memory", "tiny", "-o", "{}/a.svg"),
    ("sweep", "--machines", "tiny", "--variants", "as-is,deferred", "-o", "{}/a.parquet"),
    ("fit", str(LOG), "-o", "{}/a.toml"),
    ("learn", "export", "e820", "-o", "{}/a.md"),
    ("report", "tiny", "-o", "{}/a.html"),
]
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal went away"}


def with_mark(mark: str) -> Iterator[int]:
    """Processes that carry a mark in their environment."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def handles(pid: int) -> bool:
    """True once a process has a handler for SIGTERM, or is gone."""
    try:
        caught = (Path("/proc") / str(pid) / "status").read_text().partition("SigCgt:")[2].split()
    except OSError:
        return True
    return not caught or bool(int(caught[0], 16) >> (signal.SIGTERM - 1) & 1)


def gone(mark: str, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while list(with_mark(mark)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def whole(folder: Path) -> bool:
    """True if all that is there is finished: no draft, and JSON and SVG have their last bytes."""
    names = [path.name for path in folder.iterdir()]
    ends = {".json": b"}", ".svg": b"</svg>", ".parquet": b"PAR1", ".html": b"</html>"}
    files = [path for path in folder.iterdir() if path.is_file()]
    ended = all(path.read_bytes().rstrip().endswith(ends.get(path.suffix, b"")) for path in files)
    dumped = all((path / "pci").is_dir() and (path / "boot_params.bin").is_file() for path in folder.glob("a/"))
    return ended and dumped and not [name for name in names if name.startswith(".")]


@pytest.fixture(scope="module")
def lasts() -> dict[tuple[str, ...], float]:
    """How long each command takes here and now."""
    return {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        metafunc.parametrize("moment", range(metafunc.config.getoption("--kill-moments")))


def test_killed_at_any_moment(moment: int, tmp_path: Path, lasts: dict[tuple[str, ...], float]) -> None:
    chance = random.Random(moment)
    words = WRITERS[moment % len(WRITERS)]
    number = chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGPIPE])
    if words not in lasts:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "minikern", *(word.format(tmp_path / "first") for word in words)],
                       capture_output=True, check=False)  # fmt: skip
        lasts[words] = time.monotonic() - begun
    place = tmp_path / "out"
    place.mkdir()
    mark = f"{os.getpid()}-{moment}"
    with subprocess.Popen(
        [sys.executable, "-m", "minikern", *(word.format(place) for word in words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, MARK: mark},
    ) as running:  # fmt: skip
        while not handles(running.pid):  # before Python runs the program's first lines nobody can
            time.sleep(0.005)
        time.sleep(chance.random() * lasts[words])
        if number == signal.SIGPIPE and running.stdout is not None:
            running.stdout.close()  # the reader went away; whoever writes to it next hears of it
            running.stdout = None
        else:
            running.send_signal(number)
        # Also: nobody else holds the pipes. Whose reader went away may have all of its work still to do.
        said, complained = running.communicate(timeout=30 + 3 * lasts[words])
    assert b"Traceback" not in complained
    if number == signal.SIGPIPE:
        assert running.returncode == 0, complained
    elif running.returncode and number in SAID:
        assert running.returncode == 128 + number, complained
        assert complained.decode().endswith(f"minikern: {SAID[number]}\n")
    else:
        assert running.returncode in (0, -number), complained
    assert said or running.returncode or "-o" in words or number == signal.SIGPIPE
    assert gone(mark)
    if number != signal.SIGKILL:
        assert whole(place), list(place.rglob("*"))
    else:  # a draft may stay, under a name that nobody takes for a result
        assert all(path.name.startswith(".minikern-") or path.name.startswith("a") for path in place.iterdir())


def test_a_signal_that_was_ignored_stays_so() -> None:
    code = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from minikern.host.ending import install;"
    code += "install(); import os; os.kill(os.getpid(), signal.SIGHUP); print('on')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"on\n"


FORKS = """
import os, time, minikern
@minikern.algorithm("padata_split")
def mine(*arguments):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    {then}
"""


@pytest.mark.parametrize("then", ["return []", "time.sleep(60)", "os._exit(3)", "os.kill(os.getppid(), 19)"])
@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGKILL])
def test_what_the_code_of_others_starts_ends_with_it(then: str, number: int | None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FORKS.format(then=then))
    mark = f"{os.getpid()}-{then}-{number}"
    words = ["check", str(tmp_path / "mine.py"), "--examples", "1", "--timeout", "1"]
    with subprocess.Popen([sys.executable, "-m", "minikern", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, MARK: mark}) as running:  # fmt: skip
        if number is not None:
            time.sleep(1.5)
            running.send_signal(number)
        running.communicate(timeout=20)
    assert gone(mark)


def test_children_answer_in_order_and_pass_on_what_they_raise() -> None:
    assert list(forked_map(lambda item: (item, os.getpid()), [3, 1, 2], 1)) == [(n, os.getpid()) for n in (3, 1, 2)]
    answers = list(forked_map(lambda item: (item, os.getpid()), list(range(40)), 3))
    assert [item for item, _ in answers] == list(range(40))
    assert os.getpid() not in {pid for _, pid in answers}
    with pytest.raises(ZeroDivisionError):
        list(forked_map(lambda item: 1 // item, [1, 0, 1], 2))
    with pytest.raises(MemoryError):
        list(forked_map(lambda item: os.kill(os.getpid(), signal.SIGKILL), [1, 2], 2))


def test_what_is_long_is_begun_first() -> None:
    began = list(forked_map(lambda item: (os.getpid(), time.monotonic()), range(6), 2, long=lambda item: item == 4))
    worker, first = began[4]
    assert first == min(at for pid, at in began if pid == worker)


def test_a_tool_that_takes_too_long() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_tool(["sleep", "60"], 0.2)
    assert run_tool(["echo", "said"], 10).stdout == "said\n"
