"""Extended scratch: whole gigabytes in which nothing was preserved serve as scratch too.

The areas set aside on the cold boot are a guess; what is needed beyond them comes from memory that nobody handed over.
Source: kernel/liveupdate/kexec_handover.c:kho_memory_init_early(), kho_extend_scratch() @ v7.3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT
from minikern.kho.radix import decode_key
from minikern.kho.retrieve import walk_incoming

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

EXT_SHIFT = 30  # KHO_SCRATCH_EXT_BLKSIZE


def kho_memory_init_early(k: Kernel) -> None:
    """Walk what was handed over, and mark all other memory as scratch; before nodes and zones are laid out.

    Charges ``kho_radix_key``.
    """
    if k.kho.incoming is None or not k.behaviour.kho_extended_scratch:
        return
    busy, keys = set[int](), 0
    for start, count in walk_incoming(k, busy.add):
        phys, order = decode_key(start)
        end = phys + (count << order + PAGE_SHIFT)
        busy.update(range(phys >> EXT_SHIFT << EXT_SHIFT, end, 1 << EXT_SHIFT))
        keys += count
    k.charge("kho_radix_key", keys)
    previous = 0
    for block in sorted({address >> EXT_SHIFT << EXT_SHIFT for address in busy}):
        if block > previous:
            k.memblock.mark_kho_scratch(previous, block - previous)
        previous = block + (1 << EXT_SHIFT)
    if previous < k.memblock.end_of_dram():
        k.memblock.mark_kho_scratch(previous, k.memblock.end_of_dram() - previous)
