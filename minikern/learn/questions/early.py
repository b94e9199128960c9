"""Questions on memory before the page allocator: the firmware's map, memblock, nodes."""

from __future__ import annotations

from random import Random

from hw.units import KIB, MIB, PAGE_SIZE
from minikern.learn.question import Asked, Question
from minikern.learn.trial import Trial, booted
from minikern.mm.early.e820 import e820__update_table
from minikern.state.e820 import Entry, Type
from minikern.state.memblock import Memblock

TYPES = {Type.RAM: "usable", Type.RESERVED: "reserved", Type.ACPI: "ACPI data"}


def e820_machine(rng: Random) -> Trial:
    """A PC with some memory."""
    return Trial(memory=f"{rng.randrange(96, 512, 2)}M")


def usable(machine: Random, rng: Random) -> Asked:
    """How much the firmware calls usable."""
    trial = e820_machine(machine)
    k = booted(trial).kernel
    answer = sum(entry.size for entry in k.e820.firmware if entry.type == Type.RAM) // KIB
    return Asked(
        f"A PC has {trial.memory} of memory. How many KiB of it does the firmware's map call usable?",
        {"memory_mib": int(trial.memory[:-1])},
        answer,
        (
            "Two ranges are usable: one below 640 KiB, one from 1 MiB on.",
            "The first ends at 0x9fc00, where the extended BIOS data area begins; the last MiB holds ACPI tables.",
        ),
        "Add (end - start) over the lines that say usable. The ends in the log are the last byte, so add one to each.",
        trial.command() + " | grep usable",
    )


