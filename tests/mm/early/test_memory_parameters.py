"""Memory parameters in all their forms: what they change and what the kernel says about wrong ones."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.cmdline import CommandLine, memparse, strtoull
from minikern.core.config import Config
from minikern.init.hash import DENTRY, TCP_ESTABLISHED, UDP, as_asked, hash_entries, hashdist
from minikern.mm.buddy import zones
from minikern.mm.early import e820, e820_params, memtest, swiotlb
from minikern.mm.early.numa_emulation import Block, emulated_distances, split_nodes
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.state.e820 import E820State, Entry, Type
from minikern.state.memblock import Flags, Memblock
from minikern.state.numa import Numa
from minikern.state.swiotlb import Swiotlb
from minikern.state.totals import PageTotals
from tests.support import behaviour_of

MIB, GIB = 1 << 20, 1 << 30


def kernel(append: str = "", **more: Any) -> Any:
    lines: list[str] = []
    memblock = Memblock()
    for start, end in ((0x1000, 0x9F000), (MIB, GIB)):
        memblock.add(start, end - start)
    ram = Type.RAM
    table = [Entry(0, 0x9FC00, ram), Entry(MIB, GIB - MIB, ram), Entry(GIB, MIB, Type.ACPI)]
    facts: dict[str, Any] = {
        "cmdline": CommandLine(append),
        "e820": E820State(table=table),
        "memblock": memblock,
        "config": Config({"CONFIG_NODES_SHIFT": 6}),
        "behaviour": behaviour_of("debian-6.12", numa_warning_prefix="NUMA: "),
        "swiotlb": Swiotlb(),
        "cpus": SimpleNamespace(possible=[0, 1, 2]),
        "numa": Numa(),
        "totals": PageTotals(max_pfn=GIB >> 12),
        "release": SimpleNamespace(image=SimpleNamespace(text_start=16 * MIB, end=61 * MIB)),
        "lines": lines,
        "printk": lambda text, level=6: lines.append(text),
        "charge": lambda kind, count=1: None,
    }
    return SimpleNamespace(**(facts | more))


def memmap(value: str) -> Any:
    k = kernel()
    e820_params.parse_memmap_opt(k, value)
    e820.e820__finish_early_params(k)
    return k


# memmap= and mem=


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ("64M@2G", [(2 * GIB, 64 * MIB, 1)]),
        ("64M#2G", [(2 * GIB, 64 * MIB, 3)]),
        ("64M$2G", [(2 * GIB, 64 * MIB, 2)]),
        ("64M!2G", [(2 * GIB, 64 * MIB, 12)]),
        ("64M%2G+7", [(2 * GIB, 64 * MIB, 7)]),
        ("1M%1G-3+2", []),
        ("exactmap,64M@1M", None),
    ],
)
def test_forms_of_memmap(value: str, rows: list[tuple[int, int, int]] | None) -> None:
    k = memmap(value)
    assert k.e820.user_defined
    assert k.lines[-1 - len(k.e820.table)] == "user-defined physical RAM map:"
    if rows is None:
        assert k.e820.table == [Entry(MIB, 64 * MIB, 1)]
    elif rows:
        assert set(map(Entry._make, rows)) <= set(k.e820.table)
    else:
        assert k.e820.table[-1] == Entry(GIB, MIB, Type.RESERVED)
        assert k.lines[0] == "e820: update [mem 0x40000000-0x400fffff] ACPI data ==> reserved"


def test_a_type_that_is_only_added_does_not_remove() -> None:
    # The higher type wins where they overlap, so RAM put over an ACPI range changes nothing.
    assert memmap("1M%1G+1").e820.table[-1] == Entry(GIB, MIB, Type.ACPI)


@pytest.mark.parametrize("value", ["1M%1G-3x", "1M%1G-1M+2", "1M%1G+2-3"])
def test_what_follows_the_types_makes_the_word_void(value: str) -> None:
    k = memmap(value)
    assert k.e820.table[-1] == Entry(GIB, MIB, Type.ACPI)
    assert k.e820.user_defined


def test_removal_of_any_type_names_none() -> None:
    k = memmap("1M%1G")
    assert k.lines[0].rstrip() == "e820: remove [mem 0x40000000-0x400fffff]"
    assert k.e820.table[-1].type == Type.RAM


@pytest.mark.parametrize(("value", "user"), [("0", True), ("rubbish", True), ("nopentium", False), ("512M", True)])
def test_mem(value: str, user: bool) -> None:
    k = kernel()
    e820_params.parse_memopt(k, value)
    assert k.e820.user_defined is user
    ram = sum(entry.size for entry in k.e820.table if entry.type == Type.RAM)
    assert (ram < GIB - 2 * MIB) == (value == "512M")


def test_map_without_the_kernel_is_mended() -> None:
    k = kernel()
    e820_params.parse_memmap_opt(k, "exactmap,639K@0,32M@1M")
    e820.e820_add_kernel_range(k)
    assert ".text .data .bss are not marked as E820_TYPE_RAM!" in k.lines
    assert e820.e820__mapped_all(e820.e820__update_table(k.e820.table) or [], 16 * MIB, 61 * MIB, Type.RAM)
    before = len(k.lines)
    e820.e820_add_kernel_range(k)
    assert len(k.lines) == before + (0 if e820.e820__mapped_all(k.e820.table, 16 * MIB, 61 * MIB, 1) else 2)


def test_last_pfn_counts_acpi_memory_since_6_8() -> None:
    table = [Entry(MIB, GIB, 1), Entry(4 * GIB, MIB, 3)]
    limit = 1 << 40
    assert e820.e820_end_pfn(table, limit, limit, acpi=True) == (4 * GIB + MIB) >> 12
    assert e820.e820_end_pfn(table, limit, limit, acpi=False) == (GIB + MIB) >> 12


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8), st.sampled_from([1, 2])), max_size=8),
       st.integers(0, 40), st.integers(1, 10))  # fmt: skip
def test_mapped_all_is_every_byte(rows: list[tuple[int, int, int]], start: int, size: int) -> None:
    table = e820.e820__update_table([Entry(*row) for row in rows])
    if table is None:
        return
    covered = {byte for entry in table if entry.type == 1 for byte in range(entry.addr, entry.end)}
    assert e820.e820__mapped_all(table, start, start + size, 1) == (set(range(start, start + size)) <= covered)


@given(st.text("0123456789xXabcKM-+", max_size=12))
def test_strtoull_is_memparse_without_suffix(text: str) -> None:
    value, rest = strtoull(text)
    assert text.endswith(rest)
    taken = text[: len(text) - len(rest)]
    assert memparse(taken)[0] == value


# swiotlb=


@pytest.mark.parametrize(
    ("values", "append", "lines", "slabs"),
    [
        ([], "", [], None),
        ([], "iommu=soft", ["software IO TLB: area num 4."], 32768),
        (["force"], "", ["software IO TLB: area num 4."], 32768),
        (["force", "noforce"], "", [], None),
        (["1000,16,force"], "", [
            "software IO TLB: area num 16.", "software IO TLB: SWIOTLB bounce buffer size roundup to 4MB"], 2048),
        (["100,force"], "", [
            "software IO TLB: area num 4.", "software IO TLB: SWIOTLB bounce buffer size roundup to 1MB"], 512),
        ([",64,force"], "", ["software IO TLB: area num 64."], 32768),
        (["rubbish"], "", [], None),
    ],
)  # fmt: skip
def test_swiotlb(values: list[str], append: str, lines: list[str], slabs: int | None) -> None:
    k = kernel(append)
    for value in values:
        swiotlb.parse_swiotlb(k, value)
    swiotlb.swiotlb_init(k)
    assert k.lines == lines
    assert (k.swiotlb.place is not None) == (slabs is not None)
    if slabs is not None:
        assert k.swiotlb.slabs == slabs


def test_swiotlb_shrinks_until_it_fits() -> None:
    k = kernel("iommu=soft")
    k.memblock.reserve(0, GIB - 20 * MIB)
    swiotlb.swiotlb_init(k)
    failed = [line for line in k.lines if "Failed to allocate" in line]
    assert len(failed) == 2  # 64 and 32 MiB
    assert k.lines[-1] == "software IO TLB: SWIOTLB bounce buffer size adjusted 32768 -> 8192 slabs"


def test_swiotlb_gives_up_below_a_mebibyte() -> None:
    k = kernel("iommu=soft")
    k.memblock.reserve(0, GIB)
    swiotlb.swiotlb_init(k)
    assert k.swiotlb.place is None
    assert sum("Failed to allocate" in line for line in k.lines) == 7


# hash tables


def test_entries_asked_for() -> None:
    pages = 1 << 18
    k = kernel("dhash_entries=4096 thash_entries=1000000 uhash_entries=3")
    assert hash_entries(pages, pages, as_asked(k, DENTRY)) == 4096
    assert hash_entries(pages, pages, as_asked(k, TCP_ESTABLISHED)) == 1 << 20
    assert hash_entries(pages, pages, as_asked(k, UDP)) == 256
    assert as_asked(kernel("dhash_entries=none"), DENTRY) is DENTRY


@pytest.mark.parametrize(
    ("append", "nodes", "spread"),
    [("", 1, False), ("", 2, True), ("hashdist=0", 2, False), ("hashdist=1", 1, True), ("hashdist=no", 2, False)],
)
def test_hashdist(append: str, nodes: int, spread: bool) -> None:
    made = [Pglist(nid, 0, 512, [Zone(0, nid, 0, 512, 512)]) for nid in range(nodes)]
    assert hashdist(kernel(append, nodes=made)) is spread


# numa=fake=


def fake(text: str, blocks: list[Block], sizes: int = 4) -> tuple[Any, Any]:
    k = kernel()
    k.numa.parsed = {block.nid for block in blocks}
    return k, split_nodes(k, text, blocks)


def test_uniform_pieces_ignore_holes_and_are_whole_units() -> None:
    k, found = fake("2U", [Block(0x1000, GIB, 0)])
    made, _, given_distances = found
    assert k.lines[0] == "Fake node size 511MB too small, increasing to 512MB"
    assert [(block.start, block.end) for block in made] == [(0x1000, 0x20001000), (0x20001000, GIB)]
    assert given_distances == []


def test_given_distances_are_taken_row_by_row() -> None:
    k, found = fake("2:10,33,44,10,", [Block(0, GIB, 0)])
    made, phys_of, listed = found
    assert len(made) == 2 and listed == [10, 33, 44, 10]
    assert emulated_distances(k, phys_of, listed) == [[10, 33], [44, 10]]
    assert emulated_distances(k, phys_of, [11, 20])[0] == [10, 20]
    assert k.lines[-1] == "NUMA: Warning: invalid distance parameter, from=0 to=0 distance=11"


def test_a_number_without_a_comma_behind_it_is_no_distance() -> None:
    assert fake("2:10,33", [Block(0, GIB, 0)])[1][2] == [10]


@pytest.mark.parametrize("text", ["", "0", "x", "0U", "0M"])
def test_nothing_to_fake(text: str) -> None:
    assert fake(text, [Block(0, GIB, 0)])[1] is None


# movable_node


def test_bottom_up_takes_the_lowest_place() -> None:
    memblock = Memblock()
    memblock.add(MIB, GIB)
    memblock.reserve(MIB, 4096)
    memblock.bottom_up = True
    assert memblock.alloc(4096, 4096) == MIB + 4096
    assert memblock.find_in_range(0, GIB, MIB, 2 * MIB) == 2 * MIB
    memblock.bottom_up = False
    assert memblock.alloc(4096, 4096) == MIB + GIB - 4096


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=8), st.integers(1, 8), st.integers(0, 3))
def test_bottom_up_is_the_first_fit(taken: list[tuple[int, int]], size: int, order: int) -> None:
    memblock, page, align = Memblock(), 4096, 1 << order
    memblock.add(page, 64 * page)
    busy = set()
    for start, count in taken:
        memblock.reserve(start * page, count * page)
        busy |= set(range(start, start + count))
    memblock.bottom_up = True
    fits = (at for at in range(1, 65) if at % align == 0 and at + size <= 65 and not busy & set(range(at, at + size)))
    expected = next(fits, None)
    found = memblock.find_in_range(0, 65 * page, size * page, align * page)
    assert found == (None if expected is None else expected * page)


def test_pluggable_memory_is_left_alone_and_becomes_movable() -> None:
    k = kernel("movable_node movablecore=100M")
    k.memblock.add(4 * GIB, GIB)
    k.memblock.set_node(0, 2 * GIB, 0)
    k.memblock.set_node(4 * GIB, GIB, 1)
    k.memblock.mark_hotplug(4 * GIB, GIB)
    k.memblock.skip_hotplug = True
    assert k.memblock.alloc(4096, 4096) == GIB - 4096
    bounds = [(1, 0x1000), (0x1000, 0x100000), (0x100000, 0x140000), (0, 0), (0, 0)]
    assert zones.find_zone_movable_pfns(k, bounds) == {1: 0x100000}
    k.memblock.clear_hotplug(4 * GIB, GIB)
    assert not any(region.flags & Flags.HOTPLUG for region in k.memblock.memory_regions())


# memtest=


@pytest.mark.parametrize(("append", "count"), [("memtest", 17), ("memtest=2", 2), ("memtest=0", 0), ("memtest=x", 0)])
def test_memtest_passes(append: str, count: int) -> None:
    assert memtest.passes(kernel(append)) == count


def test_memtest_shows_what_is_free() -> None:
    k = kernel("memtest=2")
    k.memblock.reserve(0, 2 * MIB)
    memtest.early_memtest(k, 512 * MIB)
    assert k.lines == [
        "early_memtest: # of tests: 2",
        "  0x0000000000200000 - 0x0000000020000000 pattern ffffffffffffffff",
        "  0x0000000000200000 - 0x0000000020000000 pattern 0000000000000000",
    ]
