"""Tasks: a function for the learner to write, judged against the emulator's own on made-up cases."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from hw.acpi import aml
from hw.spelling import check_names
from hw.units import NS_PER_MS
from minikern.kho.radix import blocks_of_range
from minikern.lab.bands import time_band
from minikern.lab.believed import Doubts
from minikern.lab.kinds.registry import HOOKS
from minikern.lab.spent import Spent
from minikern.mm.early.e820 import e820__update_table
from minikern.pci.bars import pci_size
from minikern.report.dmesg import stamp
from minikern.state.e820 import Entry
from minikern.state.memblock import Memblock, MemblockType
from minikern.state.page_alloc import split_blocks

WIDTH = 100  # of a comment


class Task(NamedTuple):
    """A function ``name(*arguments)``. ``case`` makes the arguments and what the emulator returns for them.

    A task with a ``hook`` is one that ``minikern check`` judges.
    """

    name: str
    lesson: str
    arguments: str
    says: str
    case: Callable[[Random, int], tuple[tuple[Any, ...], Any]] | None = None
    hook: str = ""

    def template(self) -> str:
        """A file to begin with."""
        if self.hook:
            says = "\n".join(textwrap.wrap(self.says, WIDTH, initial_indent="# ", subsequent_indent="# "))
            return (
                f'import minikern\n\n\n{says}\n@minikern.algorithm("{self.hook}")\n'
                f"def {self.name}({self.arguments}):\n    raise NotImplementedError\n"
            )
        return f'def {self.name}({self.arguments}):\n    """{self.says}"""\n    raise NotImplementedError\n'


Case = tuple[tuple[Any, ...], Any]


def _tidy(rng: Random, size: int) -> Case:
    entries = []
    for _ in range(2 + size % 6):
        start = rng.randrange(0, 40) << 16
        entries.append((start, start + (rng.randrange(0, 12) << 16), rng.choice([1, 1, 2, 3, 4])))
    table = e820__update_table([Entry(start, end - start, kind) for start, end, kind in entries])
    assert table is not None
    return (entries,), [(entry.addr, entry.end, entry.type) for entry in table]


def _reserve(rng: Random, size: int) -> Case:
    memblock = Memblock()
    for _ in range(size % 6):
        memblock.reserve(rng.randrange(0, 60) << 12, rng.randrange(1, 8) << 12)
    before = [(region.base, region.end) for region in memblock.reserved_regions()]
    start, pages = rng.randrange(0, 60) << 12, rng.randrange(1, 20)
    memblock.reserve(start, pages << 12)
    after = [(region.base, region.end) for region in memblock.reserved_regions()]
    return (before, start, start + (pages << 12)), after


def _node_of(rng: Random, size: int) -> Case:
    memory, at, ranges = MemblockType("memory"), 0, []
    for nid in range(1 + size % 5):
        at += rng.choice([0, rng.randrange(1, 9) << 20])
        end = at + (rng.randrange(1, 64) << 20)
        memory.add_range(at, end - at, nid, 0)
        ranges.append((at, end, nid))
        at = end
    address = rng.randrange(0, at + (1 << 20))
    if size % 2:  # at a border, where mistakes are made
        address = rng.choice(ranges)[rng.randrange(2)] - rng.randrange(2)
    rng.shuffle(ranges)
    found = [region.nid for region in memory.regions if region.base <= address < region.end]
    return (ranges, address), found[0] if found else None


def _split(rng: Random, size: int) -> Case:
    start = rng.randrange(0, 16 << size % 8)
    end = start + rng.randrange(1, 24 << size % 9)
    return (start, end), list(split_blocks(start, end))


def _stamp(rng: Random, size: int) -> Case:
    khz = rng.randrange(1_000_000, 5_000_000)
    cycles = rng.randrange(0, khz * (10 ** (size % 6)))
    return (cycles, khz), stamp(cycles * 1_000_000 // khz).strip()


def _pkg_length(rng: Random, size: int) -> Case:
    content = rng.randrange(0, 1 << (4 + size % 20))
    return (aml.pkg_length(content) + bytes(4),), content


def _bar_size(rng: Random, size: int) -> Case:
    is_io = rng.random() < 0.4
    bits = rng.randrange(2, 9) if is_io else rng.randrange(4, 31)
    flags = 1 if is_io else rng.choice([0, 8])
    read_back = 0xFFFF_FFFF & ~((1 << bits) - 1) | flags
    mask = 0xFFFF_FFFC if is_io else 0xFFFF_FFF0
    return (read_back,), pci_size(0, read_back & mask, mask)


def _blocks(rng: Random, size: int) -> Case:
    start = rng.randrange(0, 16 << size % 10)
    end = start + rng.randrange(1, 32 << size % 12)
    return (start, end), list(blocks_of_range(start, end))


def _band(rng: Random, size: int) -> Case:
    parts = [(float(rng.randrange(1, 400)), round(rng.uniform(0.02, 0.5), 2)) for _ in range(1 + size % 4)]
    work = {str(number): ms * NS_PER_MS for number, (ms, _) in enumerate(parts)}
    doubts = Doubts({str(number): spread for number, (_, spread) in enumerate(parts)})
    found = time_band(sum(work.values()), Spent(work), doubts)
    assert found is not None
    return (parts,), [found.low_ms, found.high_ms]


def _checked(name: str, lesson: str, hook: str) -> Task:
    """A task that is all a hook asks for."""
    return Task(name, lesson, ", ".join(HOOKS[hook].arguments), HOOKS[hook].task, hook=hook)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("tidy", "e820", "entries", "Tidy (start, end, type) entries: sorted, no overlap (the higher type wins), "
             "neighbours of one type joined, nothing empty.", _tidy),
        Task("reserve", "memblock", "regions, start, end", "Return the sorted, disjoint, joined regions (start, end) "
             "after [start, end) was reserved too.", _reserve),
        _checked("find_place", "memblock", "memblock_find"),
        Task("node_of", "numa", "ranges, address", "Return the node of an address, by (start, end, node) ranges in "
             "any order; None where there is no memory.", _node_of),
        _checked("fall_back", "numa", "zone_fallback"),
        Task("init_pages", "struct-page", "words, flags, lru", "Initialise the pages: see minikern check --help.",
             hook="memmap_init_range"),
        Task("split", "zones", "start, end", "Return the blocks (first page, order) that pages [start, end) are freed "
             "in, the largest order being 10.", _split),
        _checked("merge", "zones", "free_merge"),
        Task("share_out", "deferral", "start, size, align, min_chunk, max_threads", "Return the chunks (start, end).",
             hook="padata_split"),
        _checked("divide", "deferral", "deferred_split"),
        _checked("bringup", "smp", "bring_up_order"),
        Task("log_stamp", "tsc", "cycles, khz", "Return the log's stamp, as [    1.234567], that many TSC cycles after "
             "its clock started.", _stamp),
        Task("content_bytes", "acpi", "data", "Return how many bytes of content follow the PkgLength that data "
             "begins with.", _pkg_length),
        Task("bar_size", "pci", "read_back", "Return how many bytes a 32-bit BAR (memory or I/O) decodes, from what "
             "reads back after ones were written.", _bar_size),
        Task("make_tails", "hugepages", "words, flags, lru, head", "Write the tails of a compound page.",
             hook="prep_compound_tails"),
        _checked("share_frames", "hugepages", "hvo_share"),
        _checked("digest", "kexec", "kexec_digest"),
        Task("preserve", "kho", "start, end", "Return the blocks (first page, order) that pages [start, end) are "
             "preserved in.", _blocks),
        Task("spread", "measuring", "parts", "Return (low, high) of the 80 % band of a sum of (ms, spread) parts.",
             _band),
    )
}  # fmt: skip


def task_named(name: str) -> Task:
    """The task called ``name``. InputError for one that does not exist."""
    check_names("task", "task", [name], TASKS)
    return TASKS[name]
