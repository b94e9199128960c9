"""What is said of lines: of a boot's own and of any log's."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.report.explain import explanation_of, load_explanations
from tests.support import SHARED

LOGS = SHARED / "corpora/timed"


def explain(*words: str, typed: str = "") -> Result:
    return CliRunner().invoke(main, ["explain", *words], input=typed)


def test_a_line_with_and_without_its_stamp() -> None:
    for text in ("smp: Brought up 1 node, 2 CPUs", "[    0.024186] smp: Brought up 1 node, 2 CPUs",
                 "[    0.024186][    T1] smp: Brought up 1 node, 2 CPUs", "<6>[    0.024186] smp: Brought up 1 node",
                 "Nov 26 18:52:30 host kernel: smp: Brought up 1 node, 2 CPUs"):  # fmt: skip
        result = explain(text)
        assert result.exit_code == 0 and "smp_init()" in result.stdout, result.stdout
        assert all(len(row) <= 80 for row in result.stdout.splitlines()[1:])


def test_lines_that_only_real_kernels_print() -> None:
    found = explain("nvme", "nvme0:", "pci", "function", "0000:01:00.0")
    assert found.exit_code == 0 and "nvme_probe()" in found.stdout and "If strange" in found.stdout
    assert explanation_of("nvme nvme0: pci function 0000:01:00.0") is None


def test_lines_from_standard_input() -> None:
    lines = "[    0.000000] BIOS-e820: [mem 0x0-0x9fbff] usable\n\nnobody knows this\n"
    result = explain("-", "--json", typed=lines)
    assert result.exit_code == 1
    assert [row["known"] for row in json.loads(result.stdout)] == [True, False]
    assert "nothing is known" in explain("nobody knows this").stdout


def test_standard_input_that_is_no_log() -> None:
    assert "standard input: 20001 lines: expected at most" in explain("-", typed="x\n" * 20_000).stderr
    done = CliRunner().invoke(main, ["explain", "-"], input=b"\xff\xfe\x00\x80 smp: x\n")
    assert done.exit_code == 1 and "nothing is known" in done.stdout
    code = [sys.executable, "-m", "minikern"]
    for words, given in ((["explain", "-"], "/dev/zero"), (["boot", "-"], "/dev/zero")):
        with Path(given).open("rb") as endless:
            told = subprocess.run([*code, *words], stdin=endless, capture_output=True, text=True, check=False)
        assert (told.returncode, told.stderr.count("\n")) == (2, 1) and "more than 67108864 bytes" in told.stderr
    closed = subprocess.run([*code, "explain", "-"], capture_output=True, text=True, check=False,
                            preexec_fn=lambda: os.close(0))  # fmt: skip
    assert (closed.returncode, closed.stderr) == (2, "minikern: standard input: closed: expected something to read\n")


def test_lines_with_what_ends_one_elsewhere() -> None:
    done = CliRunner().invoke(main, ["boot", "tiny", "--explain", "-a", "x=\u2028\x85\x0c"])
    assert done.exit_code == 0 and "\u2028" in done.stdout


def test_what_is_said_is_well_formed() -> None:
    table = load_explanations(others=True)
    assert len({item.line for _, item in table}) == len(table) > 240
    for pattern, item in table:
        assert not pattern.match(""), item
        assert item.says.endswith(".") and (item.strange.endswith(".") or not item.strange), item
        assert re.compile(item.needs) is not None
    assert sum(bool(item.strange) for _, item in table) > 45
    assert sum(bool(item.needs) for _, item in table) > 25


def test_a_boot_is_told_what_rests_on_what_and_what_took_long() -> None:
    text = CliRunner().invoke(main, ["boot", "tiny", "--explain"]).stdout
    rests = re.findall(r"# (\S+\(\)).* rests on: (.*)", text)
    assert len(rests) > 15 and ("smp_init()", "smp: Bringing up secondary CPUs ...") in rests
    before = text.split("# smp_init() rests on")[0]
    assert "smp: Bringing up secondary CPUs ..." in before
    took = re.findall(r"# took ([\d.]+) ms: ([\d,]+) x (\w+) ([\d.]+) ms", text)
    assert any(kind == "struct_page_free" for _, _, kind, _ in took)
    assert all(float(part) <= float(whole) + 0.001 for whole, _, _, part in took)


@pytest.mark.oracle
def test_most_lines_of_real_logs_are_known() -> None:
    if not LOGS.is_dir():
        pytest.skip("no shared/corpora/timed beside the checkout")
    known = lines = 0
    for path in sorted(LOGS.glob("*.log.gz"))[:12]:
        for text in gzip.decompress(path.read_bytes()).decode(errors="replace").splitlines():
            if re.match(r"^\[ *\d+\.\d+\]", text):
                lines += 1
                known += explanation_of(text, others=True) is not None
    assert known > 0.5 * lines, f"{known} of {lines}"
