"""Memory that is to outlive this kernel is marked in the tree of what is handed on.

Source: kernel/liveupdate/kexec_handover.c @ v7.2
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from hw.errors import MachineStopped
from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.kho.chunks import serialize
from minikern.kho.radix import RadixTree, blocks_of_range, encode_key
from minikern.state.fdt import Node, add_subnode, string, u64, write
from minikern.state.kho import Outgoing
from minikern.state.kho_abi import (
    CHUNK_ADDRESSES,
    MEMORY_MAP_PROP,
    SUB_FDT_PROP_V1,
    SUB_TREE_PROP,
    SUB_TREE_SIZE_PROP,
    VMALLOC,
    VMALLOC_ALLOC,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def get_zeroed_page(k: Kernel, order: int = 0) -> int:
    """Address of 2**order zeroed pages of the kernel's own. MachineStopped: there are none."""
    pfn = k.page_alloc.alloc_pages(order)
    if pfn is None:
        raise MachineStopped(f"kho: no block of order {order} is left")
    k.machine.bus.memory.clear(pfn << PAGE_SHIFT, PAGE_SIZE << order)
    return pfn << PAGE_SHIFT


def outgoing_of(k: Kernel) -> Outgoing:
    """What this kernel hands on. ValueError: it hands nothing on."""
    if k.kho.outgoing is None:
        raise ValueError("Kexec HandOver is off: there is nothing to hand on")
    return k.kho.outgoing


def tree_of(k: Kernel) -> RadixTree:
    """The tree of what is preserved."""
    return RadixTree(k.machine.bus.memory, outgoing_of(k).map_phys, lambda: get_zeroed_page(k))


def preserve_blocks(k: Kernel, blocks: Iterable[tuple[int, int]]) -> int:
    """Mark blocks given as (pfn, order); returns how many. Charges ``kho_preserve_block``."""
    tracked = outgoing_of(k).tracked
    if tracked is not None:
        count = 0
        for pfn, order in blocks:
            tracked.setdefault(order, set()).add(pfn >> order)
            count += 1
        k.charge("kho_preserve_block", count)
        return count
    keys = np.array(sorted(encode_key(pfn << PAGE_SHIFT, order) for pfn, order in blocks), dtype=np.uint64)
    tree_of(k).add_keys(keys)
    k.charge("kho_preserve_block", len(keys))
    return len(keys)


def preserve_pages(k: Kernel, start_pfn: int, pages: int) -> int:
    """Mark a range as the blocks it is made of; returns their number. Source: kho_preserve_pages()"""
    return preserve_blocks(k, blocks_of_range(start_pfn, start_pfn + pages))


def alloc_preserve(k: Kernel, size: int) -> int:
    """Zeroed memory for ``size`` bytes, preserved as one block; its address. Source: kho_alloc_preserve()"""
    order = max(0, (size - 1).bit_length() - PAGE_SHIFT)
    phys = get_zeroed_page(k, order)
    preserve_blocks(k, [(phys >> PAGE_SHIFT, order)])
    return phys


def preserve_vmalloc(k: Kernel, pages: list[int]) -> bytes:
    """Mark the pages of an area, by their addresses in order, and the chunks that list them; the descriptor's bytes.

    Source: kho_preserve_vmalloc(), with pages of order 0
    """
    chunk = first = alloc_preserve(k, PAGE_SIZE)
    memory = k.machine.bus.memory
    for start in range(0, len(pages), CHUNK_ADDRESSES):
        part = pages[start : start + CHUNK_ADDRESSES]
        memory.write(chunk + 8, b"".join(address.to_bytes(8, "little") for address in part))
        if len(part) == CHUNK_ADDRESSES:  # a full chunk is followed by one, needed or not
            following = alloc_preserve(k, PAGE_SIZE)
            memory.write(chunk, following.to_bytes(8, "little"))
            chunk = following
    preserve_blocks(k, ((address >> PAGE_SHIFT, 0) for address in pages))
    return VMALLOC.pack(first, len(pages), VMALLOC_ALLOC, 0)


def add_subtree(k: Kernel, name: str, phys: int, size: int) -> None:
    """Put a blob's place and size into the root tree, under its name. FdtError: it is there, or the page is full."""
    out = outgoing_of(k)
    if out.tracked is not None:
        out.blobs.append((name, phys))
        return
    add_subnode(out.page, name, [u64(SUB_TREE_PROP, phys), u64(SUB_TREE_SIZE_PROP, size)])
    k.machine.bus.memory.write(out.fdt_phys, bytes(out.page))


def finalize(k: Kernel) -> None:
    """Write memory map and root tree down, as kernels of kho-v1 do at the end. Source: kho_finalize() @ v6.16"""
    out = outgoing_of(k)
    if out.tracked is None:
        return
    numbers = [(order, np.array(sorted(found), dtype=np.uint64)) for order, found in out.tracked.items()]
    out.map_phys = serialize(k.machine.bus.memory, numbers, lambda size: get_zeroed_page(k))
    properties = [string("compatible", k.behaviour.kho_compatible), u64(MEMORY_MAP_PROP, out.map_phys)]
    nodes = [Node(name, [u64(SUB_FDT_PROP_V1, phys)]) for name, phys in out.blobs]
    out.page = write(Node("", properties, nodes), PAGE_SIZE)
    k.machine.bus.memory.write(out.fdt_phys, bytes(out.page))
