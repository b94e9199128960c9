from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.buddy.memblock_free import memblock_free_all, register_page_bootmem_info
from minikern.mm.hugetlb.hugetlb import hugetlb_init, hugetlb_parse_cmdline
from minikern.mm.hugetlb.hugetlb_cmdline import HugetlbCommandLine, size_name
from minikern.mm.map.deferred import page_alloc_init_late
from minikern.mm.page.vmemmap import Memmap
from minikern.mm.page.vmemmap_table import VmemmapPageTable, frame_ranges
from minikern.state.hugetlb import Hstate, hugetlb_vmemmap_optimizable_size
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, booted, fake_kernel, map_frame
from tests.naive_mm import VMEMMAP, flags_of, tail_page

GIGANTIC = 1 << 18
PC_8G = [(0x1000, 0x9F000, 0), (0x100000, 0x7FFE0000, 0), (4 * GIB, 10 * GIB, 0)]
SMALL = [(0, 640 * MIB, 0), (1 * GIB, 3 * GIB, 0)]


def boot(k: FakeKernel, checked: bool = True, until: str = "") -> FakeKernel:
    booted(k)
    hugetlb_parse_cmdline(k)
    memblock_free_all(k)
    register_page_bootmem_info(k)
    page_alloc_init_late(k)
    if until == "hugetlb_init":
        return k
    hugetlb_init(k)
    k.page_alloc.check()
    if k.hugetlb.page_table is not None:
        k.hugetlb.page_table.check()
    if checked:
        result = check_memmap(k)
        assert result.ok, result.message
    return k


def huge_lines(k: FakeKernel) -> list[str]:
    return [line for line in k.lines if line.startswith("HugeTLB")]


def complaints(append: str, nodes: int = 2, gbpages: bool = True) -> tuple[list[str], list[tuple[int, int]]]:
    """What the parameters print, and (order, count) of what they ask of memblock."""
    lines: list[str] = []
    asked: list[tuple[int, int]] = []
    sizes = {2 * MIB, 1 * GIB} if gbpages else {2 * MIB}
    parser = HugetlbCommandLine(
        sizes, list(range(nodes)), lines.append, lambda h: asked.append((h.order, h.max_huge_pages))
    )
    for word in append.split():
        name, _, value = word.partition("=")
        parser.parameter(name, value)
    parser.set_default(9)
    return lines, asked + [(h.order, h.max_huge_pages) for h in parser.hstates if not h.gigantic]


@pytest.mark.parametrize(
    ("append", "lines", "asked"),
    [
        ("hugepages=3", [], [(9, 3)]),
        ("hugepagesz=1G hugepages=2", [], [(18, 2), (9, 0)]),
        ("hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=5", [], [(18, 2), (9, 5)]),
        ("hugepages=4 default_hugepagesz=1G", [], [(18, 4), (9, 0)]),
        ("default_hugepagesz=1G hugepages=4", [], [(18, 4), (9, 0)]),
        ("default_hugepagesz=2M hugepagesz=2M hugepages=6", [], [(9, 6)]),
        ("hugepagesz=1G hugepages=0:1,1:2", [], [(18, 3), (9, 0)]),
        (
            "hugepagesz=4M hugepages=1",
            [
                "HugeTLB: unsupported hugepagesz=4M",
                "HugeTLB: hugepages=1 does not follow a valid hugepagesz, ignoring",
            ],
            [(9, 0)],
        ),
        ("default_hugepagesz=3G", ["HugeTLB: unsupported default_hugepagesz=3G"], [(9, 0)]),
        (
            "default_hugepagesz=2M default_hugepagesz=1G",
            ["HugeTLB: default_hugepagesz previously specified, ignoring 1G"],
            [(9, 0)],
        ),
        ("hugepagesz=2M hugepagesz=2M", ["HugeTLB: hugepagesz=2M specified twice, ignoring"], [(9, 0)]),
        (
            "hugepagesz=2M hugepages=1 hugepages=2",
            ["HugeTLB: hugepages= specified twice without interleaving hugepagesz=, ignoring hugepages=2"],
            [(9, 1)],
        ),
        ("hugepagesz=2M hugepages=x", ["HugeTLB: Invalid hugepages parameter x"], [(9, 0)]),
        ("hugepagesz=2M hugepages=7:1", ["HugeTLB: Invalid hugepages parameter 7:1"], [(9, 0)]),
        (
            "hugepages=8 hugepagesz=2M hugepages=3",
            [
                "HugeTLB: Ignoring hugepages=3 associated with 2.00 MiB page size",
                "HugeTLB: Using hugepages=8 for number of default huge pages",
            ],
            [(9, 8)],
        ),
    ],
)
def test_grammar(append: str, lines: list[str], asked: list[tuple[int, int]]) -> None:
    assert complaints(append) == (lines, asked)


