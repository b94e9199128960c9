"""Small pieces of memblock memory that start-up keeps: copies of the command line, per-CPU bookkeeping, CPU masks.

None of them matters by its size, but together they decide which page the next allocation gets, and how many pages are
managed in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.numbers import is_count
from hw.units import PAGE_SIZE, SMP_CACHE_BYTES
from minikern.core.moduleparam import Parameter, module_param, needs_uint

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.mm.early.percpu import AllocInfo

IOAPIC_RESOURCE_BYTES = 64 + 11  # struct resource and its name; Source: arch/x86/kernel/apic/io_apic.c
PCPU_MIN_ALLOC_SIZE = 4  # Source: include/linux/percpu.h
PCPU_SLOT_BASE_SHIFT = 5  # Source: mm/percpu.c
PCPU_BLOCK_MD_BYTES, LIST_HEAD_BYTES = 32, 16  # Source: mm/percpu-internal.h, include/linux/types.h
# struct cpu_entry_area in pages: GDT, entry stack, TSS, stacks with their guards, debug store and its buffers.
# Source: arch/x86/include/asm/cpu_entry_area.h @ v6.12
CEA_MAPPED_PAGES, CEA_PAGES = 1 + 1 + 5 + 18, 1 + 1 + 5 + 19 + 1 + 32
PTES = 512
CEA_PAGES_PER_GIB = 1 << 18
LOADFLAGS, KASLR_FLAG = 0x211, 1 << 1  # Source: arch/x86/include/uapi/asm/bootparam.h @ v6.12
KFENCE_METADATA_BYTES = 1160  # struct kfence_metadata; Source: mm/kfence/kfence.h @ v6.12


def setup_command_line(k: Kernel) -> None:
    """Two copies of the command line. Source: init/main.c:setup_command_line() @ v6.12"""
    for _ in ("saved", "static"):
        k.memblock.alloc(len(k.cmdline.text.encode()) + 1, SMP_CACHE_BYTES)


def ioapic_setup_resources(k: Kernel) -> None:
    """Source: arch/x86/kernel/apic/io_apic.c:ioapic_setup_resources() @ v6.12"""
    count = len(k.acpi.ioapics) if k.acpi else 0
    if count:
        k.memblock.alloc(IOAPIC_RESOURCE_BYTES * count, SMP_CACHE_BYTES)


def pcpu_setup_first_chunk(k: Kernel, info: AllocInfo) -> None:
    """Tables of groups and units, slots, and the chunks of the reserved and of the dynamic part.

    Source: mm/percpu.c:pcpu_setup_first_chunk() @ v6.12
    """
    nr_cpu_ids, groups = k.cpus.nr_cpu_ids, len(info.groups)
    for size in (8 * groups, 8 * groups, 4 * nr_cpu_ids, 8 * nr_cpu_ids):
        k.memblock.alloc(size, SMP_CACHE_BYTES)
    # Slots by the size of what is free, then those for sidelined, free and depopulated chunks.
    slots = max(info.unit.bit_length() - PCPU_SLOT_BASE_SHIFT + 2, 1) + 1 + 3
    if not k.behaviour.pcpu_depopulate:
        slots -= 2
    k.memblock.alloc(slots * LIST_HEAD_BYTES, SMP_CACHE_BYTES)
    static = -(-info.static // PCPU_MIN_ALLOC_SIZE) * PCPU_MIN_ALLOC_SIZE
    dynamic = info.dynamic - (static - info.static)
    for start, size in ((static, info.reserved), (static + info.reserved, dynamic)):
        if size:
            _alloc_first_chunk(k, start, size)


def _alloc_first_chunk(k: Kernel, start: int, size: int) -> None:
    """Source: mm/percpu.c:pcpu_alloc_first_chunk() @ v6.12"""
    pages = -(-(start % PAGE_SIZE + size) // PAGE_SIZE)
    bits = pages * PAGE_SIZE // PCPU_MIN_ALLOC_SIZE
    fixed = k.behaviour.pcpu_chunk_bytes
    for part in (fixed + bitmap_bytes(pages), bitmap_bytes(bits), bitmap_bytes(bits + 1), pages * PCPU_BLOCK_MD_BYTES):
        k.memblock.alloc(part, SMP_CACHE_BYTES)


def bitmap_bytes(bits: int) -> int:
    """Bytes of a bitmap, in whole longs."""
    return -(-bits // 64) * 8


def setup_cpu_masks(k: Kernel) -> None:
    """Masks of CPUs by state and by node, when they are too large to lie in the image.

    Source: arch/x86/kernel/smpboot.c:setup_cpu_local_masks(), arch/x86/mm/numa.c:setup_node_to_cpumask_map() @ v6.12
    """
    if not k.config.get("CONFIG_CPUMASK_OFFSTACK", True):
        return
    for _ in range(k.behaviour.smp_cpu_masks + k.numa.nr_node_ids()):
        k.memblock.alloc(bitmap_bytes(k.cpus.nr_cpu_ids), SMP_CACHE_BYTES)


def kfence_alloc_pool_and_metadata(k: Kernel) -> None:
    """Room for the objects that the sampling allocator guards, if it is switched on, each between two pages of guard.

    Source: mm/kfence/core.c:kfence_alloc_pool_and_metadata() @ v6.12
    """
    objects = int(k.config.get("CONFIG_KFENCE_NUM_OBJECTS", 0))
    interval = k.cmdline.get("kfence.sample_interval") or "0"
    if not objects or not is_count(interval) or not int(interval):
        return
    k.memblock.alloc((objects + 1) * 2 * PAGE_SIZE, PAGE_SIZE)
    k.memblock.alloc(-(-objects * KFENCE_METADATA_BYTES // PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE)


def kaslr_enabled(k: Kernel) -> bool:
    """True if the decompressor moved the kernel. Source: arch/x86/include/asm/setup.h:kaslr_enabled() @ v6.12"""
    return bool(k.boot_params.page[LOADFLAGS] & KASLR_FLAG)


def trap_init(k: Kernel) -> None:
    """Page tables of the CPU entry areas, which lie side by side behind the page of the IDT.

    Since 6.2 a kernel that moved itself places them at random in 512 GiB. Where, only a running kernel knows; here each
    gets a GiB of its own, as it nearly always does, and the IDT, which is mapped later, none of the tables.
    Source: arch/x86/mm/cpu_entry_area.c:setup_cpu_entry_areas(), init_cea_offsets() @ v6.12
    """
    at_random = k.behaviour.cea_random and kaslr_enabled(k)
    used = set() if at_random else {0}
    for index in range(len(k.cpus.possible)):
        first = 1 + index * (CEA_PAGES_PER_GIB if at_random else CEA_PAGES)
        used.update(range(first // PTES, (first + CEA_PAGES - 1) // PTES + 1))
    tables = 1 + len({pte // 512 for pte in used}) + len(used)  # PUD table, PMD tables, PTE tables
    for _ in range(tables):
        k.memblock.alloc(PAGE_SIZE, PAGE_SIZE)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    module_param("kfence.sample_interval", needs_uint, read_by=kfence_alloc_pool_and_metadata),
)
