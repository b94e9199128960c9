"""Scratch areas: memory set aside on a cold boot, where the kernels to come may put themselves.

One area in low memory, one for allocations without a node, one on every node with memory; each as large as what this
kernel reserved for itself asks for, since the next one will want as much.
Source: kernel/liveupdate/kexec_handover.c:kho_reserve_scratch(), kho_init() @ v7.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.mm.buddy.cma import init_cma_reserved
from minikern.state.kho import Scratch
from minikern.state.kho_abi import PAGE_SIZE, SCRATCH

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ARCH_LOW_ADDRESS_LIMIT = 0xFFFF_FFFF  # Source: arch/x86/include/asm/dma.h via include/linux/memblock.h
CMA_MIN_ALIGNMENT_BYTES = 4 << 20  # Source: include/linux/cma.h @ v7.2


def reserve_scratch(k: Kernel) -> None:
    """Set the areas aside; without room for one of them Kexec HandOver is switched off."""
    state = k.kho
    if not state.enabled:
        return
    nodes = [node.nid for node in k.nodes if node.present_pages]
    lowmem, global_ = _scaled_sizes(k) if state.explicit is None else state.explicit[:2]
    count = len(nodes) + 2
    array = k.memblock.alloc(count * SCRATCH.size, PAGE_SIZE)
    if array is None:
        _disable(k, "array")
        return
    wanted = [("lowmem scratch buffer", lowmem, -1, ARCH_LOW_ADDRESS_LIMIT), ("global scratch buffer", global_, -1, 0)]
    for what, size, nid, limit in wanted:
        if not _reserve_area(k, what, size, nid, limit):
            break
    else:
        # A node's share is reckoned when its turn comes, with the areas before it reserved.
        for nid in nodes:
            if not _reserve_area(k, f"nid {nid} scratch buffer", _node_size(k, nid), nid, 0):
                break
    if len(state.scratch) == count:
        state.scratch_phys = array
        k.machine.bus.write_bytes(array, scratch_array(k))
    else:
        _give_back(k, array, count * SCRATCH.size)


def _scaled_sizes(k: Kernel) -> tuple[int, int]:
    scale, reserved = k.kho.scale, k.memblock.reserved_kern_bytes
    lowmem = reserved(ARCH_LOW_ADDRESS_LIMIT) * scale // 100
    return _round_up(lowmem), _round_up(reserved() * scale // 100 - lowmem)


def _node_size(k: Kernel, nid: int) -> int:
    if k.kho.explicit is not None:
        return _round_up(k.kho.explicit.pernode)
    return _round_up(k.memblock.reserved_kern_bytes(nid=nid) * k.kho.scale // 100)


def _round_up(size: int) -> int:
    return -(-size // CMA_MIN_ALIGNMENT_BYTES) * CMA_MIN_ALIGNMENT_BYTES


def _reserve_area(k: Kernel, what: str, size: int, nid: int, limit: int) -> bool:
    place = k.memblock.alloc(size, CMA_MIN_ALIGNMENT_BYTES, nid, max_addr=limit, exact_nid=True)
    if place is None:
        k.printk(f"KHO: Failed to reserve {what}", Level.ERR)
        return False
    k.kho.scratch.append(Scratch(place, size))
    return True


def _give_back(k: Kernel, array: int, size: int) -> None:
    for area in reversed(k.kho.scratch):
        k.memblock.phys_free(area.addr, area.size)
    k.kho.scratch.clear()
    k.memblock.phys_free(array, size)
    _disable(k)


def _disable(k: Kernel, what: str = "") -> None:
    if what:
        k.printk(f"KHO: Failed to reserve scratch {what}", Level.ERR)
    k.printk("KHO: Failed to reserve scratch area, disabling kexec handover", Level.WARNING)
    k.kho.enabled = False


def scratch_array(k: Kernel) -> bytes:
    """The areas as an array of ``struct kho_scratch``."""
    return b"".join(SCRATCH.pack(*area) for area in k.kho.scratch)


def free_scratch(k: Kernel) -> None:
    """The areas go to the buddy allocator, for pages that can be moved away again; on a boot that found them there they
    are in it already. Source: kho_init() @ v7.2
    """
    if k.kho.incoming is not None:
        return
    for area in k.kho.scratch:
        init_cma_reserved(k, area.addr // PAGE_SIZE, (area.addr + area.size) // PAGE_SIZE)
