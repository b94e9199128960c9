"""``hugetlb_cma=``: gigantic pages are not taken at boot, but memory is kept from which they can be taken later.

Only kernels with CONFIG_CMA know the parameter. Source: mm/hugetlb.c:hugetlb_cma_reserve() @ v6.12, mm/cma.c @ v6.12
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hw.numbers import starts_with_digit
from hw.units import PAGE_SIZE
from minikern.core.cmdline import memparse
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level
from minikern.mm.buddy.cma import init_cma_reserved
from minikern.mm.buddy.memblock_free import free_to_buddy, zones_of
from minikern.state.hugetlb import CmaArea

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MIB = 1 << 20
FOUR_GIB = 4 << 30
GIGANTIC = 1 << 30  # the pages kept are of the size of a PUD; Source: arch/x86/kernel/setup.c:setup_arch() @ v6.12
PAGEBLOCK_BYTES = 2 * MIB  # Source: include/linux/cma.h:CMA_MIN_ALIGNMENT_BYTES
MAX_CMA_AREAS_NODES = 1024  # Source: include/linux/numa.h:MAX_NUMNODES with the largest CONFIG_NODES_SHIFT
ENOMEM = 12
_NODE = re.compile(r"(\d+):")


def parse_hugetlb_cma(text: str) -> tuple[int, dict[int, int]]:
    """``SIZE`` or ``node:SIZE[,node:SIZE]``: total bytes, and bytes by node.

    Reading stops at the first word that is neither. Source: mm/hugetlb.c:cmdline_parse_hugetlb_cma() @ v6.12
    """
    total, by_node, rest = 0, dict[int, int](), text
    while rest and starts_with_digit(rest):
        found = _NODE.match(rest)
        if found is None:
            return memparse(text)[0], by_node
        nid = int(found.group(1))
        if nid >= MAX_CMA_AREAS_NODES:
            break
        size, rest = memparse(rest[found.end() :])
        by_node[nid] = size
        total += size
        if not rest.startswith(","):
            break
        rest = rest[1:]
    return total, by_node


def early_cma(k: Kernel, value: str | None) -> bool:
    """``cma=`` needs a size. Source: kernel/dma/contiguous.c:early_cma() @ v6.12"""
    if value is None:
        k.printk("cma: Config string not provided", Level.ERR)
    return value is not None


def dma_contiguous_reserve(k: Kernel) -> None:
    """``cma=SIZE``: an area for everybody. Source: kernel/dma/contiguous.c:dma_contiguous_reserve() @ v6.12"""
    size = memparse(k.cmdline.get("cma") or "")[0]
    if size and k.config.enabled("CONFIG_DMA_CMA"):
        cma_declare_contiguous(k, size, PAGEBLOCK_BYTES, "reserved", -1)


def hugetlb_cma_reserve(k: Kernel, nodes: list[int]) -> None:
    """Reserve what ``hugetlb_cma=`` asks for, on ``nodes``, those that are online. Sets ``k.cma.hugetlb_size``.

    Needs a CPU with 1 GiB pages. Source: mm/hugetlb.c:hugetlb_cma_reserve() @ v6.12
    """
    text = k.cmdline.get("hugetlb_cma")
    if not text or not k.config.enabled("CONFIG_CMA"):
        return
    total, by_node = parse_hugetlb_cma(text)
    for nid, size in sorted(by_node.items()):
        complaint = _complaint(nid, size, nodes)
        if size and complaint:
            k.printk(complaint)
            total -= size
            by_node[nid] = 0
    if not total:
        return
    if total < GIGANTIC:
        k.printk(f"hugetlb_cma: cma area should be at least {GIGANTIC // MIB} MiB")
        return
    if _reserve(k, total, {nid: size for nid, size in by_node.items() if size}, nodes):
        k.cma.hugetlb_size = total


def _complaint(nid: int, size: int, nodes: list[int]) -> str:
    if nid not in nodes:
        return f"hugetlb_cma: invalid node {nid} specified"
    if size < GIGANTIC:
        return f"hugetlb_cma: cma area of node {nid} should be at least {GIGANTIC // MIB} MiB"
    return ""


def _reserve(k: Kernel, total: int, by_node: dict[int, int], nodes: list[int]) -> int:
    per_node = _round_up(-(-total // len(nodes)), GIGANTIC)
    if not by_node:
        k.printk(f"hugetlb_cma: reserve {total // MIB} MiB, up to {per_node // MIB} MiB per node")
    reserved = 0
    for nid in nodes:
        if by_node and nid not in by_node:
            continue
        size = _round_up(by_node[nid] if by_node else min(per_node, total - reserved), GIGANTIC)
        ranges = k.behaviour.hugetlb_cma_ranges  # since 6.15 it may lie in pieces
        if not cma_declare_contiguous(k, size, GIGANTIC, f"hugetlb{nid}", nid, ranges):
            k.printk(f"hugetlb_cma: reservation failed: err {-ENOMEM}, node {nid}")
            continue
        reserved += size
        k.printk(f"hugetlb_cma: reserved {size // MIB} MiB on node {nid}")
        if reserved >= total:
            break
    return reserved


def cma_declare_contiguous(k: Kernel, size: int, align: int, name: str, nid: int, ranges: bool = False) -> bool:
    """Keep ``size`` bytes for the contiguous allocator: above 4 GiB from the bottom up, or else anywhere from the top.

    Adds to ``k.cma.areas``; False if there is no room. Source: mm/cma.c:cma_declare_contiguous_nid() @ v6.12
    """
    size = _round_up(size, align)
    where = f" on node {nid}" if k.behaviour.cma_line_node else ""
    base = _bottom_up(k, size, align, nid) if k.memblock.end_of_dram() >= FOUR_GIB + size else None
    if base is None:
        base = k.memblock.alloc(size, align, nid=nid, exact_nid=True)
    if base is None:
        k.printk(f"cma: Failed to reserve {size // MIB} MiB{where}")
        return False
    at = "in 1 range" if ranges else f"at {base:#018x}{where}"
    k.printk(f"cma: Reserved {size // MIB} MiB {at}")
    k.cma.areas.append(CmaArea(base, size, name, nid))
    return True


def _bottom_up(k: Kernel, size: int, align: int, nid: int) -> int | None:
    # Source: mm/memblock.c:__memblock_find_range_bottom_up() @ v6.12
    for start, end, _ in k.memblock.free_ranges(nid):
        place = _round_up(max(start, FOUR_GIB), align)
        if place + size <= end:
            k.memblock.reserve(place, size)
            return int(place)
    return None


def cma_pages(k: Kernel) -> int:
    """Pages of all areas: what the Memory line calls cma-reserved."""
    areas: list[CmaArea] = k.cma.areas
    return sum(area.size for area in areas) // PAGE_SIZE


def cma_init_reserved_areas(k: Kernel) -> None:
    """Give the areas to the buddy allocator, for movable pages. An area in several zones becomes ordinary memory.

    Charges ``struct_page_free``. Source: mm/cma.c:cma_init_reserved_areas(), cma_activate_area() @ v6.12
    """
    for area in list(k.cma.areas):
        first, last = area.base // PAGE_SIZE, (area.base + area.size) // PAGE_SIZE
        nid = area.nid if area.nid >= 0 else k.page_alloc.zone_of(first).nid
        parts = list(zones_of(k.page_alloc.nodes[nid], first, last))
        if len(parts) == 1:
            init_cma_reserved(k, first, last)
            continue
        for zone, low, high in parts:
            k.page_alloc.set_movable(low, high)
            k.charge("struct_page_free", free_to_buddy(k.page_alloc, zone, low, high))
            k.page_alloc.release(low, high)
        k.cma.areas.remove(area)
        k.printk(f"cma: CMA area {area.name} could not be activated")


def _round_up(value: int, to: int) -> int:
    return -(-value // to) * to


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("cma", early_cma, read_by=dma_contiguous_reserve),
    early_param("hugetlb_cma", read_by=hugetlb_cma_reserve),
)