def overlap(machine: Random, rng: Random) -> Asked:
    """What a map with overlaps is made of."""
    base = rng.randrange(1, 64) * MIB
    first = (base, base + rng.randrange(8, 32) * MIB, Type.RAM)
    start = rng.randrange(first[0] // MIB + 1, first[1] // MIB) * MIB
    second = (start, start + rng.randrange(1, 24) * MIB, rng.choice([Type.RAM, Type.RESERVED, Type.ACPI]))
    table = e820__update_table([Entry(low, high - low, kind) for low, high, kind in (first, second)])
    assert table is not None
    lines = "\n".join(f"    [{low:#x}, {high:#x}) {TYPES[kind]}" for low, high, kind in (first, second))
    return Asked(
        f"A firmware hands over two entries:\n\n{lines}\n\nHow many KiB are usable once the kernel has tidied the map?",
        {"entries": [(low, high, int(kind)) for low, high, kind in (first, second)]},
        sum(entry.size for entry in table if entry.type == Type.RAM) // KIB,
        (
            "Where entries overlap, the kernel believes the one with the higher type number.",
            "usable is type 1, reserved 2, ACPI data 3. Two entries of one type become one.",
        ),
        "Go through the borders in order and ask at each stretch which types cover it: usable wins only alone.",
    )


def _reserved_ranges(rng: Random) -> list[tuple[int, int]]:
    starts = [rng.randrange(0x200, 0x1000) for _ in range(rng.randrange(4, 8))]
    ranges = [(start, start + rng.randrange(8, 0x180)) for start in starts]
    if rng.random() < 0.7:  # one that touches another
        ranges.append((ranges[0][1], ranges[0][1] + rng.randrange(1, 64)))
    return ranges


def _told(ranges: list[tuple[int, int]]) -> str:
    return "\n".join(f"    [{low * PAGE_SIZE:#x}, {high * PAGE_SIZE:#x})" for low, high in ranges)


def _memblock(rng: Random) -> tuple[list[tuple[int, int]], Memblock]:
    ranges = _reserved_ranges(rng)
    memblock = Memblock()
    memblock.add(0x100000, 0x2000 * PAGE_SIZE - 0x100000)
    for low, high in ranges:
        memblock.reserve(low * PAGE_SIZE, (high - low) * PAGE_SIZE)
    return ranges, memblock


def regions(machine: Random, rng: Random) -> Asked:
    """How many regions a list has."""
    ranges, memblock = _memblock(machine)
    return Asked(
        f"These ranges are reserved one after the other, all for the same purpose:\n\n{_told(ranges)}\n\n"
        "How many regions has memblock.reserved then?",
        {"ranges": ranges},
        len(memblock.reserved_regions()),
        ("Sort them by start first.", "What overlaps or touches becomes one region."),
        "memblock keeps a sorted list of disjoint regions and joins neighbours of the same node and flags.",
    )


def top_down(machine: Random, rng: Random) -> Asked:
    """Where an allocation lands."""
    ranges, memblock = _memblock(machine)
    pages, align = rng.randrange(1, 0x200), 1 << rng.randrange(0, 9)
    place = memblock.alloc(pages * PAGE_SIZE, align * PAGE_SIZE)
    assert place is not None
    return Asked(
        f"Memory is [0x100000, 0x2000000). Reserved are:\n\n{_told(ranges)}\n\nmemblock is asked for"
        f" {pages * PAGE_SIZE:#x} bytes, aligned to {align * PAGE_SIZE:#x}. At which address do they lie?",
        {"ranges": ranges, "pages": pages, "align": align},
        place,
        (
            "memblock takes the highest place that fits.",
            "In each gap, from the top: (end of the gap - size), rounded down to the alignment; does it still fit?",
        ),
        "Top-down keeps low memory free for devices that can reach nothing else.",
    )


def numa_machine(rng: Random) -> Trial:
    """Four nodes with distances that are all different."""
    sizes = [rng.randrange(32, 96, 2) for _ in range(4)]
    distances = rng.sample(range(12, 90, 3), 6)
    pairs = [(a, b) for a in range(4) for b in range(a)]
    return Trial(
        cpus="4",
        numa=tuple(f"{size}M,cpus={nid}" for nid, size in enumerate(sizes)),
        numa_distance=tuple(f"{b},{a}={d}" for (a, b), d in zip(pairs, distances, strict=True)),
    )


def fallback(machine: Random, rng: Random) -> Asked:
    """Where a node's memory comes from when its own is used up."""
    trial = numa_machine(machine)
    k, node = booted(trial).kernel, rng.randrange(4)
    rows = {other: k.numa.node_distance(node, other) for other in range(4)}
    table = ", ".join(f"to node {other} {distance}" for other, distance in rows.items())
    return Asked(
        f"Four nodes; the distances of node {node}: {table}. In which order does node {node} look for memory?"
        " Name all four nodes.",
        {"node": node, "distances": list(rows.values())},
        list(k.fallback[node]),
        ("It begins at home: the distance to oneself is 10.", "Then the nearest, then the next."),
        "build_all_zonelists() sorts the nodes by distance; ties go to the node with the smaller load so far.",
        trial.command() + " | grep Fallback",
    )


def owner(machine: Random, rng: Random) -> Asked:
    """Whose memory an address is."""
    trial = numa_machine(machine)
    regions = booted(trial).kernel.memblock.memory_regions()
    region = rng.choice([region for region in regions if region.base >= MIB])
    address = rng.randrange(region.base, region.end)
    sizes = ", ".join(option.split(",")[0] for option in trial.numa)
    return Asked(
        f"Nodes 0 to 3 have {sizes}, one after the other from address 0. On which node is address {address:#x}?",
        {"sizes_mib": [int(option.split("M")[0]) for option in trial.numa], "address": address},
        region.nid,
        ("1 MiB is 0x100000.", "Add the sizes up until you pass the address."),
        "The SRAT says it in ranges of addresses; memblock then carries the node of each region.",
        trial.command() + " | grep 'node  '",
    )


QUESTIONS = (
    Question("e820-usable", "e820", usable),
    Question("e820-overlap", "e820", overlap),
    Question("memblock-regions", "memblock", regions),
    Question("memblock-top-down", "memblock", top_down),
    Question("numa-fallback", "numa", fallback),
    Question("numa-owner", "numa", owner),
)
