"""What struct-page functions are timed on, and the built-in ones beside which they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minikern.host.arena import Arena
from minikern.lab.cases import Case, Piece
from minikern.lab.kinds.kind import Function, Load
from minikern.mm.page.mmzone import MAX_PAGE_ORDER, PAGES_PER_SECTION
from minikern.mm.page.struct_page import TAIL_MAPPING, Words

FIRST_PFN = 1 << 20
INITIALISED = 0x1_FFFFFFFF
STEP_ROWS = 1 << 14


def load_of(hook: str, rows: int) -> Load:
    """So many initialised struct pages, for a function of ``hook``."""
    space = Arena(rows * 64)
    words = space.words(rows)
    case = Case("timing", ((FIRST_PFN, FIRST_PFN + rows, 0),))
    for low in range(0, rows, STEP_ROWS):
        part = words[low : low + STEP_ROWS]
        part[:] = 0
        part[:, 0], part[:, 6] = _links(case, low)[0], np.uint64(INITIALISED)
        part[:, 1] = part[:, 2] = _links(case, low)[1] + np.arange(len(part), dtype=np.uint64) * np.uint64(64)

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        given, arguments = words[low:high], _arguments(hook, case, low)
        return lambda: function(given, *arguments)

    return Load(f"{rows} struct pages", rows, bind)


def split_load(_: int) -> Load:
    """Cutting the deferred memory of one node of a large machine for 64 threads."""
    job = (0x8000, 67_076_096, PAGES_PER_SECTION, PAGES_PER_SECTION, 64)
    return Load("67076096 pages for 64 threads", 1, lambda function, low, high: lambda: function(*job))


def _arguments(hook: str, case: Case, low: int) -> tuple[Any, ...]:
    flags, lru = _links(case, low)
    arguments: dict[str, tuple[Any, ...]] = {
        "memmap_init_range": (flags, lru),
        "deferred_init_range": (flags, lru, FIRST_PFN + low, MAX_PAGE_ORDER, np.uint64(case.flags.buddy_type)),
        "free_range": (np.uint64(case.flags.reserved),),
        "reserve_range": (np.uint64(case.flags.reserved),),
        "prep_compound_tails": (flags, lru, np.uint64(int(lru) - 72)),
    }
    return arguments[hook]


def _links(case: Case, low: int) -> tuple[Any, Any]:
    piece = Piece(FIRST_PFN, FIRST_PFN, 0, 2)
    address = case.vmemmap + 64 * (piece.start + low) + 8
    return np.uint64(case.flags.links(piece.nid, piece.zone)), np.uint64(address)


def builtins_of(hook: str) -> dict[str, Function]:
    """The kernel rooms' own functions of a hook point, by name."""
    from minikern.mm.map.padata import MtJob
    from minikern.mm.page import page_kernels

    def deferred_linux(words: Words, flags: Any, lru: Any, pfn: int, order: int, kind: Any) -> None:
        page_kernels.init_and_free(words, flags, lru, pfn, 1 << order)
        first = -pfn % (1 << order)
        whole = max(0, len(words) - first) >> order << order
        page_kernels.set_heads(words[: first + whole], first, 1 << order, np.uint64(order), kind)

    def deferred(words: Words, flags: Any, lru: Any, pfn: int, order: int, kind: Any) -> None:
        if page_kernels.can_stream(words):
            page_kernels.init_free_blocks(words, int(flags), int(lru), pfn, order, int(kind))
        else:
            deferred_linux(words, flags, lru, pfn, order, kind)

    def free(words: Words, reserved: Any) -> None:
        page_kernels.free_pages(words, np.uint64(~int(reserved) & 2**64 - 1), words[0, 1])

    def tails_linux(words: Words, flags: Any, lru: Any, head: Any) -> None:
        page_kernels.init_linux(words, flags, lru)
        page_kernels.prep_compound_tails(words, np.uint64(int(head) | 1), np.uint64(TAIL_MAPPING))

    def tails(words: Words, flags: Any, lru: Any, head: Any) -> None:
        page_kernels.store_image(words, int(flags), int(lru), 0xFFFFFFFF, int(head), TAIL_MAPPING)

    def split(start: int, size: int, align: int, min_chunk: int, max_threads: int) -> list[tuple[int, int]]:
        job = MtJob(start, size, align, min_chunk, max_threads)
        works = job.nworks()
        return [(start, start + size)] if works == 1 else list(job.chunks(job.chunk_size(works)))

    table: dict[str, dict[str, Function]] = {
        "memmap_init_range": {f"built-in {name}": run for name, run in page_kernels.ALGORITHMS.items()},
        "deferred_init_range": {"built-in linux": deferred_linux, "built-in nontemporal": deferred},
        "free_range": {"built-in": free},
        "reserve_range": {"built-in": page_kernels.set_flags},
        "prep_compound_tails": {"built-in linux": tails_linux, "built-in at once": tails},
        "padata_split": {"built-in": split},
    }
    return table[hook]
