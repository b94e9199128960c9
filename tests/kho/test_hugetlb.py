"""Gigantic pages beside Kexec HandOver: what they make of scratch, and where the next kernel finds room for them."""

from __future__ import annotations

import pytest

from hw.units import GIB, MIB, PAGE_SHIFT
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_preset
from minikern.kexec.load import Kexec
from minikern.kho import preserve
from minikern.lab.kexec import Rebooted, reboot
from minikern.lab.run import Boot, boot
from minikern.state.memblock import Flags, Memblock
from tests.kexec.images import make_bzimage
from tests.support import texts

PAGES = "hugepagesz=1G hugepages=2"
SIZES = "kho_scratch=64M,64M,64M"
NONE_LEFT = "KHO: Failed to reserve global scratch buffer"


def machine() -> Case:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(cpus="2", numa=["4G,cpus=0", "4G,cpus=1"]))
    return spec


def cold(release: str, words: str) -> Boot:
    return boot(machine(), release=release, append=f"kho=on {words}")


def again(first: Boot) -> Rebooted:
    version = first.kernel.release.version.encode() + b"-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"
    kernel = bytes(make_bzimage(init_size=0x1000000, version=version))
    return reboot(first, Kexec(first.kernel).kexec_file_load(kernel, b"initrd", first.kernel.cmdline.text))


def places_of(done: Boot) -> list[int]:
    regions = [region for region in done.kernel.memblock.reserved_regions() if region.flags & Flags.HUGETLB]
    return [place for region in regions for place in range(region.base, region.end, GIB) if not place % GIB]


def test_default_scratch_counts_gigantic_pages_until_7_2() -> None:
    """Twice 2 GiB beside what else is reserved fits on neither of two nodes of 4 GiB: 7.2 gives Kexec HandOver up."""
    old, new = cold("kho-7.2", PAGES), cold("kho-7.3", PAGES)
    without = cold("kho-7.3", "")
    assert [text for text in texts(old) if text.startswith("KHO:")] == [
        NONE_LEFT, "KHO: Failed to reserve scratch area, disabling kexec handover"
    ]  # fmt: skip
    assert old.kernel.kho.scratch == [] and not old.kernel.kho.enabled and old.kernel.kho.outgoing is None
    assert not any(text.startswith("KHO:") for text in texts(new))
    sizes = [[area.size for area in done.kernel.kho.scratch] for done in (new, without)]
    assert len(sizes[0]) == 4 and sum(sizes[0]) < GIB
    assert abs(sum(sizes[0]) - sum(sizes[1])) < 64 * MIB, "huge pages change nothing but what they displace"
    for done in (old, new):
        assert "HugeTLB: registered 1.00 GiB page size, pre-allocated 2 pages" in texts(done)


def test_7_2_has_no_room_for_them_in_scratch() -> None:
    second = again(cold("kho-7.2", f"{PAGES} {SIZES}"))
    log = texts(second.boot)
    assert second.boot.kernel.kho.incoming is not None
    assert "HugeTLB: allocating 2 of page size 1.00 GiB failed.  Only allocated 0 hugepages." in log
    assert second.boot.kernel.memblock.reserved_kern_bytes() < GIB


def test_7_3_puts_them_where_nothing_was_kept() -> None:
    """Not into the areas of the first kernel, not onto kept memory, which makes its own gigabyte unfit."""
    first = cold("kho-7.3", f"{PAGES} {SIZES}")
    k = first.kernel
    pfn = k.page_alloc.alloc_pages(0, 1)
    assert pfn is not None
    preserve.preserve_pages(k, pfn, 1)
    second = again(first)
    kept = pfn << PAGE_SHIFT
    assert "HugeTLB: registered 1.00 GiB page size, pre-allocated 2 pages" in texts(second.boot)
    assert len(places_of(second.boot)) == 2
    for place in places_of(second.boot):
        assert place % GIB == 0 and not place <= kept < place + GIB
        assert not any(place < area.addr + area.size and area.addr < place + GIB for area in k.kho.scratch)
    assert not second.lost


@pytest.mark.parametrize("bottom_up", [False, True])
def test_a_huge_page_touches_no_scratch_area(bottom_up: bool) -> None:
    """Against a search of all aligned places."""
    memblock = Memblock()
    memblock.bottom_up = bottom_up
    memblock.add(MIB, 16 * MIB)
    memblock.set_node(0, 10 * MIB, 0)
    memblock.set_node(10 * MIB, 64 * MIB, 1)
    memblock.reserve(6 * MIB, 4096)
    areas = [(2 * MIB + 4096, 8192), (14 * MIB, 2 * MIB)]

    def free(place: int) -> bool:
        busy = [*areas, *((region.base, region.size) for region in memblock.reserved_regions())]
        inside = place >= MIB and place + 2 * MIB <= 17 * MIB
        return inside and not any(low < place + 2 * MIB and place < low + size for low, size in busy)

    while True:
        places = [place for place in range(0, 17 * MIB, 2 * MIB) if free(place)]
        on_node = [place for place in places if place >= 10 * MIB]
        wanted = on_node or places
        found = memblock.alloc_hugetlb(2 * MIB, 1, False, areas)
        assert found == (None if not wanted else min(wanted) if bottom_up else max(wanted))
        if found is None:
            return
        memblock.check()
