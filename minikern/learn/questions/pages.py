"""Questions on struct pages, zones, free lists, deferral and huge pages."""

from __future__ import annotations

from random import Random

import msgspec

from hw.units import PAGE_SIZE
from minikern.learn.question import Asked, Question
from minikern.learn.trial import Trial, booted
from minikern.mm.map.padata import MtJob
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION
from minikern.mm.page.struct_page import STRUCT_PAGE_SIZE
from minikern.state.page_alloc import split_blocks

KIB_PER_PAGE = PAGE_SIZE // 1024


def two_nodes(rng: Random) -> Trial:
    """Two nodes of different size."""
    sizes = rng.randrange(64, 320, 2), rng.randrange(64, 320, 2)
    return Trial(numa=tuple(f"{size}M,cpus={nid}" for nid, size in enumerate(sizes)))


def _sizes(trial: Trial) -> list[int]:
    return [int(option.split("M")[0]) for option in trial.numa]


def node_pages(machine: Random, rng: Random) -> Asked:
    """How many struct pages a node's memory needs."""
    trial = two_nodes(machine)
    node = booted(trial).kernel.page_alloc.nodes[1]
    first, second = _sizes(trial)
    return Asked(
        f"Node 0 has {first} MiB, node 1 behind it {second} MiB, of which the last MiB holds ACPI tables and is not"
        " the kernel's. How many pages are present on node 1?",
        {"sizes_mib": [first, second]},
        node.present_pages,
        ("A page is 4 KiB: 256 of them are a MiB.", "The MiB of ACPI tables is in the map, but not usable."),
        "Present pages have memory behind them that is the kernel's. Each has a struct page of 64 bytes.",
        trial.command("proc zoneinfo") + " | grep present",
    )


def map_bytes(machine: Random, rng: Random) -> Asked:
    """How much memory the map of memory takes."""
    trial = two_nodes(machine)
    k = booted(trial).kernel
    return Asked(
        f"Node 0 has {_sizes(trial)[0]} MiB, node 1 behind it {_sizes(trial)[1]} MiB. How many KiB of memory does the"
        " map of struct pages take? It is made for whole sections of 128 MiB.",
        {"sizes_mib": _sizes(trial)},
        k.vmemmap.total * STRUCT_PAGE_SIZE // 1024,
        ("A section has 32768 pages; a struct page is 64 bytes.", "That is 2 MiB a section. How many are touched?"),
        "One part in 64 of all memory: a machine of 512 GiB gives 8 GiB to its map.",
        trial.command() + " | grep -E 'node   |Memory:'",
    )


def zones_machine(rng: Random) -> Trial:
    """A PC with some memory."""
    return Trial(memory=f"{rng.randrange(96, 512, 2)}M")


def dma32(machine: Random, rng: Random) -> Asked:
    """The size of a zone."""
    trial = zones_machine(machine)
    zone = next(zone for zone in booted(trial).kernel.zones if zone.name == "DMA32")
    return Asked(
        f"A PC has {trial.memory} of memory, the last MiB of it ACPI tables. How many pages are present in zone DMA32?",
        {"memory_mib": int(trial.memory[:-1])},
        zone.present_pages,
        ("DMA32 begins where zone DMA ends, at 16 MiB.", "256 pages a MiB."),
        "Zones are cut by what devices can address: 24 bits make 16 MiB, 32 bits make 4 GiB.",
        trial.command("proc zoneinfo") + " | grep -E 'zone|present'",
    )


def blocks(machine: Random, rng: Random) -> Asked:
    """Into which blocks a range of pages is freed."""
    start = rng.randrange(1, 3000)
    end = start + rng.randrange(50, 4000)
    orders = [order for _, order in split_blocks(start, end)]
    order = rng.choice(sorted(set(orders)))
    return Asked(
        f"Pages [{start}, {end}) are given to the buddy allocator at once, as large blocks as can be. How many blocks"
        f" of order {order} ({1 << order} pages) does that make?",
        {"start": start, "end": end, "order": order},
        orders.count(order),
        (
            f"A block of order n begins at a multiple of 2**n and has 2**n pages; order {MAX_PAGE_ORDER} is the last.",
            "From the start, orders grow as the alignment does; towards the end they shrink as the room does.",
        ),
        "Blocks like that can be merged and split by one bit of their number: the buddy differs in bit n only.",
    )


