"""What each step of HugeTLB's development changes: threads, maps folded before they are made, areas kept for later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.units import PAGE_SIZE
from minikern.core.variant import load_variants
from minikern.mm.buddy.memblock_free import memblock_free_all
from minikern.mm.hugetlb.hugetlb import hugetlb_init, hugetlb_parse_cmdline
from minikern.mm.hugetlb.hugetlb_cma import cma_init_reserved_areas, cma_pages, parse_hugetlb_cma
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, booted, fake_kernel
from tests.mm.hugetlb.test_hugetlb import GIGANTIC, PC_8G, SMALL, boot, huge_lines
from tests.naive_mm import flags_of, tail_page

pytestmark = pytest.mark.big

TWO_NODES = [(0x1000, 0x9F000, 0), (0x100000, 3 * GIB, 0), (4 * GIB, 9 * GIB, 0), (9 * GIB, 16 * GIB, 1)]
FOUR_NODES = [(n * 4 * GIB + MIB, (n + 1) * 4 * GIB, n) for n in range(4)]
STEPS: dict[str, dict[str, Any]] = {"6.6": {"hugetlb_tail_skip": False}}
STEPS["6.7"] = {"hugetlb_tail_skip": True, "hvo_batch": True}
STEPS["6.9"] = {**STEPS["6.7"], "hugetlb_parallel": True}
STEPS["6.15"] = {**STEPS["6.9"], "hugetlb_prehvo": True, "hugetlb_exact_node": True, "hugetlb_alloc_threads": True}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("vmemmap", ["full", "window"])
@pytest.mark.parametrize("hvo", ["on", "off"])
def test_all_steps_end_in_the_same_pages(step: str, vmemmap: str, hvo: str) -> None:
    append = f"hugepagesz=1G hugepages=5 hugepagesz=2M hugepages=70 hugetlb_free_vmemmap={hvo}"
    k = boot(
        fake_kernel(TWO_NODES, append=append, vmemmap="window" if hvo == "off" else vmemmap, behaviour=STEPS[step])
    )
    gigantic, normal = k.hugetlb.hstates
    assert (len(gigantic.free_pages), len(normal.free_pages)) == (5, 70)
    assert sum(pfn < 9 * GIB >> 12 for pfn in gigantic.free_pages) == 3
    # Threads that share the work each begin with node 0.
    on_node_0 = sum(pfn < 9 * GIB >> 12 for pfn in normal.free_pages)
    assert on_node_0 == 35 + {"6.6": 0, "6.7": 0, "6.9": 2, "6.15": 1}[step]
    assert len(k.hugetlb.optimized) == (75 if hvo == "on" else 0)
    assert sum(z.managed_pages for n in k.nodes for z in n.zones) == k.page_alloc.totalram_pages


def test_threads_share_the_nodes() -> None:
    append = "hugepagesz=1G hugepages=8 hugetlb_free_vmemmap=on"
    spent = {}
    for step in ("6.7", "6.9"):
        k = fake_kernel(FOUR_NODES, append=append, vmemmap="window", behaviour=STEPS[step])
        boot(k, checked=False)
        spent[step] = sum(k.worked.values())
        assert k.hugetlb.hvo.flushes == (2 if step == "6.7" else 8)
    assert spent["6.7"] == 0
    assert spent["6.9"] > 0
    assert sorted(k.worked) == [0, 4, 8, 12], "one thread a node, the caller's on CPU 0"


@pytest.mark.parametrize(
    ("pages", "nodes", "published"),
    [(25600, 2, 44 / 71), (25600, 4, 679 / 979)],
)
def test_published_ratio_of_four_threads_to_two(pages: int, nodes: int, published: float) -> None:
    # The work is too much for a test at full size; the ratio does not depend on the number of pages.
    pages //= 40
    k = fake_kernel(FOUR_NODES[:nodes], append=f"hugepages={pages}", vmemmap="window", behaviour=STEPS["6.9"])
    boot(k, checked=False, until="hugetlb_init")
    began = k.machine.clock.now
    hugetlb_init(k)
    tails, head, page, pool = 511 * 9.8, 100.0, 500.0, 800.0
    parallel, serial = pages * (tails + head + page), pages * pool
    ratio = (parallel / (2 * nodes) + serial) / (parallel / nodes + serial)
    assert ratio == pytest.approx(published, rel=0.04)
    # What was simulated is what that says: all threads allocate at once, then queue for hugetlb_lock.
    assert k.machine.clock.now - began == pytest.approx(parallel / (2 * nodes) + serial, rel=0.02)


def test_a_line_about_threads_since_6_15() -> None:
    k = boot(fake_kernel(FOUR_NODES, append="hugepages=64", vmemmap="window", behaviour=STEPS["6.15"]))
    assert huge_lines(k)[0] == "HugeTLB: allocation took 0ms with hugepage_allocation_threads=4"
    asked = fake_kernel(FOUR_NODES, append="hugepages=64 hugepage_alloc_threads=3", vmemmap="window",
                        behaviour=STEPS["6.15"])  # fmt: skip
    assert huge_lines(boot(asked))[0].endswith("=3")


def test_a_list_waits_where_the_page_came_from() -> None:
    # Node 1 has room for one page only: the third comes from node 0, as does the fourth.
    memory = [(1 * MIB, 5 * GIB, 0), (5 * GIB, 6 * GIB + 200 * MIB, 1)]
    nids = {}
    for step in ("6.9", "6.15"):
        k = fake_kernel(memory, append="hugepagesz=1G hugepages=4 hugetlb_free_vmemmap=on", vmemmap="window",
                        behaviour=STEPS[step])  # fmt: skip
        booted(k)
        hugetlb_parse_cmdline(k)
        nids[step] = [(page.nid, page.pfn >= 5 * GIGANTIC) for page in k.hugetlb.boot_pages]
    assert nids["6.9"][3] == (1, False)
    assert nids["6.15"][3] == (0, False)


def test_exact_nodes_since_6_15() -> None:
    memory = [(1 * MIB, 5 * GIB, 0), (5 * GIB, 6 * GIB + 200 * MIB, 1)]
    for step, got in (("6.9", 3), ("6.15", 1)):
        k = fake_kernel(memory, append="hugepagesz=1G hugepages=1:3", vmemmap="window", behaviour=STEPS[step])
        boot(k)
        assert len(k.hugetlb.hstates[0].free_pages) == got


# pre-HVO


@pytest.mark.parametrize("deferred", [True, False])
def test_maps_are_made_folded(deferred: bool) -> None:
    append = "hugepagesz=1G hugepages=1 hugetlb_free_vmemmap=on"
    config = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": deferred}
    k = boot(fake_kernel(SMALL, append=append, config=config, behaviour=STEPS["6.15"]))
    (head,) = k.hugetlb.optimized
    assert k.charges["hvo_remap_page"] == 0
    own = {m.section + at for m in k.vmemmap.memmaps for at in range(m.sections)}
    assert own.isdisjoint(range(head // 32768, head // 32768 + 8))
    kept = k.hugetlb.page_table.lookup(head)
    assert kept.writable
    assert k.hugetlb.page_table.lookup(head + GIGANTIC - 1) == (kept.frame, False)
    far = k.vmemmap.page(head + 64 * 100 + 5)
    assert far.tobytes() == tail_page(head + 5, head, flags_of(0, 1))
    assert k.vmemmap.folded_head(head + 64) == head


def test_no_memory_is_taken_for_folded_maps() -> None:
    append = "hugepagesz=1G hugepages=4 hugetlb_free_vmemmap="
    reserved = {}
    for hvo in ("on", "off"):
        k = fake_kernel(PC_8G, append=append + hvo, vmemmap="window", behaviour=STEPS["6.15"])
        reserved[hvo] = k.memblock.reserved.total()
    # Sixteen MiB of map less for each page; one frame and eight page tables instead.
    assert reserved["off"] - reserved["on"] == 4 * ((16 << 20) - 9 * PAGE_SIZE)


def test_what_does_not_fill_sections_gets_an_ordinary_map() -> None:
    k = boot(fake_kernel(SMALL, append="hugepages=8 hugetlb_free_vmemmap=on", behaviour=STEPS["6.15"]))
    assert not k.vmemmap.preinit
    assert len(k.hugetlb.optimized) == 8


@pytest.mark.parametrize("hvo", ["on", "off"])
def test_a_page_in_two_zones_is_given_up(hvo: str) -> None:
    k = fake_kernel(
        [(1 * MIB, 6 * GIB, 0)],
        append=f"hugepagesz=1G hugepages=3 hugetlb_free_vmemmap={hvo}",
        vmemmap="window",
        behaviour=STEPS["6.15"],
        movable_from=4 * GIB + 512 * MIB,
    )
    boot(k)
    assert [line.split("HugeTLB: ")[1] for line in huge_lines(k)[:2]] == [
        "registered 1.00 GiB page size, pre-allocated 2 pages",
        "1.00 GiB page size: 1 invalid page discarded",
    ]
    assert sorted(pfn // GIGANTIC for pfn in k.hugetlb.hstates[0].free_pages) == [3, 5]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(3, 14), min_size=1, max_size=3),
    st.integers(0, 6),
    st.integers(0, 40),
    st.sampled_from(sorted(STEPS)),
    st.booleans(),
)
def test_any_machine_and_request_checks(sizes: list[int], gigantic: int, normal: int, step: str, hvo: bool) -> None:
    memory, at = [], MIB
    for nid, size in enumerate(sizes):
        memory.append((at, at + size * 256 * MIB - (MIB if nid == 0 else 0), nid))
        at = memory[-1][1]
    append = f"hugepagesz=1G hugepages={gigantic} hugepagesz=2M hugepages={normal} hugetlb_free_vmemmap={int(hvo)}"
    k = boot(fake_kernel(memory, append=append, vmemmap="window", behaviour=STEPS[step]))
    assert len(k.hugetlb.optimized) in (0, sum(1 for _ in k.hugetlb.folios()))


# hugetlb_cma=


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2G", (2 * GIB, {})),
        ("0:1G,1:2G", (3 * GIB, {0: GIB, 1: 2 * GIB})),
        ("0:1G,x", (GIB, {0: GIB})),
        ("0:1G;1:1G", (GIB, {0: GIB})),
        ("4096:1G", (0, {})),
        ("", (0, {})),
        ("x", (0, {})),
    ],
)
def test_cma_grammar(text: str, expected: tuple[int, dict[int, int]]) -> None:
    assert parse_hugetlb_cma(text) == expected


def cma_boot(memory: list[tuple[int, int, int]], append: str, **behaviour: Any) -> FakeKernel:
    config = {"CONFIG_CMA": True, "CONFIG_DMA_CMA": True}
    k = fake_kernel(memory, append=append, vmemmap="window", config=config, behaviour=behaviour)
    booted(k)
    hugetlb_parse_cmdline(k)
    memblock_free_all(k)
    return k


@pytest.mark.parametrize(
    ("append", "lines"),
    [
        (
            "hugetlb_cma=3G",
            [
                "hugetlb_cma: reserve 3072 MiB, up to 1024 MiB per node",
                "cma: Reserved 1024 MiB at 0x00000000c0000000 on node 0",
                "hugetlb_cma: reserved 1024 MiB on node 0",
                "cma: Reserved 1024 MiB at 0x0000000140000000 on node 1",
                "hugetlb_cma: reserved 1024 MiB on node 1",
                "cma: Reserved 1024 MiB at 0x0000000240000000 on node 2",
                "hugetlb_cma: reserved 1024 MiB on node 2",
            ],
        ),
        (
            "hugetlb_cma=1:2G,9:1G,2:1M",
            [
                "hugetlb_cma: cma area of node 2 should be at least 1024 MiB",
                "hugetlb_cma: invalid node 9 specified",
                "cma: Reserved 2048 MiB at 0x0000000140000000 on node 1",
                "hugetlb_cma: reserved 2048 MiB on node 1",
            ],
        ),
        ("hugetlb_cma=64M", ["hugetlb_cma: cma area should be at least 1024 MiB"]),
        (
            "hugetlb_cma=0:8G",
            [
                "cma: Failed to reserve 8192 MiB on node 0",
                "hugetlb_cma: reservation failed: err -12, node 0",
            ],
        ),
        ("cma=64M", ["cma: Reserved 64 MiB at 0x0000000100200000 on node -1"]),
    ],
)
def test_cma_lines(append: str, lines: list[str]) -> None:
    k = cma_boot(FOUR_NODES, append, cma_line_node=True)
    assert [line for line in k.lines if "cma" in line] == lines


def test_cma_lines_named_no_node_once() -> None:
    lines = cma_boot(FOUR_NODES, "cma=64M hugetlb_cma=0:8G").lines
    assert "cma: Reserved 64 MiB at 0x0000000100200000" in lines
    assert "cma: Failed to reserve 8192 MiB" in lines and "hugetlb_cma: reservation failed: err -12, node 0" in lines


def test_cma_memory_goes_to_the_buddy_lists() -> None:
    k = cma_boot(FOUR_NODES, "hugetlb_cma=1:2G cma=64M")
    free, total = k.page_alloc.nr_free_pages(), k.page_alloc.totalram_pages
    assert cma_pages(k) == (2 * GIB + 64 * MIB) // PAGE_SIZE
    assert k.cma.hugetlb_size == 2 * GIB
    cma_init_reserved_areas(k)
    assert k.page_alloc.nr_free_pages() - free == cma_pages(k) == k.page_alloc.totalram_pages - total
    k.page_alloc.check()
    result = check_memmap(k)
    assert result.ok, result.message


def test_without_cma_nobody_knows_the_parameter() -> None:
    k = boot(fake_kernel(SMALL, append="hugetlb_cma=1G cma=64M hugepagesz=1G hugepages=1"))
    assert not k.cma.areas
    assert len(k.hugetlb.hstates[0].free_pages) == 1


# variants


def test_histories_are_variants_off_the_ladder() -> None:
    variants = load_variants()
    names = [name for name in variants if name.startswith("hugetlb-")]
    assert names == [
        *("hugetlb-6.6", "hugetlb-6.7", "hugetlb-6.9", "hugetlb-6.15"),
        *("hugetlb-2m-6.6", "hugetlb-2m-6.7", "hugetlb-2m-6.9", "hugetlb-2m-6.15"),
    ]
    assert not any(variants[name].ladder for name in names)
    assert variants["hugetlb-6.15"].behaviour["hugetlb_tail_skip"]
