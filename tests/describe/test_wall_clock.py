"""Times of day before a log's lines: as stamps where they can be, and when they cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.describe.stamps import read_stamped
from minikern.describe.wall_clock import wall_times
from tests.describe.test_dmesg_iommu import HEAD

EVENING = datetime(2026, 11, 26, 23, 59, 59, 400_000)
FORMS: dict[str, Callable[[datetime], str]] = {
    "dmesg --time-format iso": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S,%f+00:00 "),
    "journalctl -o short-precise": lambda at: at.strftime("%b %d %H:%M:%S.%f host kernel: "),
    "journalctl -o short-unix": lambda at: f"{at.replace(tzinfo=UTC).timestamp():.6f} host kernel: ",
    "rsyslog": lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.%f+01:00 host kernel: "),
}


def log(form: Callable[[datetime], str], step_us: int, lines: int = 120) -> str:
    texts = [*HEAD.format(table="BGRT").splitlines(), *(f"line {at}" for at in range(lines))]
    return "".join(form(EVENING + timedelta(microseconds=at * step_us)) + text + "\n" for at, text in enumerate(texts))


@pytest.mark.parametrize("name", FORMS)
def test_times_of_day_stand_for_stamps_also_over_midnight(name: str, tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text(log(FORMS[name], 7000))
    read = read_stamped(path)
    assert read.timed
    assert [line.at_ns for line in read.lines[1:]] == [at * 7_000_000 for at in range(1, len(read.lines))]
    assert read.lines[0].text.startswith("Linux version") and "times of day" in read.notes[0]


def test_the_journals_monotonic_times_are_the_kernels(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    text = log(lambda at: "", 0)
    path.write_text("".join(f"[{at / 100:12.6f}] host kernel: {line}\n" for at, line in enumerate(text.splitlines())))
    read = read_stamped(path)
    assert read.timed and not read.notes and read.lines[7].at_ns == 70_000_000


def test_the_kernels_own_stamps_come_first(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    stamped = log(FORMS["rsyslog"], 7000).splitlines()
    lines = [line.replace("kernel: ", f"kernel: [{at / 10:12.6f}] ") for at, line in enumerate(stamped)]
    path.write_text("\n".join(lines))
    read = read_stamped(path)
    assert read.lines[7].at_ns == 700_000_000 and not read.notes


def test_whole_seconds_time_the_lines_at_which_they_begin() -> None:
    times_of_day = (EVENING + timedelta(milliseconds=300 * at) for at in range(90))
    prefixes = [at.strftime("%b %d %H:%M:%S host kernel: ") for at in times_of_day]
    times = wall_times(prefixes)
    assert times is not None
    known = [at for at in times if at is not None]
    assert known == [at * 10**9 for at in range(28)]
    with pytest.raises(InputError, match="whole seconds, of which 4 begin"):
        wall_times(prefixes[:11])


def test_when_a_logger_read_is_not_when_the_kernel_wrote(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text(log(FORMS["rsyslog"], 2))
    read = read_stamped(path)
    assert not read.timed and "when they were read" in read.notes[0]


@pytest.mark.parametrize("prefix", ["", "[    0.000000] ", "host kernel: ", "99:99:99 "])
def test_no_times(prefix: str) -> None:
    assert wall_times([prefix] * 50) is None
