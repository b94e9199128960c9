"""Tables on narrow terminals: no word is torn, no figure lost, no line too long."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from minikern.report.narrow import narrow_lines, natural_width

TITLE = "What pays most here: deferred saves 33 [10 to 55] of 546 ms (6%)"
HEADS = ["ms to init", "total", "80 %", "saved", "early memory", "smp", "acpi"]
ROWS = [
    ["as logged", "546", "518..574", "", "70.1", "32.7", "101.0"],
    ["parallel-smp", "536", "508..564", "10", "70.1", "23.1", "101.0"],
    ["pci-needed", "no boot"],
]
LINES = [
    ["serial8250: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A", "45.5", "8%"],
    ["x86/mm: Checked W+X mappings: passed, no W+X pages found.", "16.9", "3%"],
]


def words(*texts: str) -> list[str]:
    return sorted(word for text in texts for word in text.split())


@pytest.mark.parametrize("width", [20, 32, 40, 60])
def test_a_row_is_turned_with_all_its_figures(width: int) -> None:
    lines = narrow_lines(TITLE, HEADS, 1, ROWS, width)
    assert all(len(line) <= width for line in lines)
    told = [f"{head} {cell}" for row in ROWS for head, cell in zip(HEADS[1:], row[1:], strict=False) if cell]
    assert words(*lines) == words(TITLE, *(row[0] for row in ROWS), *told)


@pytest.mark.parametrize("width", [50, 60, 72])
def test_long_names_are_wrapped_beside_their_figures(width: int) -> None:
    lines = narrow_lines("Where", ["", "ms", "of total"], 1, LINES, width)
    assert all(len(line) <= width for line in lines)
    assert lines[1].split() == ["ms", "of", "total"]
    assert words(*lines) == words("Where ms of total", *(cell for row in LINES for cell in row))
    assert any(line.endswith("45.5        8%") for line in lines)


@pytest.mark.parametrize(("left", "width"), list(product([1, 2], [1, 8, 20])))
def test_a_word_longer_than_the_terminal_stays_whole(left: int, width: int) -> None:
    lines = narrow_lines("t", ["a", "b"], left, [["quirk_usb_early_handoff+0x0/0x620", "12345678.9"]], width)
    assert "quirk_usb_early_handoff+0x0/0x620" in lines
    assert any("12345678.9" in line for line in lines)


def test_the_natural_width() -> None:
    assert natural_width(["a", "bcd"], [["xx", "y"], ["z"]]) == 7


@pytest.mark.parametrize("columns", [40, 80])
def test_compare_keeps_to_the_terminal(columns: int) -> None:
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    command = [sys.executable, "-m", "minikern", "compare", "tiny", "--variants", "baseline,deferred"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert all(len(line.rstrip()) <= columns for line in done.stdout.splitlines())
    assert "early memory" in done.stdout and "\x1b" not in done.stdout
