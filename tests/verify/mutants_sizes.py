"""Wrong zones, nodes, watermarks, ranges and links."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from minikern.state.memblock import Region
from tests.verify.mutants import FLAGS, Rule, other, row, zones


def zone_field(k: Any, r: Random) -> str | None:
    zone, name = r.choice(zones(k)), r.choice(("start_pfn", "spanned_pages", "present_pages", "managed_pages"))
    setattr(zone, name, getattr(zone, name) + r.choice((-1, 1)))
    return f"zone {zone.nid}/{zone.name}: {name} one off"


def zone_fields_exchanged(k: Any, r: Random) -> str | None:
    zone = r.choice(zones(k))
    one, two = r.sample(("spanned_pages", "present_pages", "managed_pages"), 2)
    a, b = getattr(zone, one), getattr(zone, two)
    setattr(zone, one, b)
    setattr(zone, two, a)
    return f"zone {zone.nid}/{zone.name}: {one} and {two} exchanged" if a != b else None


def managed_of_another_zone(k: Any, r: Random) -> str | None:
    one, two = r.choice(zones(k)), r.choice(zones(k))
    if one.managed_pages == two.managed_pages:
        return None
    one.managed_pages, two.managed_pages = two.managed_pages, one.managed_pages
    return "managed pages of two zones swapped; their sum is right"


def zone_border_moved(k: Any, r: Random) -> str | None:
    """Two zones' border one page off, sizes and pages along with it."""
    pairs = [(a, b) for a in zones(k) for b in zones(k) if a.nid == b.nid and a.end_pfn == b.start_pfn]
    if not pairs:
        return None
    low, high = r.choice(pairs)
    pfn = high.start_pfn
    words = row(k, pfn)
    low.spanned_pages, low.present_pages = low.spanned_pages + 1, low.present_pages + 1
    high.start_pfn, high.spanned_pages, high.present_pages = pfn + 1, high.spanned_pages - 1, high.present_pages - 1
    if words is not None:
        shift = k.page_alloc.pages.flags.zones_shift
        words[FLAGS] ^= np.uint64((low.index ^ high.index) << shift)
    return f"border of zones {low.name} and {high.name} of node {low.nid} one page up"


def node_span(k: Any, r: Random) -> str | None:
    node, name = r.choice([node for node in k.nodes if node.end_pfn]), r.choice(("start_pfn", "end_pfn"))
    setattr(node, name, getattr(node, name) + r.choice((-1, 1)))
    return f"node {node.nid}: {name} one off"


def total_pages(k: Any, r: Random) -> str | None:
    k.page_alloc.totalram_pages += r.choice((-1, 1, 512))
    return "totalram is off"


def watermark_of_another_zone(k: Any, r: Random) -> str | None:
    one, two = r.choice(zones(k)), r.choice(zones(k))
    a, b = ((zone.nid, zone.index) for zone in (one, two))
    if k.page_alloc.wmarks[a] == k.page_alloc.wmarks[b]:
        return None
    k.page_alloc.wmarks[a] = k.page_alloc.wmarks[b]
    return f"zone {one.nid}/{one.name} has the watermarks of {two.nid}/{two.name}"


def watermark_off(k: Any, r: Random) -> str | None:
    zone = r.choice(zones(k))
    key, at = (zone.nid, zone.index), r.randrange(4)
    marks = list(k.page_alloc.wmarks[key])
    marks[at] += r.choice((-1, 1))
    k.page_alloc.wmarks[key] = type(k.page_alloc.wmarks[key])(*marks)
    return f"zone {zone.nid}/{zone.name}: watermark {at} one off"


def kept_free(k: Any, r: Random) -> str | None:
    k.page_alloc.min_free_kbytes += r.choice((-400, 400))
    return "min_free_kbytes is not what watermarks were made from"


def lowmem_reserve(k: Any, r: Random) -> str | None:
    found = [(key, at) for key, pages in k.page_alloc.lowmem_reserve.items() for at, one in enumerate(pages) if one]
    if not found:
        return None
    key, at = r.choice(found)
    k.page_alloc.lowmem_reserve[key][at] += r.choice((-1, 1))
    return f"zone {key}: reserve against zone {at} one off"


def memory_off_by_one(k: Any, r: Random) -> str | None:
    regions = k.memblock.memory.regions
    at = r.randrange(len(regions))
    base, end, nid, flags = regions[at]
    base, end = r.choice(((base + 4096, end), (base, end - 4096), (base, end + 4096)))
    regions[at] = Region(base, end, nid, flags)
    return f"memory {at} is {base:#x}..{end:#x}"


def memory_beyond_the_map(k: Any, r: Random) -> str | None:
    """One page more at the end of memory, known to everybody but the firmware."""
    base, end, nid, flags = k.memblock.memory.regions[-1]
    node = next(node for node in k.nodes if node.nid == max(nid, 0))
    if end % (128 << 20) == 0 or end % 4096:
        return None
    zone = next(zone for zone in reversed(node.zones) if zone.present_pages)
    k.memblock.memory.regions[-1] = Region(base, end + 4096, nid, flags)
    k.memblock.reserved.regions.append(Region(end, end + 4096, -1, 0))
    k.memblock.reserved.regions.sort()
    node.end_pfn, zone.spanned_pages, zone.present_pages = (
        node.end_pfn + 1, zone.spanned_pages + 1, zone.present_pages + 1)  # fmt: skip
    return f"memory at {end:#x} that is in no map"


def memory_of_another_node(k: Any, r: Random) -> str | None:
    regions = k.memblock.memory.regions
    at = r.randrange(len(regions))
    nid = other(r, [node.nid for node in k.nodes], regions[at].nid)
    if nid is None:
        return None
    regions[at] = regions[at]._replace(nid=nid)
    return f"memory {at} is on node {nid}"


def link(k: Any, r: Random) -> str | None:
    links = k.page_alloc.pages._links
    at = r.randrange(len(links))
    item = links[at]
    if not list(k.vmemmap.valid_ranges(item.start, item.end)):
        return None
    what = r.choice(("zone", "nid", "end"))
    value = {"zone": item.zone + 1, "nid": item.nid + 1, "end": item.end - 1}[what]
    if what == "end" and not k.vmemmap.pfn_valid(item.end - 1):
        return None
    links[at] = item._replace(**{what: value})
    return f"pages {item.start:#x}..{item.end:#x} are linked to a wrong {what}"


def fallback(k: Any, r: Random) -> str | None:
    found = [order for order in k.page_alloc.fallback_order.values() if len(order) > 1]
    if not found:
        return None
    order = r.choice(found)
    if r.random() < 0.5:
        order[0], order[1] = order[1], order[0]
    else:
        order.pop()
    return f"a node falls back to {order}"


RULES: tuple[Rule, ...] = (
    zone_field, zone_fields_exchanged, managed_of_another_zone, zone_border_moved, node_span, total_pages,
    watermark_of_another_zone, watermark_off, kept_free, lowmem_reserve, memory_off_by_one, memory_beyond_the_map,
    memory_of_another_node, link, fallback,
)  # fmt: skip
