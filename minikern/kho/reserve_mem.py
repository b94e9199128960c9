"""``reserve_mem=SIZE:ALIGN:NAME``: memory with a name, which Kexec HandOver brings through to the next kernel.

Source: mm/memblock.c:reserve_mem() @ v7.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import memparse
from minikern.core.moduleparam import Parameter, setup_param
from minikern.core.printk import Level
from minikern.kho.incoming import ENOENT, RetrieveError, retrieve_subtree
from minikern.kho.retrieve import phys_to_virt
from minikern.state.fdt import FdtError, Tree
from minikern.state.kho import Reservation
from minikern.state.kho_abi import MEMBLOCK_COMPATIBLE, MEMBLOCK_NODE, PAGE_SIZE, RESERVE_MEM_COMPATIBLE

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

SMP_CACHE_BYTES = 64
RESERVE_MEM_MAX_ENTRIES = 8
RESERVE_MEM_NAME_SIZE = 16


def reserve_mem(k: Kernel, value: str) -> bool:
    """Take one ``reserve_mem=``; False if it is refused, and the word is then left to init."""
    if len(k.kho.reservations) >= RESERVE_MEM_MAX_ENTRIES:
        return _refused(k, "no more room for reserved memory")
    asked = _parse(value)
    if asked is None:
        return _refused(k, "empty or malformed parameter")
    size, align, name = asked
    if any(held.name == name for held in k.kho.reservations):
        return _refused(k, f'name "{name}" was already used')
    if _revive(k, name, size, align):
        return True
    place = k.memblock.phys_alloc_range(size, align, 0, 0)
    if place is None:
        return _refused(k, "memblock allocation failed")
    k.kho.reservations.append(Reservation(name, place, size))
    return True


def _revive(k: Kernel, name: str, size: int, align: int) -> bool:
    # Source: mm/memblock.c:reserve_mem_kho_revive() @ v7.2
    tree = _memblock_tree(k)
    if tree is None:
        return False
    offset = tree.subnode_offset(name)
    if offset < 0:
        k.printk(f"FDT '{MEMBLOCK_NODE}' has no child '{name}': {offset}", Level.WARNING)
        return False
    wrong = tree.node_check_compatible(offset, RESERVE_MEM_COMPATIBLE)
    if wrong:
        k.printk(f"Node '{name}' is incompatible with '{RESERVE_MEM_COMPATIBLE}': {wrong}", Level.WARNING)
        return False
    start, held = tree.getprop_u64(offset, "start"), tree.getprop_u64(offset, "size")
    if start is None or held is None:
        return False
    if start & (align - 1):
        k.printk(f"KHO reserve-mem '{name}' has wrong alignment ({align:#x}, {start:#x})", Level.WARNING)
        return False
    if held != size:
        k.printk(f"KHO reserve-mem '{name}' has wrong size ({held:#x} != {size:#x})", Level.WARNING)
        return False
    k.kho.reservations.append(Reservation(name, start, size))
    k.printk(f"Revived memory reservation '{name}' from KHO")
    return True


def _memblock_tree(k: Kernel) -> Tree | None:
    # Source: mm/memblock.c:reserve_mem_kho_retrieve_fdt() @ v7.2
    try:
        phys, _ = retrieve_subtree(k, MEMBLOCK_NODE)
    except RetrieveError as error:
        if error.code != ENOENT:
            k.printk(f"failed to retrieve FDT '{MEMBLOCK_NODE}' from KHO: {error.code}", Level.WARNING)
        return None
    try:
        tree = Tree(phys_to_virt(k, phys, PAGE_SIZE))
    except FdtError as error:
        wrong = error.code
    else:
        wrong = tree.node_check_compatible(0, MEMBLOCK_COMPATIBLE)
        if not wrong:
            return tree
    text = f"FDT '{MEMBLOCK_NODE}' is incompatible with '{MEMBLOCK_COMPATIBLE}': {wrong}"
    k.printk(text, Level.WARNING)
    return None


def _refused(k: Kernel, why: str) -> bool:
    if k.behaviour.reserve_mem_lines:  # older kernels leave the word to init without one
        k.printk(f"reserve_mem: {why}", Level.ERR)
    return False


def _parse(text: str) -> tuple[int, int, str] | None:
    size, rest = memparse(text)
    if not size or not rest.startswith(":"):
        return None
    align, name = memparse(rest[1:])
    if not name.startswith(":"):
        return None
    name = name[1:]
    if not name.strip() or len(name) >= RESERVE_MEM_NAME_SIZE:
        return None
    return size, max(align, SMP_CACHE_BYTES), name


PARAMETERS: tuple[Parameter[Kernel], ...] = (setup_param("reserve_mem=", reserve_mem),)
