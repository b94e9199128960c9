"""What a kernel gets ready for its successor while it boots.

Source: kernel/liveupdate/kexec_handover.c:kho_init(), kho_out_kexec_metadata(); mm/memblock.c:prepare_kho_fdt();
kernel/liveupdate/luo_core.c:luo_late_startup() @ v7.2
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.kho import preserve
from minikern.state import fdt
from minikern.state.kho import Outgoing
from minikern.state.kho_abi import (
    KHO_V1,
    LUO,
    LUO_COMPATIBLE,
    LUO_NODE,
    MEMBLOCK_COMPATIBLE,
    MEMBLOCK_NODE,
    MEMORY_MAP_PROP,
    METADATA,
    METADATA_NODE,
    METADATA_VERSION,
    RESERVE_MEM_COMPATIBLE,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def kho_init(k: Kernel) -> None:
    """An empty memory map, the root tree, and who this kernel is; by an fs_initcall."""
    if not k.kho.enabled:
        return
    if k.behaviour.kho_compatible == KHO_V1:
        place = preserve.get_zeroed_page(k)
        k.kho.outgoing = Outgoing(place, 0, bytearray(), tracked={})
        preserve.preserve_pages(k, place >> PAGE_SHIFT, 1)
        return
    map_phys = preserve.get_zeroed_page(k)
    fdt_phys = preserve.get_zeroed_page(k)
    page = root_tree(k.behaviour.kho_compatible, map_phys)
    k.kho.outgoing = Outgoing(fdt_phys, map_phys, page)
    k.machine.bus.memory.write(fdt_phys, bytes(page))
    preserve.preserve_pages(k, fdt_phys >> PAGE_SHIFT, 1)
    release = kernel_release(k).encode()[:64]
    add_blob(k, METADATA_NODE, METADATA.pack(METADATA_VERSION, release, k.kho.kexec_count + 1))


def root_tree(compatible: str, map_phys: int) -> bytearray:
    """The root tree's page, without blobs. Source: kho_out_fdt_setup()"""
    properties = [fdt.string("compatible", compatible), fdt.u64(MEMORY_MAP_PROP, map_phys)]
    return fdt.write(fdt.Node("", properties), PAGE_SIZE)


def kernel_release(k: Kernel) -> str:
    """What ``uname -r`` says: the word behind the banner's beginning."""
    found = re.match(r"Linux version (\S+)", k.release.banner)
    return found[1] if found else k.release.version


def add_blob(k: Kernel, name: str, data: bytes) -> int:
    """Preserve ``data`` in pages of its own and name it in the root tree; returns its address."""
    phys = preserve.alloc_preserve(k, len(data))
    k.machine.bus.memory.write(phys, data)
    preserve.add_subtree(k, name, phys, len(data))
    return phys


def luo_late_startup(k: Kernel) -> None:
    """The orchestrator's header, if it is offered; by a late initcall. That of kho-v1's time is not modelled."""
    if not k.kho.liveupdate or k.kho.outgoing is None or k.kho.outgoing.tracked is not None:
        return
    flbs = preserve.alloc_preserve(k, PAGE_SIZE)
    k.machine.bus.memory.write(flbs, (1).to_bytes(8, "little"))  # pages of the table, which is empty
    header = LUO.pack(LUO_COMPATIBLE.encode(), k.kho.liveupdate_num + 1, 0, flbs)
    k.kho.outgoing.luo_phys = add_blob(k, LUO_NODE, header)


def reserve_mem_init(k: Kernel) -> None:
    """The regions of ``reserve_mem=`` are preserved, and listed by name; by a late initcall."""
    if k.kho.outgoing is None or not k.kho.reservations:
        return
    data = regions_tree(k)
    add_blob(k, MEMBLOCK_NODE, data)
    for held in k.kho.reservations:
        preserve.preserve_pages(k, held.start >> PAGE_SHIFT, held.size >> PAGE_SHIFT)


def regions_tree(k: Kernel) -> bytes:
    """The tree of named regions, as long as it says it is."""
    nodes = [
        fdt.Node(
            held.name,
            [
                fdt.string("compatible", RESERVE_MEM_COMPATIBLE),
                fdt.u64("start", held.start),
                fdt.u64("size", held.size),
            ],
        )
        for held in k.kho.reservations
    ]
    page = fdt.write(fdt.Node("", [fdt.string("compatible", MEMBLOCK_COMPATIBLE)], nodes), PAGE_SIZE)
    return bytes(page[: fdt.Tree(bytes(page)).size])