def test_one_gib_needs_the_cpu() -> None:
    assert complaints("hugepagesz=1G hugepages=1", gbpages=False)[0][0] == "HugeTLB: unsupported hugepagesz=1G"


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["hugepages", "hugepagesz", "default_hugepagesz"]),
            st.sampled_from(["1", "0:1", "0:1,1:2", "1:2,", "2M", "1G", "", ":", "0:", "9:9", "1:1,x", "-1", "0x10"]),
        ),
        max_size=7,
    )
)
def test_any_parameters_end_in_lines_not_in_tracebacks(words: list[tuple[str, str]]) -> None:
    lines, _ = complaints(" ".join(f"{name}={value}" for name, value in words))
    assert all(line.startswith("HugeTLB: ") for line in lines)


def test_sizes() -> None:
    assert (size_name(9), size_name(18)) == ("2.00 MiB", "1.00 GiB")
    assert hugetlb_vmemmap_optimizable_size(9) == 28 << 10
    assert hugetlb_vmemmap_optimizable_size(18) == 16380 << 10
    assert hugetlb_vmemmap_optimizable_size(6) == 0
    assert Hstate(18).gigantic
    assert not Hstate(9).gigantic


@pytest.mark.big
def test_the_captured_boot_with_huge_pages() -> None:
    append = "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=64 default_hugepagesz=2M"
    k = boot(fake_kernel(PC_8G, [(0, 0x100000)], append=append, vmemmap="window"))
    assert huge_lines(k) == [
        "HugeTLB: registered 1.00 GiB page size, pre-allocated 4 pages",
        "HugeTLB: 16380 KiB vmemmap can be freed for a 1.00 GiB page",
        "HugeTLB: registered 2.00 MiB page size, pre-allocated 64 pages",
        "HugeTLB: 28 KiB vmemmap can be freed for a 2.00 MiB page",
    ]
    assert k.charges["hvo_remap_page"] == 4 * 4095 + 64 * 7
    assert k.charges["compound_tail_prep"] == 4 * (GIGANTIC - 1) + 64 * 511
    assert len(k.hugetlb.optimized) == 68


def test_without_parameters_sizes_are_still_reported() -> None:
    k = boot(fake_kernel([(0, 200 * MIB, 0)]))
    assert [line.split(",")[0] for line in huge_lines(k)][::2] == [
        "HugeTLB: registered 1.00 GiB page size",
        "HugeTLB: registered 2.00 MiB page size",
    ]
    small = boot(fake_kernel([(0, 200 * MIB, 0)], pdpe1gb=False))
    assert len(huge_lines(small)) == 2


def test_no_pse_no_huge_pages() -> None:
    k = booted(fake_kernel([(0, 200 * MIB, 0)], append="hugepages=4"))
    k.machine.boot_cpu.cpuid = lambda leaf, subleaf=0: type("R", (), {"edx": 0})()
    hugetlb_parse_cmdline(k)
    memblock_free_all(k)
    hugetlb_init(k)
    text = "HugeTLB: huge pages not supported, ignoring associated command-line parameters"
    assert huge_lines(k) == [text]


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("hvo", ["on", "off"])
def test_gigantic_page_in_every_mode(skip: bool, hvo: str) -> None:
    append = f"hugepagesz=1G hugepages=1 hugetlb_free_vmemmap={hvo}"
    k = fake_kernel(SMALL, append=append, behaviour={"hugetlb_tail_skip": skip})
    totals = sum(n.present_pages for n in k.nodes)
    boot(k)
    head = k.hugetlb.hstates[0].free_pages
    assert head == [GIGANTIC], "the highest aligned GiB holds the memory map, so the one below it is taken"
    head_pfn = head[0]
    page = k.vmemmap.page(head_pfn)
    assert int(page["flags"]) == flags_of(0, 1) | 0x10000
    assert (int(page["refcount"]), int(page["mapcount"])) == (0, -1)
    assert int(page["private"]) == (0x18 if hvo == "on" else 0x08)
    one = k.vmemmap.page(head_pfn + 1)
    assert int(one["flags"]) & 0xFF == 18
    assert int(one["lru_next"]) == VMEMMAP + head_pfn * 64 + 1
    assert int(one["index"]) == GIGANTIC
    for tail in (3, 63):
        assert k.vmemmap.page(head_pfn + tail).tobytes() == tail_page(head_pfn + tail, head_pfn, flags_of(0, 1))
    far = k.vmemmap.page(head_pfn + 64 * 100 + 5).tobytes()
    own = head_pfn + 64 * 100 + 5
    assert far == tail_page(head_pfn + 5 if hvo == "on" else own, head_pfn, flags_of(0, 1))
    tails = {(False, "on"): ("compound_tail_prep", GIGANTIC - 1), (False, "off"): ("compound_tail_prep", GIGANTIC - 1)}
    tails |= {(True, "on"): ("compound_tail_init_prep", 63), (True, "off"): ("compound_tail_init_prep", GIGANTIC - 1)}
    kind, count = tails[skip, hvo]
    assert k.charges[kind] == count
    assert k.charges["compound_head_prep"] == 1
    assert k.charges["hvo_remap_page"] == (4095 if hvo == "on" else 0)
    # All memory is accounted for: free, huge, handed out (page tables, the fresh head frame), or reserved for good.
    handed_out = sum(1 << order for order in k.page_alloc.allocated.values())
    assert k.page_alloc.nr_free_pages() + handed_out + GIGANTIC == k.page_alloc.totalram_pages
    assert sum(z.managed_pages for n in k.nodes for z in n.zones) == k.page_alloc.totalram_pages
    reserved = totals - k.page_alloc.totalram_pages
    assert reserved > 0
    assert handed_out == (9 if hvo == "on" else 0)


