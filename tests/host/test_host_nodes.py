"""The host's memory nodes, and threads that stay on theirs."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from minikern.host.nodes import STRETCH_SHIFT, host_nodes, node_of, parse_cpulist, usable_cpus
from minikern.mm.map.deferred import HostPool


def sysfs(folder: Path, *lists: str) -> Path:
    for number, cpus in enumerate(lists):
        (folder / f"node{number}").mkdir()
        (folder / f"node{number}" / "cpulist").write_text(cpus + "\n")
    return folder


def test_nodes_have_the_cpus_we_may_use(tmp_path: Path) -> None:
    folder = sysfs(tmp_path, "0-3,8", "4-7", "")
    assert host_nodes(folder, frozenset(range(9))) == [{0, 1, 2, 3, 8}, {4, 5, 6, 7}]
    assert host_nodes(folder, frozenset({2, 5})) == [{2}, {5}]
    assert host_nodes(folder, frozenset({5, 20})) == [{5}, {20}]


@pytest.mark.parametrize("text", ["x", "3-1", "-5", "0-99999999"])
def test_what_is_no_list_is_left_out(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"invalid literal|expected CPU numbers"):
        parse_cpulist(text)
    assert host_nodes(sysfs(tmp_path, text), frozenset({0, 1})) == [{0, 1}]


def test_stretches_take_turns() -> None:
    nodes = [frozenset({0}), frozenset({1})]
    assert [node_of(at << STRETCH_SHIFT, nodes) for at in range(4)] == [0, 1, 0, 1]
    assert node_of((1 << STRETCH_SHIFT) - 1, nodes) == 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this host cannot bind threads")
def test_a_nodes_threads_write_its_stretches() -> None:
    cpus = sorted(usable_cpus())
    nodes = [frozenset({cpus[0]}), frozenset({cpus[-1]})]
    seen: dict[int, set[tuple[int, frozenset[int]]]] = {}

    class Pages:
        def deferred_tasks(self, start: int, end: int) -> list[object]:
            return []

        def run_task(self, task: object) -> None:
            slot = task.run.slot  # type: ignore[attr-defined]
            place = threading.get_ident(), frozenset(os.sched_getaffinity(0))
            seen.setdefault(slot >> STRETCH_SHIFT, set()).add(place)

    from minikern.mm.page.page_map import Task
    from minikern.mm.page.vmemmap import Run

    pool = HostPool(Pages(), 2, nodes)  # type: ignore[arg-type]
    for at in range(6):
        task = Task(Run(at << STRETCH_SHIFT, 0, 1), None, 0, 0)  # type: ignore[arg-type]
        pool._submit(task)
    pool.close()
    for at in range(6):
        assert {cpus for _, cpus in seen[at]} == {nodes[at % 2]}
    assert frozenset(os.sched_getaffinity(0)) == usable_cpus()
