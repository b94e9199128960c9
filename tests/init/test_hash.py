"""Hash table sizes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.forks import behaviour_at
from minikern.init.hash import Table, _told, _told_order, hash_entries
from tests import naive
from tests.support import run, texts

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


@given(st.integers(1, 1 << 34), st.sampled_from([8, 32, 64]), st.integers(12, 19))
def test_against_the_description(kernel_pages: int, bucket: int, scale: int) -> None:
    all_pages = kernel_pages + kernel_pages // 60
    found = hash_entries(kernel_pages, all_pages, Table("t", bucket, scale))
    if all_pages * 4096 // 16 >= bucket:
        assert found == naive.hash_buckets(kernel_pages, all_pages, bucket, scale)


def test_sizes_seen_on_real_machines() -> None:
    # "Dentry cache hash table entries: 262144" with 2 GiB; 1048576 with 6 GiB; 65536 with 512 MiB
    assert hash_entries(515807, 524158, Table("t", 8, 13)) == 262144
    assert hash_entries(1495072, 1519486, Table("t", 8, 13)) == 1048576
    assert hash_entries(128736, 130942, Table("t", 8, 13)) == 65536
    assert hash_entries(128736, 130942, Table("t", 8, 19)) == 1024


def lines_of(release: str, machine: str = "tiny") -> list[str]:
    return [line for line in texts(run(machine, release=release)) if "hash table" in line or "HugeTLB" in line]


def table_line(lines: list[str], name: str) -> str:
    return next((line.partition(": ")[2] for line in lines if line.startswith(name + " hash")), "")


def test_tables_that_came_later_are_not_in_an_old_kernel() -> None:
    lines = lines_of("linux-5.4")
    assert [table_line(lines, name) for name in ("IP idents", "Table-perturb", "MPTCP token", "posixtimers")] == [
        ""
    ] * 4
    assert re.fullmatch(r"(\d+) \(order: \d+, \d+ bytes, linear\)", table_line(lines, "TCP bind"))
    entries, size = re.findall(r"\d+", table_line(lines, "TCP bind"))[0:3:2]
    assert int(size) == 16 * int(entries)  # one table by port; since 6.1 there is a second by port and address


def test_tables_of_6_16() -> None:
    lines = lines_of("linux-6.16")
    entries, size = re.findall(r"\d+", table_line(lines, "UDP"))[0:3:2]
    assert int(size) == 64 * int(entries)
    assert "posixtimers" in " ".join(lines)
    assert re.search(
        r"futex hash table entries: \d+ \(\d+ bytes on 1 NUMA nodes, total \d+ KiB, linear\)\.", "\n".join(lines)
    )
    assert any(re.match(r"HugeTLB: allocation took \d+ms with hugepage_allocation_threads=1", line) for line in lines)


@pytest.mark.parametrize(("version", "order"), [("6.12.49", 6), ("6.12.117", 7), ("6.17.5", 6), ("6.18", 7)])
def test_order_of_a_size_that_is_no_power_of_two(version: str, order: int) -> None:
    # logged: "MPTCP token hash table entries: 16384 (order: 6, 393216 bytes" by a 6.11-rc3, "(order: 7, ..." by a 6.18
    k = SimpleNamespace(behaviour=behaviour_at(version))
    assert _told_order(cast("Kernel", k), 393216) == order


def test_how_a_table_was_allocated_is_told_since_5_3() -> None:
    told = [
        _told(cast("Kernel", SimpleNamespace(behaviour=behaviour_at(version))), "vmalloc hugepage")
        for version in ("5.2", "5.3", "5.12", "5.13")
    ]
    assert told == ["", ", vmalloc", ", vmalloc", ", vmalloc hugepage"]
