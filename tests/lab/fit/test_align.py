"""Alignment of two boots' lines."""

from __future__ import annotations

import random

from minikern.lab.fit.align import Pair, align, rewritten

LINES = [
    f"pci 0000:00:{index:02x}.0: probed" if index % 3 else f"driver {chr(97 + index % 26)}{index}: up"
    for index in range(120)
]


def test_a_boot_is_aligned_with_itself_line_by_line() -> None:
    assert align(LINES, LINES) == [(index, index) for index in range(len(LINES))]


def test_numbers_may_differ() -> None:
    first = ["Memory: 1000K/2000K available", "tsc: Detected 2100.000 MHz processor", "Run /init as init process"]
    second = ["Memory: 1008K/2000K available", "tsc: Detected 2099.987 MHz processor", "Run /init as init process"]
    assert align(first, second) == [(0, 0), (1, 1), (2, 2)]


def test_what_is_cut_torn_or_moved_costs_only_its_neighbours() -> None:
    rng = random.Random(7)
    torn = [line for line in LINES if rng.random() > 0.1]
    torn[10], torn[30] = torn[30], torn[10]
    pairs = align(LINES, torn)
    assert len(pairs) >= len(torn) - 30
    assert all(LINES[pair.first].split(":")[-1] == torn[pair.second].split(":")[-1] for pair in pairs)
    assert [pair.second for pair in pairs] == sorted(pair.second for pair in pairs)


def test_a_rewritten_line_is_found_between_its_neighbours_only() -> None:
    first = ["one", "ACPI: Power Resource [P#] (on)", "two", "three", "clock: steady"]
    second = ["one", "usb: new bus", "ACPI: PM: Power Resource [P#] (on)", "two", "clock: steady", "three"]
    pairs = align(first, second)
    assert (1, 2) in rewritten(first, second, pairs)
    assert not [pair for pair in rewritten(first, second, pairs) if first[pair.first] == "clock: steady"]


def test_rewritten_lines_keep_their_order_and_are_used_once() -> None:
    first = ["a", "node #, CPUs: # #", "node #, CPUs: # # #", "z"]
    second = ["a", "node #, CPUs: # # #", "node #, CPUs: # #", "node #, CPUs: # # # #", "z"]
    pairs = rewritten(first, second, [Pair(0, 0), Pair(3, 4)])
    assert len({pair.first for pair in pairs}) == len({pair.second for pair in pairs}) == len(pairs)
    assert [pair.second for pair in sorted(pairs)] == sorted(pair.second for pair in pairs)
