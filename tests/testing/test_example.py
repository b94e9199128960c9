"""The example of ``minikern.testing``: the plugin's fixtures, its mark, and the strategies."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
from hypothesis import given, settings

import minikern.testing
from hw.spec import MemoryRange
from minikern.describe.case import Case
from minikern.lab.run import Boot, boot
from minikern.lab.strategies import e820_maps, hugepage_requests, numa_machines
from minikern.testing import plugin
from minikern.verify.page_check import check_memmap


def test_a_small_machine_boots(booted: Boot) -> None:
    text = [line.text for line in booted.kernel.log.lines]
    assert text[-1] == "Run /init as init process"
    assert booted.total_ns > 0


@pytest.mark.machine("tiny", numa=["128M,cpus=0", "128M,cpus=1"], append="hugepages=4")
def test_two_nodes_and_huge_pages(booted: Boot) -> None:
    assert [node.nid for node in booted.kernel.nodes] == [0, 1]
    assert sum(len(h.free_pages) for h in booted.kernel.hugetlb.hstates) == 4
    assert check_memmap(booted.kernel).ok


@pytest.mark.machine("tiny", memory="512M")
def test_change_it_and_boot_it(machine: Case) -> None:
    machine.cpus.tsc_khz = 3_000_000
    assert boot(machine).kernel.memblock.phys_mem_size() > 400 << 20


@pytest.mark.big
@settings(max_examples=8, deadline=None)
@given(numa_machines(), hugepage_requests())
def test_every_page_of_any_machine_is_right(spec: Case, words: str) -> None:
    result = check_memmap(boot(spec, append=words).kernel)
    assert result.ok, str(result)


@settings(max_examples=50)
@given(e820_maps())
def test_maps_have_memory_to_boot_from(ranges: list[MemoryRange]) -> None:
    assert all(entry.start < entry.end for entry in ranges)
    assert any(entry.type == 1 and entry.start == 1 << 20 for entry in ranges)


def test_the_documented_file_runs(tmp_path: Path) -> None:
    text = dedent(minikern.testing.__doc__.split("::\n", 1)[1])
    few = "@settings(max_examples=2, deadline=None)\n@given("
    settled = text.replace("@given(", few).replace("import given", "import given, settings")
    (tmp_path / "test_documented.py").write_text(settled)
    # An installed minikern is found by its entry point, and must not be named a second time.
    installed = any(point.value == "minikern.testing.plugin" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "minikern.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", str(tmp_path), "."]
    where = {**os.environ, "PYTHONPATH": str(Path(minikern.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=where, check=False)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_mark_with_unknown_words_is_refused(request: pytest.FixtureRequest) -> None:
    mark = SimpleNamespace(args=("tiny",), kwargs={"colour": "red"})
    wanted = SimpleNamespace(node=SimpleNamespace(get_closest_marker=lambda name: mark))
    with pytest.raises(pytest.UsageError, match="colour"):
        plugin._wanted(wanted)  # type: ignore[arg-type]
