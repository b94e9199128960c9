"""Hypothesis strategies: firmware maps, machines with nodes, huge page requests, and memory layouts in pages."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from hw.spec import MemoryRange
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_preset
from minikern.lab.cases import NEW, NO_NUMA, OLD
from minikern.lab.cases import Case as Layout

MIB, GIB, PAGE = 1 << 20, 1 << 30, 4096
RAM, RESERVED, ACPI, NVS, UNUSABLE = 1, 2, 3, 4, 5
MAX_ENTRIES = 24


@st.composite
def e820_maps(draw: DrawFn, bootable: bool = True) -> list[MemoryRange]:
    """Firmware memory maps as bad as firmware makes them: unsorted, overlapping, with ends inside of pages.

    With ``bootable`` there is RAM below 640 KiB and from 1 MiB on, enough for a kernel to boot.
    """
    base = st.integers(0, 6 * GIB // 512).map(lambda value: value * 512)
    size = st.one_of(st.integers(1, 64 * 1024), st.integers(1, 512 * MIB // 4096).map(lambda value: value * 4096))
    kind = st.sampled_from([RAM, RAM, RESERVED, ACPI, NVS, UNUSABLE])
    ranges: list[MemoryRange] = []
    if bootable:
        ranges.append(MemoryRange(0, 0x9FC00, RAM))
        ranges.append(MemoryRange(1 * MIB, (1 + draw(st.integers(127, 600))) * MIB, RAM))
    floor = ranges[-1].end if bootable else 0
    for _ in range(draw(st.integers(0 if bootable else 1, MAX_ENTRIES - len(ranges)))):
        start = draw(base) + floor
        ranges.append(MemoryRange(start, start + draw(size), draw(kind)))
    return list(draw(st.permutations(ranges)))


@st.composite
def numa_machines(draw: DrawFn, max_nodes: int = 4, max_mib: int = 512) -> Case:
    """Bootable machines with one to ``max_nodes`` nodes, memoryless ones and ones without CPUs among them."""
    nodes = draw(st.integers(1, max_nodes))
    cpus = draw(st.integers(nodes, 2 * nodes))
    sizes = draw(st.lists(st.integers(0, max_mib // 64).map(lambda value: value * 64), min_size=nodes, max_size=nodes))
    sizes[draw(st.integers(0, nodes - 1))] = max(256, max_mib)
    owners = [0, *draw(st.lists(st.integers(0, nodes - 1), min_size=cpus - 1, max_size=cpus - 1))]
    options = []
    for node, mib in enumerate(sizes):
        own = [str(cpu) for cpu, owner in enumerate(owners) if owner == node]
        if not own and not mib:
            mib = 64  # a node has memory or CPUs
        options.append(f"{mib}M" if mib else "0")
        if own:
            options[-1] += f",cpus={','.join(own)}"
    spec = load_preset("tiny")
    adjust(spec, Adjustments(cpus=str(cpus), numa=tuple(options)))
    return spec


@st.composite
def hugepage_requests(draw: DrawFn, nodes: int = 2) -> str:
    """Command-line words that ask for huge pages: sizes, counts, counts by node, HVO on or off, wrong ones too."""
    words: list[str] = []
    count = st.integers(0, 40)
    by_node = st.lists(st.tuples(st.integers(0, nodes), count), min_size=1, max_size=3)
    if draw(st.booleans()):
        words.append(f"hugetlb_free_vmemmap={draw(st.sampled_from(['on', 'off']))}")
    if draw(st.booleans()):
        words.append(f"default_hugepagesz={draw(st.sampled_from(['2M', '1G', '4M']))}")
    for size in draw(st.lists(st.sampled_from(["", "2M", "1G", "3M"]), max_size=3)):
        if size:
            words.append(f"hugepagesz={size}")
        if draw(st.booleans()):
            words.append(f"hugepages={draw(count)}")
        else:
            words.append("hugepages=" + ",".join(f"{node}:{wanted}" for node, wanted in draw(by_node)))
    return " ".join(words)


@st.composite
def memory_layouts(draw: DrawFn, max_pages: int = 3000) -> Layout:
    """Memory in pages for single algorithms: ranges anywhere up to 46 bits, nodes, reservations, flag layouts."""
    flags = draw(st.sampled_from([OLD, NEW, NO_NUMA]))
    nodes = (1 << flags.nodes_width) - 1
    at = draw(st.one_of(st.integers(0, 0x3000), st.integers(0xFF000, 0x101000), st.integers(0, (1 << 34) - 2**20)))
    memory: list[tuple[int, int, int]] = []
    left = max_pages
    for _ in range(draw(st.integers(1, 4))):
        size = draw(st.one_of(st.integers(1, 5), st.integers(1, max(1, left))))
        if size > left:
            break
        memory.append((at, at + size, draw(st.integers(0, min(nodes, 3)))))
        left -= size
        at += size + draw(st.integers(0, 2000))
    reserved = []
    for start, end, _ in memory:
        if draw(st.booleans()):
            low = draw(st.integers(start, end - 1))
            reserved.append((low, draw(st.integers(low + 1, end))))
    return Layout("made up", tuple(memory), tuple(reserved), flags, threads=draw(st.integers(1, 64)))


def any_machine() -> SearchStrategy[Case]:
    """Small machines, with and without nodes."""
    return st.one_of(numa_machines(), st.builds(load_preset, st.just("tiny")))