def test_reserved_init_with_and_without_tail_skipping() -> None:
    counts = {}
    for skip in (False, True):
        append, behaviour = "hugepagesz=1G hugepages=4", {"hugetlb_tail_skip": skip}
        k = fake_kernel(PC_8G, append=append, vmemmap="window", behaviour=behaviour)
        booted(k)
        hugetlb_parse_cmdline(k)
        memblock_free_all(k)
        counts[skip] = k.charges["reserved_page_init"] + k.charges["reserved_page_set"]
    assert counts[False] - counts[True] == 4 * (GIGANTIC - 1)


def test_gigantic_pages_in_turn_and_by_node() -> None:
    memory = [(1 * GIB, 4 * GIB, 0), (4 * GIB, 8 * GIB, 1)]
    k = fake_kernel(memory, append="hugepagesz=1G hugepages=4", vmemmap="window")
    booted(k)
    hugetlb_parse_cmdline(k)
    nodes = [0 if pfn < GIGANTIC * 4 else 1 for pfn in (page.pfn for page in k.hugetlb.boot_pages)]
    assert nodes == [0, 1, 0, 1]
    assert all(pfn % GIGANTIC == 0 for pfn in (page.pfn for page in k.hugetlb.boot_pages))
    k = fake_kernel(memory, append="hugepagesz=1G hugepages=1:3", vmemmap="window")
    booted(k)
    hugetlb_parse_cmdline(k)
    assert [pfn // GIGANTIC for pfn in (page.pfn for page in k.hugetlb.boot_pages)] == [6, 5, 4]


@pytest.mark.big
def test_too_many_are_reported() -> None:
    k = boot(fake_kernel(SMALL, append="hugepagesz=1G hugepages=5 hugepagesz=2M hugepages=100000", vmemmap="window"))
    lines = huge_lines(k)
    assert lines[0] == "HugeTLB: allocating 5 of page size 1.00 GiB failed.  Only allocated 1 hugepages."
    got = len(k.hugetlb.hstates[1].free_pages)
    assert lines[1] == f"HugeTLB: allocating 100000 of page size 2.00 MiB failed.  Only allocated {got} hugepages."
    assert k.hugetlb.hstates[1].max_huge_pages == got > 300
    by_node = boot(fake_kernel(SMALL, append="hugepagesz=1G hugepages=0:3", vmemmap="window"))
    text = "HugeTLB: allocating 3 of page size 1.00 GiB failed node0.  Only allocated 1 hugepages."
    assert huge_lines(by_node)[0] == text


def test_cma_takes_their_place() -> None:
    k = fake_kernel(SMALL, append="hugetlb_cma=1G hugepagesz=1G hugepages=1", config={"CONFIG_CMA": True})
    boot(k)
    assert huge_lines(k)[0] == "HugeTLB: hugetlb_cma is enabled, skip boot time allocation"
    assert not k.hugetlb.hstates[0].free_pages


def test_page_table_of_the_memory_map() -> None:
    table = VmemmapPageTable([Memmap(0, 8, 1 * GIB), Memmap(8, 1, 5 * GIB)])
    first = 1 * GIB // 4096
    assert table.lookup(0) == (first, True)
    assert table.lookup(64 * 512 + 64 * 3) == (first + 515, True)
    assert table.lookup(8 * 32768) == (5 * GIB // 4096, True)
    for section in range(8):
        table.split_pmd(section)
    assert table.lookup(64 * 700) == (first + 700, True)
    old = table.remap(0, 18, 77)
    assert old.tolist() == list(range(first, first + 4096))
    assert table.lookup(63) == (77, True)
    assert table.lookup(64) == table.lookup(GIGANTIC - 1) == (77, False)
    table.check()
    table.split_pmd(8)
    table.remap(8 * 32768 + 512, 9, 78)
    assert table.lookup(8 * 32768 + 511) == (5 * GIB // 4096 + 7, True)
    assert table.lookup(8 * 32768 + 512) == (78, True)
    assert table.lookup(8 * 32768 + 1023) == (78, False)
    assert table.lookup(8 * 32768 + 1024) == (5 * GIB // 4096 + 16, True)
    table.check()


def test_old_frame_is_kept_where_no_new_one_is_taken() -> None:
    append = "hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on"
    k = boot(fake_kernel(SMALL, append=append, behaviour={"hvo_fresh_head": False}))
    head = k.hugetlb.hstates[0].free_pages[0]
    frame = k.hugetlb.page_table.lookup(head).frame
    assert frame == map_frame(k, head // 32768)


@given(st.sets(st.integers(0, 60), min_size=1))
def test_frame_ranges(frames: set[int]) -> None:
    ranges = frame_ranges(np.array(sorted(frames), dtype=np.int64))
    assert [p for low, high in ranges for p in range(low, high)] == sorted(frames)
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ranges))
