"""Two boots held against each other by their logs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.lab.two_boots import compare_boots, read_boot
from tests.support import format_dmesg, run


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("logs")
    boots = {
        "plain": run("tiny"),
        "quiet": run("tiny", append="quiet mitigations=off"),
        "four": run("tiny", cpus="4", memory="512M"),
        "older": run("tiny", release="debian-6.1"),
    }
    for name, done in boots.items():
        (folder / f"{name}.log").write_text(format_dmesg(done.kernel))
    text = (folder / "plain.log").read_text()
    (folder / "bare.log").write_text(re.sub(r"^\[[ \d.]+\] ", "", text, flags=re.M))
    return {path.stem: path for path in folder.iterdir()}


def call(*words: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_a_boot_differs_in_nothing_from_itself(logs: dict[str, Path]) -> None:
    one = read_boot("A", logs["plain"])
    found = compare_boots(one, one)
    assert not found.differs and not found.stretches and not found.notes
    assert not any((*found.words.first, *found.words.second, *found.pci_functions.first, *found.acpi_tables.first))
    assert found.phases and all(phase.grew_ms == 0 for phase in found.phases)


def test_words_and_what_the_serial_line_took(logs: dict[str, Path]) -> None:
    found = compare_boots(read_boot("A", logs["plain"]), read_boot("B", logs["quiet"]))
    assert found.words.first == [] and found.words.second == ["quiet", "mitigations=off"]
    assert found.differs == []
    total = next(phase for phase in found.phases if phase.phase == "total")
    assert total.grew_ms is not None and total.grew_ms < -10
    assert found.stretches[0].grew_ms < 0
    assert sum(one.grew_ms for one in found.stretches if one.grew_ms < 0) < total.grew_ms / 2


def test_another_machine(logs: dict[str, Path]) -> None:
    found = compare_boots(read_boot("A", logs["plain"]), read_boot("B", logs["four"]))
    assert {"cpus", "memory_bytes"} <= set(found.differs)
    assert found.second.cpus == 4 and found.first.kernel_release == found.second.kernel_release
    assert found.second.memory_bytes is not None and found.first.memory_bytes is not None
    assert 200 << 20 < found.second.memory_bytes - found.first.memory_bytes < 300 << 20
    smp = next(phase for phase in found.phases if phase.phase == "smp")
    assert smp.grew_ms is not None and smp.grew_ms > 0  # two more CPUs


def test_another_kernel(logs: dict[str, Path]) -> None:
    result = call(logs["plain"], logs["older"])
    assert result.exit_code == 0 and "kernel release" in result.stdout and "6.1" in result.stdout


def test_without_stamps_the_rest_is_compared(logs: dict[str, Path]) -> None:
    result = call(logs["bare"], logs["four"], "--json")
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1 and "bare.log: no time stamps" in result.stderr
    found = json.loads(result.stdout)
    assert "cpus" in found["differs"] and found["phases"] == found["stretches"] == []


def test_stamps_nobody_can_believe(logs: dict[str, Path], tmp_path: Path) -> None:
    lines = logs["plain"].read_text().splitlines()
    backwards = [f"[{9 - index / 100:12.6f}] {line.split('] ', 1)[1]}" for index, line in enumerate(lines)]
    (tmp_path / "torn.log").write_text("\n".join(backwards))
    found = compare_boots(read_boot("torn", tmp_path / "torn.log"), read_boot("B", logs["plain"]))
    assert found.phases == [] and len(found.notes) == 1 and "not compared" in found.notes[0]


def test_tables_and_json(logs: dict[str, Path]) -> None:
    shown = call(logs["plain"], logs["four"], "--markdown")
    assert shown.exit_code == 0 and "| cpus | 2 | 4 |" in shown.stdout and "### Phases by the logs' own" in shown.stdout
    found = json.loads(call(logs["plain"], logs["four"], "--json").stdout)
    assert found["first"]["memory_bytes"] and all("grew_ms" in phase for phase in found["phases"])


def test_what_is_no_log_or_has_no_meaning_with_two(logs: dict[str, Path]) -> None:
    for words, said in (
        (["tiny", logs["plain"]], "tiny: expected a boot log"),
        ([logs["plain"], logs["four"], "--cpus", "2"], "--cpus: two boot logs are compared as they are"),
        ([logs["plain"], f"{logs['four']}:3"], "boot 3 of a log with 1"),
        (["-", "-"], "standard input holds one log"),
    ):
        result = call(*words)
        assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1


def test_a_line_of_one_boot_alone_that_took_long_is_named(logs: dict[str, Path], tmp_path: Path) -> None:
    lines, late, slow = [], 0, 50_000  # us
    for line in logs["plain"].read_text().splitlines():
        at = round(float(line[1:13]) * 1e6) + late
        lines.append(f"[{at / 1e6:12.6f}] {line[15:]}")
        if "smp: Brought up" in line:
            late = slow + 10
            lines += [f"[{(at + slow) / 1e6:12.6f}] tpm: slow", f"[{(at + late) / 1e6:12.6f}] tpm: done"]
    path = tmp_path / "slow.log"
    path.write_text("\n".join(lines))
    found = compare_boots(read_boot("A", logs["plain"]), read_boot("B", path))
    assert found.stretches[0].mostly == "tpm: slow" and found.stretches[0].grew_ms == pytest.approx(50, abs=1)
    done = call(logs["plain"], path)
    assert "mostly before: tpm: slow" in done.stdout


def test_a_command_line_too_long_for_the_log_is_told(logs: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_text(logs["plain"].read_text().replace("Command line: ", "Command line: job=" + "x" * 950 + " "))
    assert any("may be lost" in note for note in compare_boots(read_boot("A", path), read_boot("B", path)).notes)
