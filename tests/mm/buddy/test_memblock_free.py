from __future__ import annotations

from minikern.mm.buddy.memblock_free import (
    deferred_grow_zone,
    memblock_free_all,
    register_page_bootmem_info,
    reserved_by_node,
)
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, booted, fake_kernel, map_frame

PAGE = 4096
NO_DEFER = {"CONFIG_DEFERRED_STRUCT_PAGE_INIT": False}
LOW = [(0x1000, 0x9F000, 0), (1 * MIB, 200 * MIB, 0)]
RESERVED = [(0, 0x1000), (0x9F000, 1 * MIB), (16 * MIB + 100, 20 * MIB + 5000), (30 * MIB + 10, 30 * MIB + 20)]


def free_pages_of(k: object) -> int:
    ranges = k.memblock.free_ranges()  # type: ignore[attr-defined]
    return sum(max(0, end // PAGE - -(-start // PAGE)) for start, end, _ in ranges)


def test_everything_is_freed_or_reserved() -> None:
    k = booted(fake_kernel(LOW, RESERVED, config=NO_DEFER))
    expected = free_pages_of(k)
    assert memblock_free_all(k) == expected == k.page_alloc.totalram_pages == k.page_alloc.nr_free_pages()
    assert sum(z.managed_pages for z in k.nodes[0].zones) == expected
    assert k.charges["struct_page_free"] == expected
    assert k.charges["reserved_page_init"] == 0
    k.page_alloc.check()
    result = check_memmap(k)
    assert result.ok, result.message
    assert result.checked == 2 * 32768
    for pfn, reserved in ((4096, True), (5121, True), (5122, False), (7680, True), (7681, False)):
        assert bool(int(k.vmemmap.page(pfn)["flags"]) & 0x1000) is reserved


def test_a_page_shared_by_two_reservations_is_marked_twice() -> None:
    k = booted(fake_kernel(LOW, [(50 * MIB, 50 * MIB + 10), (50 * MIB + 20, 50 * MIB + 30)], config=NO_DEFER))
    before = sum(-(-r.end // PAGE) - r.base // PAGE for r in k.memblock.reserved_regions())
    memblock_free_all(k)
    assert k.charges["reserved_page_set"] == before


def test_deferred_memory_waits_but_counts() -> None:
    k = booted(fake_kernel([(0, 700 * MIB, 0)], [(650 * MIB, 660 * MIB)]))
    first = k.nodes[0].first_deferred_pfn
    assert first == 2 * 32768, "16 MiB is no section border, so a section and a bit"
    expected = free_pages_of(k)
    assert memblock_free_all(k) == expected == k.page_alloc.totalram_pages
    assert k.page_alloc.nr_free_pages() == first
    assert k.charges["reserved_page_init"] >= 10 * 256
    assert int(k.vmemmap.page(650 * 256)["flags"]) & 0x1000
    result = check_memmap(k)
    assert result.ok, result.message
    assert result.skipped == expected - k.page_alloc.nr_free_pages()


def test_noinit_ranges_are_left_out() -> None:
    k = fake_kernel([(0, 1 * GIB, 0)])
    k.memblock.reserve(512 * MIB, 64 * MIB)
    k.memblock.reserved_mark_noinit(512 * MIB + PAGE, 64 * MIB - PAGE)
    booted(k)
    memblock_free_all(k)
    assert int(k.vmemmap.page(512 * 256)["flags"]) & 0x1000
    assert k.vmemmap.row(512 * 256 + 1) is None
    assert k.vmemmap.row(575 * 256) is None


def test_reserved_ranges_get_the_node_of_their_memory() -> None:
    ranges = [(1 * MIB, 100 * MIB, 0), (100 * MIB, 200 * MIB, 1)]
    k = fake_kernel(ranges, [(99 * MIB, 101 * MIB), (240 * MIB, 241 * MIB)])
    parts = reserved_by_node(k)
    for address, nid in ((99 * MIB, 0), (100 * MIB - 1, 0), (100 * MIB, 1), (240 * MIB, 0)):
        assert [part.nid for part in parts if part.base <= address < part.end] == [nid]
    assert sum(part.size for part in parts) == sum(region.size for region in k.memblock.reserved_regions())


def test_firmware_pages_beyond_deferred_memory_keep_their_zone() -> None:
    # As on a two-node machine whose node 0 ends below 2 GiB: tables are reserved behind its last RAM page.
    k = booted(fake_kernel([(0, 300 * MIB, 0), (384 * MIB, 512 * MIB, 1)], [(300 * MIB + 100, 301 * MIB)]))
    memblock_free_all(k)
    page = int(k.vmemmap.page(300 * 256)["flags"])
    flags = k.page_alloc.pages.flags
    assert (flags.nid(page), flags.zone(page), bool(page & 0x1000)) == (1, 1, True)


def test_window_gives_the_same_accounting() -> None:
    results = []
    for backing in ("full", "window"):
        k = fake_kernel([(0, 700 * MIB, 0)], RESERVED, config=NO_DEFER)
        if backing == "window":
            memmaps = k.vmemmap.memmaps
            k.vmemmap = type(k.vmemmap)(k.vmemmap.sections, slots=2 * 32768)
            k.vmemmap.memmaps = memmaps
        booted(k)
        memblock_free_all(k)
        register_page_bootmem_info(k)
        result = check_memmap(k)
        assert result.ok, result.message
        assert result.checked + result.skipped == 6 * 32768
        k.page_alloc.check()
        results.append((k.charges, k.lines, k.page_alloc.buddyinfo(), k.machine.clock.now))
    assert results[0] == results[1]


def test_pages_of_the_memory_map_are_marked() -> None:
    k = booted(fake_kernel([(0, 300 * MIB, 0)], config=NO_DEFER))
    memblock_free_all(k)
    assert register_page_bootmem_info(k) == 3 * 512 == k.charges["bootmem_info_page"]
    page = k.vmemmap.page(map_frame(k, 2) + 5)
    assert (int(page["refcount"]), int(page["private"]), int(page["index"])) == (2, 2, 12)
    assert int(page["flags"]) & 0x3000 == 0x3000
    result = check_memmap(k)
    assert result.ok, result.message
    off = booted(fake_kernel([(0, 100 * MIB, 0)], config={**NO_DEFER, "CONFIG_HAVE_BOOTMEM_INFO_NODE": False}))
    memblock_free_all(off)
    assert register_page_bootmem_info(off) == 0


def test_growing_a_zone_that_ran_dry() -> None:
    k = booted(fake_kernel([(4 * GIB, 4 * GIB + 512 * MIB, 0)], [(4 * GIB, 4 * GIB + 128 * MIB)]))
    memblock_free_all(k)
    assert k.page_alloc.nr_free_pages() == 0
    assert k.nodes[0].first_deferred_pfn == 0x108000
    pfn = k.page_alloc.alloc_pages(10)
    assert pfn is not None
    assert k.nodes[0].first_deferred_pfn == 0x110000
    assert k.charges["deferred_page_init"] == 32768
    result = check_memmap(k)
    assert result.ok, result.message
    while k.page_alloc.alloc_pages(10) is not None:
        pass
    assert not deferred_grow_zone(k, k.nodes[0].zones[2], 0)
