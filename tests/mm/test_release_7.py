"""What releases from 7.0 on log and lay out differently, one mechanism a test."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.mm.early.e820_resources import largest_gap, largest_gap_upwards
from minikern.report.dmesg import format_dmesg
from minikern.state.e820 import Entry
from tests import naive

BLOCK = 4 << 20


def log_of(append: str = "", release: str = "debian-7.2", machine: str = "tiny") -> list[str]:
    text = format_dmesg(boot(load_machine(machine), release=release, append=append).kernel)
    return [line.split("] ", 1)[1] for line in text.splitlines()]


@given(st.lists(st.tuples(st.integers(0, 1100), st.integers(1, 200)), min_size=1, max_size=8))
def test_gap_search_upwards(blocks: list[tuple[int, int]]) -> None:
    table = [Entry(*row) for row in naive.sanitise([(at * BLOCK, size * BLOCK, 1) for at, size in blocks], BLOCK)]
    holes = [hole for hole in naive.gaps([(e.addr, e.end) for e in table], 1 << 32) if hole[1] >= BLOCK]
    best = max(holes, key=lambda hole: (hole[1], hole[0]), default=(0, 0))
    assert largest_gap_upwards(table) == best


def test_of_two_gaps_of_one_size_the_higher_is_taken_and_one_before_all_memory_counts() -> None:
    full = 1 << 32
    table = [Entry(0, BLOCK, 1), Entry(2 * BLOCK, BLOCK, 1), Entry(4 * BLOCK, full - 4 * BLOCK, 1)]
    assert largest_gap_upwards(table) == (3 * BLOCK, BLOCK)
    assert largest_gap(table) == (BLOCK, BLOCK)
    assert largest_gap_upwards([Entry(BLOCK, full - BLOCK, 1)]) == (0, BLOCK)
    assert largest_gap([Entry(BLOCK, full - BLOCK, 1)]) == (0, 0)


def test_the_map_is_logged_with_its_gaps() -> None:
    lines = log_of("memmap=64M$0x4000000 memmap=1M!0x10000000")
    first = next(at for at, line in enumerate(lines) if line.startswith("user: "))
    rows = [line for line in lines[first:] if line.startswith("user: ")]
    assert "user: [mem 0x0000000004000000-0x0000000007ffffff]  device reserved" in rows
    assert "user: [mem 0x0000000010000000-0x00000000100fffff]  persistent RAM (type 12)" in rows
    cursor = 0
    for row in rows:  # entries and gaps follow one another without a hole
        start, end = row.split("0x")[1].split("-")[0], row.split("-0x")[1].split("]")[0]
        assert int(start, 16) == cursor
        cursor = int(end, 16) + 1
    assert "e820: update [mem 0x00000000-0x00000fff] System RAM ==> device reserved" in lines
    assert any(line.startswith("[gap 0x") and line.endswith("] available for PCI devices") for line in lines)
    assert not any("usable" in line or line.startswith("e820: reserve RAM") for line in lines)


def test_older_releases_keep_their_words() -> None:
    lines = log_of(release="debian-6.12")
    assert any(line.endswith("] usable") for line in lines)
    assert not any("[gap" in line or "System RAM" in line for line in lines)


@pytest.mark.parametrize(("release", "zones_first"), [("debian-6.12", True), ("debian-7.2", False)])
def test_zones_are_laid_out_before_or_after_the_architecture_is_done(release: str, zones_first: bool) -> None:
    lines = log_of(release=release)
    gap = next(at for at, line in enumerate(lines) if line.endswith("available for PCI devices"))
    assert (lines.index("Zone ranges:") < gap) is zones_first


def test_log_buffer_is_told_with_its_records() -> None:
    assert "printk: log buffer data + meta data: 131072 + 557056 = 688128 bytes" in log_of()
    grown = "printk: log buffer data + meta data: 1048576 + 4456448 = 5505024 bytes"
    assert [line for line in log_of("log_buf_len=1M") if "log buffer" in line] == [grown]
    assert [line for line in log_of("log_buf_len=1M", "debian-6.12") if "log_buf_len:" in line] == [
        "printk: log_buf_len: 1048576 bytes"
    ]


def test_a_small_log_buf_len_leaves_the_buffer_as_it_is() -> None:
    assert "printk: log buffer data + meta data: 131072 + 557056 = 688128 bytes" in log_of("log_buf_len=64K")


def test_reserves_follow_the_managed_pages() -> None:
    old, new = (boot(load_machine("tiny"), release=name).kernel for name in ("debian-6.12", "debian-7.2"))
    for kernel, follows in ((old, False), (new, True)):
        node = kernel.nodes[0]
        upper = sum(zone.managed_pages for zone in node.zones[1:])
        assert (max(kernel.page_alloc.lowmem_reserve[0, 0]) == upper // 256) is follows


@pytest.mark.big
def test_bare_logs_are_read(tmp_path: Path) -> None:
    kernel = boot(load_machine("tiny"), release="debian-7.2").kernel
    path = tmp_path / "dmesg.txt"
    path.write_text(format_dmesg(kernel))
    rows = [(entry.addr, entry.end, entry.type) for entry in kernel.e820.firmware]
    spec = load_machine(str(path))
    assert [(entry.start, entry.end, entry.type) for entry in spec.e820] == rows
    assert boot(spec).kernel.release.name == "debian-7.2"
    path.write_text(format_dmesg(kernel).replace("]  device reserved", "]  persistent RAM (type 7)"))
    assert {entry.type for entry in load_machine(str(path)).e820} >= {1, 7}


def test_tables_efi_keeps_are_read(tmp_path: Path) -> None:
    lines = [
        "Linux version 7.2.1",
        "BIOS-e820: [mem 0x0000000000000000-0x000000007fffffff]  System RAM",
        "efi: EFI v2.7 by EDK II",
        "e820: update [mem 0x00000000-0x00000fff] System RAM ==> device reserved",
        "last_pfn = 0x80000 max_arch_pfn = 0x400000000",
        "e820: update [mem 0x7e000000-0x7e000fff] System RAM ==> device reserved",
        "ACPI: RSDP 0x000000007FB7E014 000024 (v02 BOCHS )",
        "e820: update [mem 0x7d7d5000-0x7d7ddfff] System RAM ==> device reserved",
        "Zone ranges:",
    ]
    path = tmp_path / "dmesg.txt"
    path.write_text("\n".join(lines) + "\n")
    told = load_machine(str(path)).boot
    assert [(kept.start, kept.end) for kept in told.efi_tables] == [(0x7E000000, 0x7E001000)]
    assert [(kept.start, kept.end) for kept in told.efi_images] == [(0x7D7D5000, 0x7D7DE000)]


@pytest.mark.big
def test_hash_tables_of_futexes_and_timers() -> None:
    lines = log_of(machine="lpc2023")
    futex = next(line for line in lines if line.startswith("futex hash"))
    assert " NUMA nodes, total " in futex
    assert any(line.startswith("posixtimers hash table entries: ") for line in lines)
    assert not any(line.startswith("UDP-Lite") for line in lines)
