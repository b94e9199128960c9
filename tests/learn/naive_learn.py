"""The lessons' questions answered a second way: from what the text gives, by schoolbook arithmetic."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

Given = dict[str, Any]


def e820_usable(g: Given) -> int:
    return 639 + (g["memory_mib"] - 2) * 1024


def e820_overlap(g: Given) -> int:
    kinds = {}
    for low, high, kind in g["entries"]:
        for mib in range(low >> 20, high >> 20):
            kinds[mib] = max(kind, kinds.get(mib, 0))
    return 1024 * sum(kind == 1 for kind in kinds.values())


def taken(g: Given) -> set[int]:
    return {page for low, high in g["ranges"] for page in range(low, high)}


def memblock_regions(g: Given) -> int:
    pages = taken(g)
    return sum(page - 1 not in pages for page in pages)


def memblock_top_down(g: Given) -> int:
    pages = taken(g)
    for place in range(0x2000 - g["pages"], 0, -1):
        if place % g["align"] == 0 and not pages & set(range(place, place + g["pages"])):
            return place * 4096
    raise AssertionError("no room")


def numa_fallback(g: Given) -> list[int]:
    return sorted(range(4), key=lambda node: g["distances"][node])


def numa_owner(g: Given) -> int:
    end = 0
    for node, mib in enumerate(g["sizes_mib"]):
        end += mib << 20
        if g["address"] < end:
            return node
    raise AssertionError("behind the last node")


def struct_page_node(g: Given) -> int:
    return (g["sizes_mib"][1] - 1) * 256


def struct_page_map(g: Given) -> int:
    last_mib_of_ram = sum(g["sizes_mib"]) - 2
    return (last_mib_of_ram // 128 + 1) * 2048


def zones_dma32(g: Given) -> int:
    return (g["memory_mib"] - 1 - 16) * 256


def zones_blocks(g: Given) -> int:
    count, pfn = 0, g["start"]
    while pfn < g["end"]:
        order = max(o for o in range(11) if pfn % 2**o == 0 and pfn + 2**o <= g["end"])
        count += order == g["order"]
        pfn += 2**order
    return count


def deferral_chunks(g: Given) -> int:
    share = max(g["sections"] * 32768 // (min(g["sections"], g["threads"]) * 4), 32768)
    chunk = -(-share // 32768)
    first, end = g["section"], g["section"] + g["sections"]
    if min(g["sections"], g["threads"]) == 1:
        return 1
    return len({section // chunk for section in range(first, end)})


def deferral_cost(g: Given) -> float:
    return -(-(g["memory_mib"] - 1) // 128) * 32768 * g["unit_ns"] / 1000


def hugepages_hvo(g: Given) -> int:
    return sum(g["counts"]) * (512 * 64 // 1024 - 4)


def hugepages_tails(g: Given) -> int:
    return g["counts"][1] * 511


def smp_order(g: Given) -> int:
    primaries, siblings = range(2, g["count"], 2), range(1, g["count"], 2)
    return [*primaries, *siblings][g["which"] - 1]


def smp_online(g: Given) -> int:
    return {"dead": g["count"] - 1, "nosmt": g["count"] // 2}.get(g["kind"], g["number"])


def tsc_lpj(g: Given) -> int:
    return g["khz"] * 1000 // g["hz"]


def tsc_sync(g: Given) -> int:
    return sum(20 for package in range(g["sockets"]) if package)


def acpi_checksum(g: Given) -> int:
    total = 0
    for byte in g["data"]:
        total += byte
    return next(value for value in range(256) if (total + value) % 256 == 0)


def acpi_method(g: Given) -> int:
    return (g["argument"] & g["mask"]) * 2 ** g["shift"] + g["offset"]


def pci_bar(g: Given) -> int:
    wired = bin(g["read_back"] // 16 * 16)[2:]
    return int(2 ** (len(wired) - len(wired.rstrip("0"))))


def pci_ecam(g: Given) -> int:
    functions = (g["bus"] * 32 + g["device"]) * 8 + g["function"]
    return int(g["base"] + functions * 4096 + g["register"])


def kexec_entries(g: Given) -> int:
    words = sum(g["pages"]) + len(g["pages"]) + 1
    # The first word of all, which stands in the head, becomes the link to the first page.
    pages, left = 1, words
    while left > 512 - (left > 512):
        left -= 511
        pages += 1
    return pages


def kexec_avalanche(g: Given) -> int:
    data = bytes(g["data"])
    number = int.from_bytes(data, "little") ^ 1 << g["bit"]
    other = hashlib.sha256(number.to_bytes(len(data), "little")).digest()
    return sum(bin(a ^ b).count("1") for a, b in zip(hashlib.sha256(data).digest(), other, strict=True))


def kho_key(g: Given) -> int:
    number = g["phys"] // (4096 * 2 ** g["order"])
    bits = "1" + "0" * (52 - g["order"])
    return int(bits, 2) + int(number)


def kho_blocks(g: Given) -> int:
    count, pfn = 0, g["start"]
    while pfn < g["end"]:
        size = max(2**o for o in range(14) if pfn % 2**o == 0 and pfn + 2**o <= g["end"])
        pfn, count = pfn + size, count + 1
    return count


def measuring_band(g: Given) -> float:
    square = sum((Fraction(ms) * Fraction(share)) ** 2 for ms, share in zip(g["ms"], g["spread"], strict=True))
    total = float(sum(g["ms"]))
    return total * 2.718281828459045 ** (1.2816 * float(square) ** 0.5 / total)


def measuring_bandwidth(g: Given) -> float:
    alone = g["own_ns"] * g["pages"]
    shared = g["store_ns"] * g["pages"] * g["threads"]
    return float(max(alone, shared) / 1000)


SECOND_WAYS: dict[str, Callable[[Given], Any]] = {
    name.replace("_", "-"): function
    for name, function in list(globals().items())
    if callable(function) and getattr(function, "__module__", "") == __name__ and name != "taken"
}
