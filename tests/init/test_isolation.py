"""CPUs left alone: lists, flags, masks in boot-time memory, and the lines that name them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.kernel import Kernel
from minikern.init import isolation
from minikern.init.isolation import NOHZ_FULL, TICK, format_list, parse_list
from minikern.state.memblock import Memblock
from tests.support import run, texts

BITS = 40


@given(st.sets(st.integers(0, BITS - 1)))
def test_lists_survive_a_round_trip(numbers: set[int]) -> None:
    assert parse_list(format_list(numbers), BITS) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", set()),
        ("1,3", {1, 3}),
        ("0-4:1/2", {0, 2, 4}),
        ("2-3,2", {2, 3}),
        ("38-N", {38, 39}),
        ("N", {39}),
        ("all:1/20", {0, 20}),
        ("40", None),
        ("3-1", None),
        ("1-2:3/2", None),
        ("1-2:1/0", None),
        ("x", None),
        ("-1", None),
    ],
)
def test_lists(text: str, numbers: set[int] | None) -> None:
    assert parse_list(text, BITS) == numbers


def isolation_lines(append: str) -> list[str]:
    """The log's lines about isolation after booting a small machine."""
    marks = ("NO_HZ", "Offload RCU", "Housekeeping:", "isolcpus:", "rcu_nocbs=", "Unknown", "contains nonexistent")
    lines = texts(run("tiny", append=append, cpus="4"))
    return [text for text in lines if "ommand line:" not in text and any(mark in text for mark in marks)]


def test_lines_of_isolated_cpus() -> None:
    assert isolation_lines("isolcpus=1,3 nohz_full=1,3 rcu_nocbs=2-3") == [
        "NO_HZ: Full dynticks CPUs: 1,3.",
        "rcu: \tOffload RCU callbacks from CPUs: 1-3.",
    ]
    assert isolation_lines("rcu_nocbs") == ["rcu: \tOffload RCU callbacks from CPUs: (none)."]
    assert isolation_lines("isolcpus=domain,managed_irq,1") == []


def test_the_boot_cpu_keeps_the_time() -> None:
    assert isolation_lines("nohz_full=0-1") == [
        "NO_HZ: Clearing 0 from nohz_full range for timekeeping",
        "NO_HZ: Full dynticks CPUs: 1.",
        "rcu: \tOffload RCU callbacks from CPUs: 1.",
    ]


def test_refused_values_are_handed_to_init() -> None:
    unknown = 'Unknown kernel command line parameters "{}", will be passed to user space.'
    assert isolation_lines("nohz_full=1-x") == [
        "Housekeeping: nohz_full= or isolcpus= incorrect CPU range",
        unknown.format("nohz_full=1-x"),
    ]
    assert isolation_lines("isolcpus=n0,1") == ["isolcpus: Invalid flag n0", unknown.format("isolcpus=n0,1")]
    assert isolation_lines("isolcpus=nohz,1 nohz_full=2") == [
        "Housekeeping: nohz_full= must match isolcpus=",
        unknown.format("nohz_full=2"),
        "NO_HZ: Full dynticks CPUs: 1.",
        "rcu: \tOffload RCU callbacks from CPUs: 1.",
    ]
    assert isolation_lines("rcu_nocbs=900")[0] == "rcu_nocbs= bad CPU range, all CPUs set"


def test_somebody_has_to_do_the_chores() -> None:
    lines = isolation_lines("nohz_full=all")
    assert lines[0] == "Housekeeping: must include one present CPU, using boot CPU:0"
    kernel = run("tiny", append="nohz_full=0-N").kernel
    assert set(kernel.isolation.housekeeping) == set(NOHZ_FULL)
    assert kernel.isolation.housekeeping[TICK] == {0}


def test_masks_lie_in_boot_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of chore has a mask, and so have the CPUs without a tick; the masks for parsing are given back."""
    taken: list[int] = []
    freed: list[int] = []
    alloc, free = isolation._alloc_cpumask, Memblock.phys_free

    def counted_alloc(k: Kernel) -> int:
        taken.append(alloc(k))
        return taken[-1]

    def counted_free(self: Memblock, base: int, size: int) -> None:
        if base in taken:
            freed.append(base)
        free(self, base, size)

    monkeypatch.setattr(isolation, "_alloc_cpumask", counted_alloc)
    monkeypatch.setattr(Memblock, "phys_free", counted_free)
    run("tiny", append="isolcpus=1 nohz_full=1 rcu_nocbs=1")
    parsing, kept = 2 + 2, 1 + len(NOHZ_FULL) + 1 + 1
    assert (len(taken), len(freed)) == (parsing + kept, parsing)
    assert taken[0] == taken[3]  # given back, and taken again
