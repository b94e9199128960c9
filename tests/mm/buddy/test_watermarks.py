"""Watermarks and reserves: figures from a captured machine's fields, and the rules one by one."""

from __future__ import annotations

from typing import Any

import pytest

from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.mm.buddy import watermarks
from minikern.mm.page.mmzone import ZONE_MOVABLE, ZONE_NORMAL, Pglist, Zone
from minikern.state.page_alloc import PageAlloc
from tests.mm.fake_kernel import fake_kernel
from tests.support import behaviour_of


def kernel(managed: list[int], **options: Any) -> Any:
    """One node whose zones manage these pages."""
    k = fake_kernel([(0x1000, 64 << 20, 0)], **options)
    zones = [Zone(index, 0, 0, count, count, count) for index, count in enumerate(managed)]
    k.nodes = [Pglist(0, 0, 1, zones)]
    k.page_alloc = PageAlloc(None, k.nodes, 0)  # type: ignore[arg-type]
    k.page_alloc.totalram_pages = sum(managed)
    return k


def test_the_first_watermarks_follow_the_square_root() -> None:
    k = kernel([3840, 95000, 0, 0, 0])
    watermarks.init_per_zone_wmark_min(k)
    assert k.page_alloc.min_free_kbytes == int((98840 * 4 * 16) ** 0.5)
    zone = k.nodes[0].zones[1]
    marks = watermarks.watermarks(k, zone)
    assert marks.min == k.page_alloc.min_free_kbytes // 4 * 95000 // 98840
    assert marks.low - marks.min == max(marks.min >> 2, 95000 * 10 // 10000)
    before = dict(k.page_alloc.wmarks)
    watermarks.hugepage_init(k)  # less than 512 MiB: nothing changes
    assert k.page_alloc.wmarks == before


def test_huge_pages_raise_them_by_zones_with_memory() -> None:
    k = kernel([3840, 494585, 0, 0, 0])
    watermarks.init_per_zone_wmark_min(k)
    watermarks.hugepage_init(k)
    assert k.page_alloc.min_free_kbytes == 512 * 2 * 11 * 4
    marks = watermarks.watermarks(k, k.nodes[0].zones[1])
    assert marks[:3] == (11177, 13971, 16765)


def test_without_transparent_huge_pages_what_is_kept_for_others_counts_less() -> None:
    k = kernel([3840, 494585, 0, 0, 0], append="transparent_hugepage=never")
    watermarks.init_per_zone_wmark_min(k)
    first = k.page_alloc.min_free_kbytes
    watermarks.hugepage_init(k)
    assert 0 < first - k.page_alloc.min_free_kbytes < 20


@pytest.mark.parametrize(("capped", "expected"), [(False, None), (True, 128)])
def test_movable_zones(capped: bool, expected: int | None) -> None:
    k = kernel([3840, 400000, 900000, 800000, 0])
    k.behaviour = behaviour_of("debian-6.12", movable_wmark_capped=capped)
    watermarks.init_per_zone_wmark_min(k)
    watermarks.hugepage_init(k)
    movable = watermarks.watermarks(k, k.nodes[0].zones[ZONE_MOVABLE]).min
    total = sum(watermarks.watermarks(k, zone).min for zone in k.nodes[0].zones if zone.index != ZONE_MOVABLE)
    kept = k.page_alloc.min_free_kbytes // 4
    assert movable == expected if expected else movable == kept * 800000 // 2103840
    assert 0 <= kept - total - (0 if capped else movable) < 4


def test_lowmem_reserve_counts_what_lies_above() -> None:
    k = kernel([3840, 400000, 900000, 320000, 0])
    watermarks.init_per_zone_wmark_min(k)
    reserve = k.page_alloc.lowmem_reserve
    assert reserve[0, 0] == [0, 400000 // 256, 1300000 // 256, 1620000 // 256, 1620000 // 256]
    assert reserve[0, ZONE_NORMAL] == [0, 0, 0, 320000 // 32, 320000 // 32]
    assert reserve[0, ZONE_MOVABLE] == [0] * 5


def test_a_boot_keeps_them_when_memory_comes_back() -> None:
    k = boot(load_preset("tiny")).kernel
    zone = k.nodes[0].zones[1]
    before = watermarks.watermarks(k, zone)
    managed = zone.managed_pages
    assert k.page_alloc.wmarks[0, 1] == before
    assert sum(z.managed_pages for z in k.nodes[0].zones) == k.page_alloc.totalram_pages
    assert managed > 0
