"""The memory map that was handed over: every block it names is kept from the page allocator.

Source: kernel/liveupdate/kexec_handover.c:kho_memory_init(), kho_preserved_memory_reserve() @ v7.2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from minikern.core.printk import Level
from minikern.kho import scratch
from minikern.kho.chunks import walk_chunks
from minikern.kho.radix import decode_key, runs, walk
from minikern.mm.page.mmzone import PAGES_PER_SECTION
from minikern.state.kho import Blocks, Incoming
from minikern.state.kho_abi import KHO_PAGE_MAGIC, KHO_V1, MEMORY_MAP_PROP, PAGE_SIZE

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PAGE_OFFSET = 0xFFFF_8880_0000_0000  # of the direct mapping; Source: Documentation/arch/x86/x86_64/mm.rst
PAGE_SHIFT = 12
U64 = 2**64 - 1


def kho_memory_init(k: Kernel) -> None:
    """Set scratch aside, or keep what was handed over; just before free memory goes to the page allocator."""
    if k.kho.incoming is None:
        scratch.reserve_scratch(k)
        return
    if not _retrieve(k, k.kho.incoming):
        k.kho.incoming.fdt_phys = 0


def _retrieve(k: Kernel, incoming: Incoming) -> bool:
    # Each block is looked at, whatever becomes of its struct pages: charges kho_radix_key.
    root = incoming.tree.getprop_u64(0, MEMORY_MAP_PROP)
    if root is None:
        k.printk("KHO: failed to get preserved KHO memory tree", Level.ERR)
    if not root:
        return False
    keys = 0
    for first, count in walk_incoming(k):
        keys += count
        blocks = Blocks(*decode_key(first), count)
        _reserve(k, blocks)
        incoming.blocks.append(blocks)
    k.charge("kho_radix_key", keys)
    incoming.found = tuple(incoming.blocks)
    incoming.pages_alone = _init_deferred(k, incoming.blocks)
    _mark(k, incoming.blocks)
    return True


def walk_incoming(k: Kernel, seen: Callable[[int], object] = lambda address: None) -> Iterator[tuple[int, int]]:
    """Keys of the tree that was handed over, as (first, how many follow one another); ``seen`` is told each page.

    A real kernel follows a tree that leads into itself until somebody pulls the plug: MachineStopped.
    """
    incoming = k.kho.incoming
    root = incoming.tree.getprop_u64(0, MEMORY_MAP_PROP) if incoming is not None else None
    pages = k.memblock.phys_mem_size() // PAGE_SIZE

    def read(address: int, size: int = PAGE_SIZE) -> bytes:
        seen(address)
        return phys_to_virt(k, address, size)

    chunks = k.behaviour.kho_compatible == KHO_V1
    try:
        for keys in walk_chunks(read, root or 0, pages) if chunks else walk(read, root or 0, pages):
            yield from runs(keys)
    except OverflowError as error:
        raise MachineStopped(f"the walk of preserved memory never ends: {error}") from error


def phys_to_virt(k: Kernel, address: int, size: int) -> bytes:
    """Memory through the direct mapping. MachineStopped: it is not mapped there."""
    if not k.direct_map.is_mapped(address, address + size):
        raise MachineStopped(f"BUG: unable to handle page fault for address: {PAGE_OFFSET + address & U64:016x}")
    return k.machine.bus.read_bytes(address, size)


def _reserve(k: Kernel, blocks: Blocks) -> None:
    for pfn in range(blocks.phys >> PAGE_SHIFT, blocks.phys + blocks.size >> PAGE_SHIFT, PAGES_PER_SECTION):
        _check_page(k, pfn)
    _check_page(k, (blocks.phys + blocks.size >> PAGE_SHIFT) - (1 << blocks.order))
    k.memblock.reserve(blocks.phys, blocks.size)
    k.memblock.reserved_mark_noinit(blocks.phys, blocks.size)


def _check_page(k: Kernel, pfn: int) -> None:
    if not k.vmemmap.pfn_valid(pfn):
        page = k.vmemmap.address(pfn) & U64
        raise MachineStopped(f"BUG: unable to handle page fault for address: {page:016x}")


def _init_deferred(k: Kernel, found: list[Blocks]) -> int:
    """Struct pages that would have waited for the parallel pass are initialised here, one by one, on the boot CPU.

    Returns how many. Charges ``reserved_page_init``.
    Source: kho_get_preserved_page(), mm/mm_init.c:init_deferred_page() @ v7.2
    """
    count = 0
    for node in k.nodes:
        first = node.first_deferred_pfn
        if first is None:
            continue
        for blocks in found:
            low = max(blocks.phys >> PAGE_SHIFT, first, node.start_pfn)
            high = min(blocks.phys + blocks.size >> PAGE_SHIFT, node.end_pfn)
            if low < high:
                count += k.page_alloc.pages.init_range(low, high)
    k.charge("reserved_page_init", count)
    return count


def _mark(k: Kernel, found: list[Blocks]) -> None:
    for blocks in found:
        first, last = blocks.phys >> PAGE_SHIFT, blocks.phys + blocks.size >> PAGE_SHIFT
        k.page_alloc.pages.set_private(first, last, 1 << blocks.order, KHO_PAGE_MAGIC << 32 | blocks.order)
