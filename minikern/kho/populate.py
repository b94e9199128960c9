"""What the kernel before left: taken, or refused, before anything is allocated.

Source: kernel/liveupdate/kexec_handover.c:kho_populate() @ v7.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import BusError, MachineStopped
from minikern.core.printk import Level
from minikern.state.fdt import FdtError, Tree
from minikern.state.kho import Incoming, Scratch
from minikern.state.kho_abi import KHO_DATA, MEMORY_MAP_PROP, PAGE_SIZE, SCRATCH

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

NR_FIX_BTMAPS = 64  # pages mapped at a time; Source: arch/x86/include/asm/fixmap.h


class _RefusedError(Exception):
    """Nothing is taken; the text is the kernel's, empty if it has none."""


def add_kho(k: Kernel, node: int, size: int) -> None:
    """Take the ``setup_data`` node of Kexec HandOver. Source: arch/x86/kernel/setup.c:add_kho() @ v7.2"""
    if size < KHO_DATA.size:
        return
    kho_populate(k, *KHO_DATA.unpack(k.machine.bus.read_bytes(node, KHO_DATA.size)))


def kho_populate(k: Kernel, fdt_phys: int, fdt_len: int, scratch_phys: int, scratch_len: int) -> None:
    """Look at the root tree and the scratch areas; from then on memory comes from scratch only.

    Sets ``k.kho.incoming``. Whatever is wrong is said in the kernel's words, and everything handed over is lost.
    """
    try:
        tree = _root(k, fdt_phys, fdt_len)
        areas = _areas(k, scratch_phys, scratch_len)
    except _RefusedError as why:
        if str(why):
            k.printk(f"KHO: {why}", Level.WARNING)
        k.printk("KHO: disabling KHO revival", Level.WARNING)
        return
    for area in areas:
        k.memblock.add(area.addr, area.size)
        k.memblock.mark_kho_scratch(area.addr, area.size)
    k.memblock.reserve(scratch_phys, scratch_len)
    k.memblock.kho_scratch_only = True
    k.kho.incoming = Incoming(fdt_phys, tree)
    k.kho.scratch, k.kho.scratch_phys = areas, scratch_phys
    k.printk("KHO: found kexec handover data.")


def _root(k: Kernel, address: int, size: int) -> Tree:
    compatible = k.behaviour.kho_compatible
    data = _early_memremap(k, address, size, f"failed to memremap FDT ({address:#x})")
    try:
        tree = Tree(data)
    except FdtError as error:
        raise _RefusedError(f"setup: handover FDT ({address:#x}) is invalid: {error.code}") from error
    if tree.end > size:
        raise MachineStopped(f"early exception 0e: the handover FDT at {address:#x} leaves its {size} bytes")
    wrong = tree.node_check_compatible(0, compatible)
    if wrong:
        raise _RefusedError(f"setup: handover FDT ({address:#x}) is incompatible with '{compatible}': {wrong}")
    memory_map = tree.getprop_u64(0, MEMORY_MAP_PROP)
    if memory_map is None:
        k.printk("KHO: failed to get preserved memory map", Level.ERR)
    if not memory_map:
        raise _RefusedError
    return tree


def _areas(k: Kernel, address: int, size: int) -> list[Scratch]:
    failed = f"failed to memremap scratch (phys={address:#x}, len={size})"
    data = _early_memremap(k, address, size, failed)
    whole = size // SCRATCH.size * SCRATCH.size
    return [Scratch(*area) for area in SCRATCH.iter_unpack(data[:whole])]


def _early_memremap(k: Kernel, address: int, size: int, failed: str) -> bytes:
    # A mapping of nothing, or of more than the slots there are, fails. Source: mm/early_ioremap.c @ v7.2
    first, last = address // PAGE_SIZE, (address + size - 1) // PAGE_SIZE
    if not size or last - first >= NR_FIX_BTMAPS:
        raise _RefusedError(f"setup: {failed}")
    try:
        return k.machine.bus.read_bytes(address, size)
    except BusError as error:
        raise _RefusedError(f"setup: {failed}") from error

