"""An independent look over the whole memory map: is every ``struct page`` what its page's state says it must be?

What is expected comes from memblock, the zones, the free lists and the huge pages; nothing of it comes from the code
that wrote the pages. The comparison itself is a JIT function over rows of words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hw.errors import InputError
from minikern.host.jit import jit
from minikern.mm.page.struct_page import STRUCT_PAGE, Words, format_page
from minikern.verify.page_check_lists import Wrong, check_accounting, check_folds, check_free_lists
from minikern.verify.page_check_owners import check_map_frames, check_owners, check_pageblocks
from minikern.verify.page_check_state import NO_CONTENT, Place, Span, cut, expected_spans, places
from minikern.verify.page_check_zones import check_nodes, check_watermarks, check_zonelists, check_zones

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

_U64 = 2**64 - 1
LEFT_WINDOW = "left the window"


@dataclass
class CheckResult:
    """Outcome: pages compared, pages whose content is not at hand by reason, the first wrong pfn if there is one."""

    checked: int = 0
    without: Counter[str] = field(default_factory=Counter)
    free_blocks: int = 0
    first_wrong_pfn: int | None = None
    message: str = ""

    @property
    def ok(self) -> bool:
        """True if nothing was wrong."""
        return self.first_wrong_pfn is None

    @property
    def skipped(self) -> int:
        """Pages that could not be compared."""
        return self.without.total()

    def __str__(self) -> str:
        """The outcome as one line."""
        if not self.ok:
            return f"check: wrong: {self.message}"
        parts = [f"{self.checked} struct pages compared", f"{self.free_blocks} free blocks", "page counts agree"]
        for why, pages in sorted(self.without.items()):
            parts.append(f"{pages} struct pages ({pages * 64 / 2**20:.1f} MiB) without content: {why}")
        return "check: " + ", ".join(parts)


@jit
def first_wrong(words: Words, want: Words, lru: np.uint64, self_link: bool, heads: int, first: int, infos: int) -> int:
    """First row that differs from what is wanted, -1 if none does.

    ``want`` is two rows: of ordinary pages and of block heads, which are rows ``first``, ``first + heads``, ... Word 1
    is compared with the row's own ``lru`` if ``self_link``, word 2 always. With ``infos`` >= 0, word 5 grows by one
    every 512 rows, ``infos`` rows having gone before.
    """
    size = np.uint64(64)
    head = first if heads > 0 else -1
    for i in range(words.shape[0]):
        kind = 0
        if i == head:
            kind = 1
            head += heads
        link = lru if self_link else want[kind, 1]
        private = want[kind, 5]
        if infos >= 0:
            private = private + np.uint64((infos + i) // 512)
        bad = (words[i, 0] ^ want[kind, 0]) | (words[i, 1] ^ link) | (words[i, 2] ^ lru) | (words[i, 3] ^ want[kind, 3])
        bad |= (words[i, 4] ^ want[kind, 4]) | (words[i, 5] ^ private) | (words[i, 6] ^ want[kind, 6]) | words[i, 7]
        if bad != np.uint64(0):
            return i
        lru += size
    return -1


def check_memmap(k: Kernel) -> CheckResult:
    """Compare every page of every present section with what it must be, as far as the map holds it.

    Before that the free lists (each block on one list, aligned, inside its zone, disjoint, not mergeable, counted),
    nodes, zones and their page counts, owners, pageblocks, watermarks, zonelists and the folded memory map of huge
    pages are verified. In a window only what is still there is
    compared. Deferred memory that is not initialised yet, and memory map that HVO gave back, has no content.
    InputError: the map was counted, so there is nothing to compare.
    """
    if k.vmemmap.backing == "counted":
        raise InputError("a counted memory map has no pages to check: expected --vmemmap window or full")
    result = CheckResult()
    try:
        check_nodes(k)
        result.free_blocks = check_free_lists(k)
        where, spans = places(k), expected_spans(k)
        pieces = list(cut(where, spans))
        check_accounting(k, pieces)
        check_folds(k)
        check_zones(k, where)
        for check in (check_owners, check_pageblocks, check_map_frames, check_watermarks, check_zonelists):
            check(k)
    except Wrong as wrong:
        result.first_wrong_pfn, result.message = wrong.pfn, str(wrong)
        return result
    for place, span in pieces:
        _check_span(k, place, span, result)
        if not result.ok:
            break
    return result


def _check_span(k: Kernel, place: Place, span: Span, result: CheckResult) -> None:
    vmemmap = k.vmemmap
    if span.expected.state in NO_CONTENT:
        pages = sum(high - low for low, high in vmemmap.valid_ranges(place.start, place.end))
        result.without.update({span.expected.state: pages} if pages else {})
        return
    for run in vmemmap.runs(place.start, place.end):
        _check_run(k, place, span, run, result)
        if not result.ok:
            return


def _check_run(k: Kernel, place: Place, span: Span, run: Any, result: CheckResult) -> None:
    for piece, held in k.vmemmap.pieces(run):
        if held:
            _compare(k, place, span, piece, result)
        elif k.vmemmap.backing == "full":
            what = f"expected a {span.expected.state} page, was never initialised"
            _fail(result, piece.pfn, f"pfn {piece.pfn:#x}: {what}")
        else:
            result.without[LEFT_WINDOW] += piece.pages
        if not result.ok:
            return


def _compare(k: Kernel, place: Place, span: Span, run: Any, result: CheckResult) -> None:
    want = span.expected
    flags = k.page_alloc.pages.flags
    word0 = place.nid << flags.nodes_shift | place.zone << flags.zones_shift | want.flag_bits
    word0 |= ((1 << flags.cpupid_width) - 1) << flags.cpupid_shift
    rows = np.zeros((2, 8), dtype=np.uint64)
    rows[:, 0] = word0 & _U64
    rows[:, 1] = want.link or 0
    rows[:, 3], rows[:, 4] = want.mapping, want.bootmem_type
    rows[0, 5], rows[0, 6] = want.private, want.counts
    rows[1, 5], rows[1, 6] = want.head_private, want.head_counts
    if want.exact:
        rows[0, 1:] = want.exact
    infos = run.pfn - want.origin if want.origin >= 0 else -1
    first = -run.pfn % want.heads if want.heads else 0
    lru = np.uint64(k.vmemmap.start + run.pfn * 64 + 8)
    words = k.vmemmap.rows(run)
    if want.exact:
        wrong = 0 if (words[0] != rows[0]).any() else -1
    else:
        wrong = first_wrong(words, rows, lru, want.link is None, want.heads, first, infos)
    if wrong < 0:
        result.checked += run.pages
        return
    result.checked += wrong
    pfn = run.pfn + wrong
    page = words[wrong].copy().view(STRUCT_PAGE)[0]
    found = flags.describe(int(words[wrong, 0]))
    told = f"expected a {want.state} page of node {place.nid} zone {place.zone}, came {found}"
    _fail(result, pfn, f"{format_page(page, pfn)}: {told}")


def _fail(result: CheckResult, pfn: int, message: str) -> None:
    result.first_wrong_pfn, result.message = pfn, message
