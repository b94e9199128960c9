"""What lines of another boot of the machine are, and what time goes with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.fit.calibrate import fit_log, metered, read_timeline
from minikern.lab.fit.deferral import deferred_factors
from minikern.lab.fit.predict import predict, same_lines
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg

LEFT_MS = 300
SLOW = "ACPI: Interpreter enabled"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    kernel = boot(load_machine("laptop"), append="deferred_struct_pages=off").kernel
    kernel.release_memory()
    return format_dmesg(kernel).splitlines()


def later(lines: list[str], from_text: str, ms: int) -> list[str]:
    """The log with ``ms`` more before a line."""
    at = next(index for index, line in enumerate(lines) if from_text in line)

    def moved(line: str) -> str:
        return re.sub(r"^\[ *(\d+)\.(\d{6})\]", lambda m: f"[{(int(m[1] + m[2]) + ms * 1000) / 1e6:12.6f}]", line)

    return [line if index < at else moved(line) for index, line in enumerate(lines)]


def kept(tmp_path: Path, name: str, lines: list[str]) -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def reworded(lines: list[str], old: str, new: str) -> list[str]:
    assert any(old in line for line in lines)
    return [line.replace(old, new) for line in lines]


def in_other_words(lines: list[str]) -> list[str]:
    return reworded(lines, "ACPI: Interpreter enabled", "ACPI: The Interpreter enabled")


def without(lines: list[str]) -> list[str]:
    return [line for line in lines if SLOW not in line]


def with_new_lines(lines: list[str]) -> list[str]:
    at = next(index for index, line in enumerate(lines) if SLOW in line)
    stamp = lines[at].split("]")[0]
    new = [f"{stamp}] {word}: a line of a newer kernel" for word in ("alpha", "beta", "gamma")]
    return [*lines[:at], *new, *lines[at:]]


def twice(lines: list[str]) -> list[str]:
    at = next(index for index, line in enumerate(lines) if SLOW in line)
    return [*lines[: at + 1], lines[at], *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("change", "carried"),
    [(list, True), (in_other_words, True), (with_new_lines, True), (without, False)],
    ids=["same", "rewritten", "new lines", "gone"],
)
def test_time_goes_with_its_line(plain: list[str], tmp_path: Path, change, carried: bool) -> None:
    old = kept(tmp_path, "old.log", later(plain, SLOW, LEFT_MS))
    new = kept(tmp_path, "new.log", change(plain))
    fitted = fit_log(str(old), load_machine)
    told = predict(str(new), [fitted], load_machine(str(new)))
    base = boot(load_machine("laptop"), append="deferred_struct_pages=off").total_ns / 1e6
    total = boot(told).total_ns / 1e6
    assert total - base == pytest.approx(LEFT_MS if carried else 0, abs=0.1 * LEFT_MS)


def test_a_line_that_comes_twice_takes_the_time_of_one_that_does_too(plain: list[str], tmp_path: Path) -> None:
    ours = read_timeline(str(kept(tmp_path, "ours.log", twice(plain))))
    theirs = read_timeline(str(kept(tmp_path, "theirs.log", plain)))
    pairs = same_lines(theirs, ours)
    assert len({pair.first for pair in pairs}) == len(pairs) == len({pair.second for pair in pairs})


def test_a_line_that_moved_is_the_same_one_but_not_in_a_guest(plain: list[str], tmp_path: Path) -> None:
    at = next(index for index, line in enumerate(plain) if SLOW in line)
    ours = [*plain[:at], *plain[at + 1 : at + 40], plain[at], *plain[at + 40 :]]
    lines = [read_timeline(str(kept(tmp_path, name, text))) for name, text in (("a.log", plain), ("b.log", ours))]

    def paired(own_kind: bool) -> set[str]:
        pairs = same_lines(lines[0], lines[1], own_kind)
        return {lines[0].steps[pair.first].text for pair in pairs if pair.second - pair.first not in (0, -1)}

    assert SLOW in paired(True) and SLOW not in paired(False)


def test_a_printed_time_of_whole_ticks_is_foretold_as_it_was(plain: list[str]) -> None:
    """What is so many ticks long is printed so, wherever within a tick it began."""
    spec = load_machine("laptop")
    for ns in (20_000_000, 40_000_000):
        kernel = metered(spec)
        took = max(node.deferred_ns for node in kernel.nodes)
        assert took
        for estimate in deferred_factors(ns, kernel, 0.8).values():
            if estimate.learnt:
                assert estimate.factor == pytest.approx(ns / took)