def chunks(machine: Random, rng: Random) -> Asked:
    """How padata cuts a job."""
    threads, sections = rng.randrange(2, 33), rng.randrange(8, 600)
    section = rng.randrange(8, 64)
    start = section * PAGES_PER_SECTION
    job = MtJob(start, sections * PAGES_PER_SECTION, PAGES_PER_SECTION, PAGES_PER_SECTION, threads)
    found = len(list(job.chunks(job.chunk_size(job.nworks()))))
    return Asked(
        f"{sections} sections of deferred pages, from section {section} on, are shared out to at most {threads} threads"
        " in chunks of whole sections. How many chunks are there?",
        {"threads": threads, "sections": sections, "section": section},
        found,
        (
            "A chunk is meant to be a quarter of a thread's share, so that a slow thread holds nobody up.",
            "That share is divided rounding down, then up to whole sections; borders lie at multiples of the chunk.",
        ),
        "padata_do_multithreaded() divides by threads x 4, and no thread gets less than one section.",
    )


def init_cost(machine: Random, rng: Random) -> Asked:
    """What initialising costs."""
    trial = msgspec.structs.replace(zones_machine(machine), variant="baseline")
    done = booted(trial)
    ledger, unit = done.kernel.ledger, done.kernel.unit_ns("struct_page_init")
    return Asked(
        f"A machine has {trial.memory}; the last MiB is no memory of the kernel's. Initialising a struct page costs"
        f" {unit:g} ns on it, and nothing is deferred. Pages without memory behind them are initialised too, up to the"
        " end of the last section of 128 MiB. How many microseconds does that take? (2 % either way will do.)",
        {"memory_mib": int(trial.memory[:-1]), "unit_ns": unit},
        ledger.total_ns("struct_page_init") / 1000,
        ("One struct page for 4 KiB: 32768 for a section.", "Pages x ns / 1000."),
        "The same arithmetic for 512 GiB at 6.68 ns gives 0.9 s, and freeing as much again: the talk's 1.7 s.",
        trial.command("blame") + " | grep struct_page_init",
        tolerance=0.02,
    )


def hugetlb_machine(rng: Random) -> Trial:
    """Two nodes and some huge pages."""
    sizes = rng.randrange(96, 320, 2), rng.randrange(96, 320, 2)
    words = f"hugetlb_free_vmemmap=on hugepages=0:{rng.randrange(1, 12)},1:{rng.randrange(1, 12)}"
    return Trial(numa=tuple(f"{size}M,cpus={nid}" for nid, size in enumerate(sizes)), append=words)


def _asked_for(trial: Trial) -> list[int]:
    return [int(part.partition(":")[2]) for part in trial.append.rpartition("=")[2].split(",")]


def hvo_freed(machine: Random, rng: Random) -> Asked:
    """What HVO gives back."""
    trial = hugetlb_machine(machine)
    done = booted(trial)
    first, second = _asked_for(trial)
    pages = done.kernel.ledger.count("hvo_remap_page")
    return Asked(
        f"{first} huge pages of 2 MiB are made on node 0 and {second} on node 1, with hugetlb_free_vmemmap=on. How many"
        " KiB of memory map come back?",
        {"counts": [first, second]},
        pages * KIB_PER_PAGE,
        (
            "512 struct pages of 64 bytes are 8 pages of memory map for one huge page.",
            "All tails say the same, so the first page of the map stays and the others become it.",
        ),
        "7 of 8 pages: 28 KiB a huge page, as the log says in 'HugeTLB: 28 KiB vmemmap can be freed'.",
        trial.command() + " | grep HugeTLB",
    )


def tails(machine: Random, rng: Random) -> Asked:
    """How many struct pages are tails."""
    trial = hugetlb_machine(machine)
    k = booted(trial).kernel
    found = sum((1 << order) - 1 for pfn, order in k.hugetlb.folios() if k.page_alloc.zone_of(pfn).nid == 1)
    first, second = _asked_for(trial)
    return Asked(
        f"hugepages=0:{first},1:{second} asks for so many huge pages of 2 MiB on nodes 0 and 1. How many struct pages"
        " of node 1 become tails?",
        {"counts": [first, second]},
        found,
        ("A huge page of 2 MiB has 512 pages of 4 KiB.", "The first one is the head."),
        "Each tail is written once: for 500 pages of 1 GiB that is 131 million, 1.3 s in the talk's measurements.",
        trial.command() + " | grep HugeTLB",
    )


QUESTIONS = (
    Question("struct-page-node", "struct-page", node_pages),
    Question("struct-page-map", "struct-page", map_bytes),
    Question("zones-dma32", "zones", dma32),
    Question("zones-blocks", "zones", blocks),
    Question("deferral-chunks", "deferral", chunks),
    Question("deferral-cost", "deferral", init_cost),
    Question("hugepages-hvo", "hugepages", hvo_freed),
    Question("hugepages-tails", "hugepages", tails),
)
