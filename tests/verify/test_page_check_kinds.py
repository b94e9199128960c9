"""Every kind of damage that the verifier promises to find, planted one at a time into a machine that was right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minikern.mm.buddy.memblock_free import memblock_free_all, register_page_bootmem_info
from minikern.mm.hugetlb.hugetlb import hugetlb_init, hugetlb_parse_cmdline
from minikern.mm.map.deferred import page_alloc_init_late
from minikern.verify.page_check import check_memmap
from tests.mm.fake_kernel import GIB, MIB, FakeKernel, booted, fake_kernel

pytestmark = pytest.mark.big

LOW = [(0x1000, 0x9F000, 0), (1 * MIB, 300 * MIB, 0)]
MEMORY = [*LOW, (1 * GIB, 2 * GIB + 128 * MIB, 0), (3 * GIB, 3 * GIB + 256 * MIB, 1)]
RESERVED = [(0, 0x1000), (0x9F000, 1 * MIB), (50 * MIB, 51 * MIB)]
HUGE = GIB >> 12  # pfn of the gigantic page
FREE_PFN = 200 * 256 + 3
RESERVED_PFN = 50 * 256 + 7
HOLE_PFN = 310 * 256


def machine() -> FakeKernel:
    append = "hugetlb_free_vmemmap=on hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=2"
    k = booted(fake_kernel(MEMORY, RESERVED, append=append, behaviour={"hugetlb_tail_skip": True}))
    hugetlb_parse_cmdline(k)
    memblock_free_all(k)
    register_page_bootmem_info(k)
    page_alloc_init_late(k)
    hugetlb_init(k)
    k.page_alloc.alloc_pages(3)
    return k


def test_the_machine_is_right() -> None:
    k = machine()
    result = check_memmap(k)
    assert result.ok, result.message
    assert HUGE in k.hugetlb.optimized
    assert result.without == {"memory map given back": 262144 - 64 + 2 * (512 - 64)}
    assert "struct pages compared" in str(result)
    assert "memory map given back" in str(result)


def flip(pfn: int, word: int, bits: int) -> Callable[[FakeKernel], None]:
    def damage(k: FakeKernel) -> None:
        slot = int(k.vmemmap.section_slot[pfn // 32768]) + pfn % 32768
        k.vmemmap.words[slot, word] ^= np.uint64(bits)

    return damage


def area(k: FakeKernel, nid: int = 0) -> Any:
    return k.page_alloc.areas[nid, 1]


def small_block(k: FakeKernel) -> tuple[int, int, int]:
    """A free block below the highest order: pfn, order, type."""
    pfn, (order, migratetype) = min(area(k).where.items())
    return pfn, order, migratetype


def block_on_a_second_list(k: FakeKernel) -> None:
    pfn, order, migratetype = small_block(k)
    area(k).small[order][(migratetype + 1) % 3][pfn] = None


def block_off_its_list(k: FakeKernel) -> None:
    pfn, order, migratetype = small_block(k)
    del area(k).small[order][migratetype][pfn]


def block_gone(k: FakeKernel) -> None:
    area(k).remove(small_block(k)[0])


def block_of_another_zone(k: FakeKernel) -> None:
    pfn, order, migratetype = small_block(k)
    area(k).remove(pfn)
    area(k, 1).add(pfn, order, migratetype, tail=True)


def block_not_aligned(k: FakeKernel) -> None:
    pfn, order, migratetype = next((p, o, m) for p, (o, m) in sorted(area(k).where.items()) if o > 0)
    area(k).remove(pfn)
    area(k).add(pfn + 1, order, migratetype, tail=True)


def buddies_not_merged(k: FakeKernel) -> None:
    pfn, order, migratetype = next((p, o, m) for p, (o, m) in sorted(area(k).where.items()) if o > 0)
    area(k).remove(pfn)
    area(k).add(pfn, order - 1, migratetype, tail=True)
    area(k).add(pfn + (1 << (order - 1)), order - 1, migratetype, tail=True)


def wrong_order_on_page(k: FakeKernel) -> None:
    pfn, _, _ = small_block(k)
    flip(pfn, 5, 1)(k)


def stretch_too_long(k: FakeKernel) -> None:
    stretches = area(k, 1).largest[1]
    stretches[-1] = (stretches[-1][0], stretches[-1][1] + 1)


def stretch_twice(k: FakeKernel) -> None:
    area(k).largest[1].append(area(k).largest[1][0])


def stretch_of_nothing(k: FakeKernel) -> None:
    area(k, 1).largest[1].append((area(k, 1).largest[1][0][0], 0))


def stretch_of_another_type(k: FakeKernel) -> None:
    stretches = area(k).largest
    stretches[0].append(stretches[1].pop())


def pageblock_type(k: FakeKernel) -> None:
    pfn, _ = area(k, 1).largest[1][0]
    k.page_alloc.pageblock_types[pfn // 512] = 2


def free_count(k: FakeKernel) -> None:
    area(k).nr_free[4] += 1


def where_says_other_order(k: FakeKernel) -> None:
    pfn, order, migratetype = small_block(k)
    area(k).where[pfn] = (order + 1, migratetype)


def managed_pages(k: FakeKernel) -> None:
    k.nodes[1].zones[1].managed_pages -= 1


def present_pages(k: FakeKernel) -> None:
    k.nodes[0].zones[0].present_pages += 1


def totalram(k: FakeKernel) -> None:
    k.page_alloc.totalram_pages += 1


def lost_allocation(k: FakeKernel) -> None:
    k.page_alloc.allocated.popitem()


def allocation_also_free(k: FakeKernel) -> None:
    pfn, order = next(iter(k.page_alloc.allocated.items()))
    area(k, k.page_alloc.zone_of(pfn).nid).add(pfn, order, 0, tail=True)


def huge_page_forgotten(k: FakeKernel) -> None:
    k.hugetlb.hstates[0].free_pages.clear()


def fold_forgotten(k: FakeKernel) -> None:
    k.hugetlb.optimized.discard(HUGE)


def fold_writable(k: FakeKernel) -> None:
    first = HUGE // 64
    k.hugetlb.page_table._pte[first // 512][first % 512 + 77] |= 1


def fold_elsewhere(k: FakeKernel) -> None:
    first = HUGE // 64
    k.hugetlb.page_table._pte[first // 512][first % 512 + 99] += 2


def head_read_only(k: FakeKernel) -> None:
    first = HUGE // 64
    k.hugetlb.page_table._pte[first // 512][first % 512] &= ~1


def fold_not_in_the_map(k: FakeKernel) -> None:
    k.vmemmap._folded.clear()


def never_initialised(k: FakeKernel) -> None:
    slot = int(k.vmemmap.section_slot[FREE_PFN // 32768]) + FREE_PFN % 32768
    k.vmemmap.held.claim(slot, slot + 1, 9)


KINDS: dict[str, tuple[Callable[[FakeKernel], None], str]] = {
    "node": (flip(FREE_PFN, 0, 1 << 58),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 1 zone DMA32 no flags"),
    "zone": (flip(FREE_PFN, 0, 1 << 55),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA no flags"),
    "last cpu": (flip(FREE_PFN, 0, 1 << 45),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "flag set": (flip(FREE_PFN, 0, 1 << 3),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "free page reserved": (flip(FREE_PFN, 0, 1 << 12),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 reserved"),
    "reserved page not reserved": (flip(RESERVED_PFN, 0, 1 << 12),
        "pfn 0x3207: expected a reserved page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "hole not reserved": (flip(HOLE_PFN, 0, 1 << 12),
        "pfn 0x13600: expected a reserved page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "list next": (flip(FREE_PFN, 1, 64),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "list prev": (flip(FREE_PFN, 2, 64),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "mapping": (flip(FREE_PFN, 3, 1),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "index": (flip(FREE_PFN, 4, 1),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "private": (flip(FREE_PFN, 5, 1),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "map count": (flip(FREE_PFN, 6, 1),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "reference of a free page": (flip(FREE_PFN, 6, 1 << 32),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "reference of a reserved page": (flip(RESERVED_PFN, 6, 1 << 32),
        "pfn 0x3207: expected a reserved page of node 0 zone 1, came node 0 zone DMA32 reserved"),
    "memcg": (flip(FREE_PFN, 7, 1),
        "pfn 0xc803: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "order on the page": (wrong_order_on_page,
        "pfn 0x100b: expected a free page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "huge head lost its bit": (flip(HUGE, 0, 1 << 16),
        "pfn 0x40000: expected a huge head page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "huge head's state": (flip(HUGE, 5, 1 << 4),
        "pfn 0x40000: expected a huge head page of node 0 zone 1, came node 0 zone DMA32 head"),
    "order of the compound": (flip(HUGE + 1, 0, 1),
        "pfn 0x40001: expected a first huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "size of the compound": (flip(HUGE + 1, 4, 1),
        "pfn 0x40001: expected a first huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "deferred list": (flip(HUGE + 2, 2, 8),
        "pfn 0x40002: expected a second huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "tail's head": (flip(HUGE + 30, 1, 64),
        "pfn 0x4001e: expected a huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "tail's poison": (flip(HUGE + 63, 3, 1),
        "pfn 0x4003f: expected a huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "tail's reference": (flip(HUGE + 5, 6, 1 << 32),
        "pfn 0x40005: expected a huge tail page of node 0 zone 1, came node 0 zone DMA32 no flags"),
    "never initialised": (never_initialised, "pfn 0xc803: expected a free page, was never initialised"),
    "block on two lists": (block_on_a_second_list,
        "free block 0x100b order 0: it is on two lists, or overlaps block 0x100b order 0"),
    "block off its list": (block_off_its_list,
        "node 0 zone DMA32 order 0: 0 free blocks on the lists, nr_free says 1"),
    "block gone": (block_gone, "pfn 0x100b: memory that nobody owns"),
    "block of another zone": (block_of_another_zone,
        "free block 0x100b order 0: outside of node 1 zone DMA32, on whose list it is"),
    "block not aligned": (block_not_aligned, "free block 0x100d order 2: not aligned to its size"),
    "buddies not merged": (buddies_not_merged,
        "free block 0x100c order 1: its buddy is free, too, and was not merged with it"),
    "stretch too long": (stretch_too_long, "node 1 zone DMA32 order 10: 62 free blocks on the lists, nr_free says 61"),
    "stretch twice": (stretch_twice,
        "free block 0x1400 order 10: it is on two lists, or overlaps block 0x1400 order 10"),
    "stretch of nothing": (stretch_of_nothing, "free block 0xc0400 order 10: a stretch of 0 blocks"),
    "stretch of another type": (stretch_of_another_type,
        "free block 0x80000 order 10: on the list of type 0, its pageblock has type 1"),
    "pageblock type": (pageblock_type, "free block 0xc0400 order 10: on the list of type 1, its pageblock has type 2"),
    "free count": (free_count, "node 0 zone DMA32 order 4: 2 free blocks on the lists, nr_free says 3"),
    "page says other order": (where_says_other_order,
        "free block 0x100b: lists have (order, type) (0, 0), its page (1, 0)"),
    "managed pages": (managed_pages,
        "node 1 zone DMA32: 64510 pages managed, but free, allocated and huge pages are 64511"),
    "present pages": (present_pages, "node 0 zone DMA: 3999 pages present, but memory has 3998"),
    "total pages": (totalram, "totalram is 433826 pages, managed and deferred are 433825"),
    "lost allocation": (lost_allocation,
        "node 0 zone DMA32: 365316 pages managed, but free, allocated and huge pages are 365308"),
    "allocation also free": (allocation_also_free, "pfn 0x1000: free block inside the allocation of pfn 0x1000"),
    "huge page forgotten": (huge_page_forgotten,
        "node 0 zone DMA32: 365316 pages managed, but free, allocated and huge pages are 103172"),
    "fold forgotten": (fold_forgotten,
        "pfn 0x40000: expected a huge head page of node 0 zone 1, came node 0 zone DMA32 head"),
    "fold writable": (fold_writable,
        "memory map of pfn 0x41340: expected a read-only alias of frame 0x1002, came writable frame 0x1002"),
    "fold elsewhere": (fold_elsewhere,
        "memory map of pfn 0x418c0: expected a read-only alias of frame 0x1002, came read-only frame 0x1003"),
    "head read-only": (head_read_only, "pfn 0x40000: the memory map of the head of a huge page is mapped read-only"),
    "fold not in the map": (fold_not_in_the_map,
        "pfn 0x3040: its memory map is folded to pfn 0x3000, but reads its own"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found(kind: str) -> None:
    damage, told = KINDS[kind]
    k = machine()
    damage(k)
    result = check_memmap(k)
    assert not result.ok, f"{kind}: not found"
    assert str(result) == f"check: wrong: {result.message}"
    page = re.search(r" flags=.* memcg_data=0x0:| flags=.* memcg_data=0x1:", result.message)
    assert result.message.replace(page[0] if page else "", "") == told
    if page or "initialised" in told:
        before = k.vmemmap.valid_ranges(0, result.first_wrong_pfn)
        assert result.checked + result.skipped == sum(end - start for start, end in before)
        assert told.startswith(f"pfn {result.first_wrong_pfn:#x}: expected a ")
    if page:
        row = k.vmemmap.page(result.first_wrong_pfn)
        assert f"private={int(row['private']):#x} mapcount={int(row['mapcount']) & 0xFFFFFFFF:#x} " in page[0]


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 30
