"""Questions on kexec, on memory that is handed over, and on measuring."""

from __future__ import annotations

from collections.abc import Generator
from random import Random
from typing import Any

import simpy

from hw.memory import PhysicalMemory
from hw.units import NS_PER_MS, PAGE_SIZE
from minikern.kexec.kimage import IND_INDIRECTION, Kimage
from minikern.kexec.segments import Segment
from minikern.kexec.sha256 import sha256_generic
from minikern.kho.radix import blocks_of_range, encode_key
from minikern.lab.bands import time_band
from minikern.lab.believed import EIGHTY_PERCENT, Doubts
from minikern.lab.spent import Spent
from minikern.learn.question import Asked, Question
from minikern.mm.map.deferred import NodeStore, PagePace

FREE_FROM = 0x1000_0000  # pages of the running kernel, far from every destination


def entry_pages(machine: Random, rng: Random) -> Asked:
    """How many pages the list of pages takes."""
    sizes = [rng.randrange(1, 700) for _ in range(rng.randrange(1, 4))]
    segments, at = [], 0x10_0000
    for number, pages in enumerate(sizes):
        segments.append(Segment(f"segment {number}", b"\1", at, pages * PAGE_SIZE))
        at += (pages + 16) * PAGE_SIZE
    memory = PhysicalMemory()
    image = Kimage(memory, segments, segments[0].mem, iter(range(FREE_FROM, 2 * FREE_FROM, PAGE_SIZE)))
    for segment in segments:
        image.load_segment(segment)
    image.terminate()
    told = ", ".join(map(str, sizes))
    return Asked(
        f"An image has {len(sizes)} segment(s) of {told} pages. Its list has a word for every segment's destination,"
        " one for every page, one that ends it; the first word is kept apart from the rest, which fill pages of 512"
        " words, the last word of a full page being the link to the next. How many pages of words are there?",
        {"pages": sizes},
        _pages_of_entries(memory, image.head),
        ("Count the words first: segments + pages + 1.", "The first is not in a page; a page that goes on holds 511."),
        "kimage_add_entry(): the relocation code walks this list with nothing but registers.",
    )


def _pages_of_entries(memory: PhysicalMemory, head: int) -> int:
    count, word = 0, head
    while word & IND_INDIRECTION:
        count += 1
        page = word & ~(PAGE_SIZE - 1)
        word = memory.read_int(page + PAGE_SIZE - 8, 8)
    return count + _has_entries(head)


def _has_entries(head: int) -> int:
    return 0 if head & IND_INDIRECTION else 1


def avalanche(machine: Random, rng: Random) -> Asked:
    """How many bits of a digest change."""
    data = bytes(rng.randrange(256) for _ in range(rng.randrange(24, 64)))
    bit = rng.randrange(8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    before, after = (int.from_bytes(sha256_generic([memoryview(part)])) for part in (data, bytes(changed)))
    return Asked(
        f"The purgatory digests a segment of {len(data)} bytes with SHA-256. One bit flips: bit {bit % 8} of byte"
        f" {bit // 8}. How many of the digest's 256 bits change? (A guess within a third is right.)",
        {"data": list(data), "bit": bit},
        (before ^ after).bit_count(),
        ("No bit of the digest may tell which bit of the data flipped.", "So each of them changes as a coin falls."),
        "About half: that is what makes a digest notice any damage, and why comparing it takes no time at all.",
        tolerance=1 / 3,
    )


def kho_key(machine: Random, rng: Random) -> Asked:
    """The key of a preserved block."""
    order = rng.randrange(0, 11)
    phys = rng.randrange(1, 1 << 20) << (12 + order)
    return Asked(
        f"Kexec HandOver keeps a block of {1 << order} pages at {phys:#x}. In its tree the key of a block is its number"
        f" (address / size) with one bit more on top: bit 52 - order. What is the key? (0x.. is fine.)",
        {"order": order, "phys": phys},
        encode_key(phys, order),
        ("The size is 4096 x 2**order, so the number is address >> (12 + order).", "Then set bit 52 - order."),
        "The position of the topmost bit says the order, the rest says which block: one number says both.",
    )


def kho_blocks(machine: Random, rng: Random) -> Asked:
    """Into how many blocks a range is cut."""
    start = rng.randrange(1, 4000)
    end = start + rng.randrange(20, 3000)
    return Asked(
        f"Pages [{start}, {end}) are preserved, as large blocks of a power of two as their alignment allows. How many"
        " blocks are that?",
        {"start": start, "end": end},
        len(list(blocks_of_range(start, end))),
        ("A block of 2**n pages begins at a multiple of 2**n.", "Go up from the start, then down towards the end."),
        "kho_preserve_pages(): as the buddy allocator does, but with no largest order.",
    )


def band_high(machine: Random, rng: Random) -> Asked:
    """How sure a sum is."""
    work = {name: float(rng.randrange(10, 500)) for name in ("pages", "cpus", "tables")[: rng.randrange(2, 4)]}
    width = {name: round(rng.uniform(0.05, 0.6), 2) for name in work}
    spent = Spent({name: ms * NS_PER_MS for name, ms in work.items()})
    found = time_band(spent.ns, spent, Doubts(width))
    assert found is not None
    told = ", ".join(f"{name} {work[name]:g} ms +- {width[name]:.0%}" for name in work)
    return Asked(
        f"A boot is made of {told}; the errors are one standard deviation each and know nothing of one another. What is"
        f" the upper end of the total's 80 % band, in ms? (It reaches {EIGHTY_PERCENT:.3f} standard deviations of the"
        " logarithm.)",
        {"ms": list(work.values()), "spread": list(width.values())},
        found.high_ms,
        (
            "Errors that are independent add up as squares.",
            "total x exp(1.2816 x root(sum of (ms x share) squared) / total)",
        ),
        "A sum is surer than its parts: the largest part rules the band, and the small ones hardly matter.",
        tolerance=0.005,
    )


def bandwidth(machine: Random, rng: Random) -> Asked:
    """When more threads stop helping."""
    threads, pages = rng.randrange(1, 65), rng.randrange(1, 64) * 1024
    own, store = round(rng.uniform(5, 20), 1), round(rng.uniform(0.5, 3), 2)
    env = simpy.Environment()
    node = NodeStore(env, PagePace(own, own, store, threads, threads))

    def worker() -> Generator[simpy.Event, Any, None]:
        yield node.write(pages)

    for _ in range(threads):
        env.process(worker())
    env.run()
    return Asked(
        f"{threads} thread(s) of one node initialise {pages} struct pages each. Alone, a thread needs {own} ns for one;"
        f" the node's memory takes one every {store} ns. After how many microseconds are all done?",
        {"threads": threads, "pages": pages, "own_ns": own, "store_ns": store},
        float(env.now) / 1000,
        ("Either the threads are the limit or the memory is.", "A page takes a thread max(own, threads x store) ns."),
        "Past own/store threads nothing gets faster: that is why deferral on 64 CPUs takes 88 ms and not 28.",
        tolerance=0.005,
    )


QUESTIONS = (
    Question("kexec-entries", "kexec", entry_pages),
    Question("kexec-avalanche", "kexec", avalanche),
    Question("kho-key", "kho", kho_key),
    Question("kho-blocks", "kho", kho_blocks),
    Question("measuring-band", "measuring", band_high),
    Question("measuring-bandwidth", "measuring", bandwidth),
)
