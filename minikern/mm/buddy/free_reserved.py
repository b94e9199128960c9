"""Reserved pages that go to the page allocator when booting is done with them.

Source: mm/page_alloc.c:free_reserved_area(), arch/x86/mm/init.c, arch/x86/mm/init_64.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw.units import PAGE_SIZE
from minikern.core.moduleparam import Parameter, setup_param
from minikern.mm.buddy.watermarks import managed_pages_changed
from minikern.mm.buddy.zones import memory_pfn_ranges

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

NOSAVE_BYTES = PAGE_SIZE  # between the locks and bss; Source: arch/x86/kernel/vmlinux.lds.S


class ImageLayout(NamedTuple):
    """Physical ranges [start, end) inside the kernel image that can be given back, in bytes."""

    smp_locks: tuple[int, int]
    decrypted: tuple[int, int]
    init: tuple[int, int]
    text_rodata_gap: tuple[int, int]
    rodata_data_gap: tuple[int, int]


def image_layout(k: Kernel) -> ImageLayout:
    """Where the parts lie, from the linker's sizes. Source: arch/x86/kernel/vmlinux.lds.S @ v6.12"""
    image = k.release.image
    text_end = _page_align(image.text_start + (image.code_kib << 10) + 1)
    if not image.text_rodata_gap_kib:
        text_end = image.text_start + (image.code_kib << 10)
    rodata = text_end + (image.text_rodata_gap_kib << 10)
    rodata_end = rodata + (image.rodata_kib << 10)
    bss = image.brk_start - (image.bss_kib << 10)
    locks_end = bss - NOSAVE_BYTES
    locks = locks_end - (image.smp_locks_kib << 10)
    parts = [
        (text_end, rodata),
        (rodata_end, rodata_end + (image.rodata_data_gap_kib << 10)),
        (locks - (image.init_kib << 10), locks),
        (locks, locks_end),
        (max(bss, image.brk_start - (image.decrypted_kib << 10)), image.brk_start),
    ]
    text_gap, rodata_gap, init, smp_locks, decrypted = _one_after_the_other(parts, image.text_start, image.brk_start)
    return ImageLayout(smp_locks, decrypted, init, text_gap, rodata_gap)


def _one_after_the_other(parts: list[tuple[int, int]], low: int, high: int) -> list[tuple[int, int]]:
    # Sizes put together from a log need not fit into each other: nothing is given back twice, nor from outside.
    placed = []
    for start, end in parts:
        low = max(low, start)
        placed.append((min(low, high), max(min(low, high), min(end, high))))
        low = placed[-1][1]
    return placed


def _page_align(address: int) -> int:
    return -(-address // PAGE_SIZE) * PAGE_SIZE


def free_reserved_area(k: Kernel, start: int, end: int, what: str) -> int:
    """Free the whole pages of [start, end) bytes, with a line if ``what`` names them; returns how many."""
    count = 0
    first, last = -(-start // PAGE_SIZE), end // PAGE_SIZE
    for low, high, _ in memory_pfn_ranges(k):
        count += k.page_alloc.free_reserved_range(max(low, first), min(high, last))
    managed_pages_changed(k)
    if what and count:
        k.printk(f"Freeing {what} memory: {count * (PAGE_SIZE >> 10)}K")
    return count


def free_smp_locks(k: Kernel) -> None:
    """The list of lock prefixes, unless a CPU may still come that needs them.

    Source: arch/x86/kernel/alternative.c:alternative_instructions() @ v6.12
    """
    present, possible = len(k.cpus.present), len(k.cpus.possible)
    alone = present == 1 or k.cpus.setup_max_cpus <= 1
    if not alone or possible == 1 or k.cmdline.has("noreplace-smp"):
        free_reserved_area(k, *image_layout(k).smp_locks, "SMP alternatives")


def free_initmem(k: Kernel) -> None:
    """What only booting needed, and room in the image that alignment left.

    Source: arch/x86/mm/init.c:free_initmem(), init_64.c:mark_rodata_ro() @ v6.12
    """
    layout = image_layout(k)
    free_reserved_area(k, *layout.decrypted, "unused decrypted")
    named = k.behaviour.freed_image_parts
    free_reserved_area(k, *layout.init, f"unused kernel image{' (initmem)' if named else ''}")
    k.printk(f"Write protecting the kernel read-only data: {k.release.image.write_protect_kib}k")
    for gap, name in ((layout.text_rodata_gap, "text/rodata gap"), (layout.rodata_data_gap, "rodata/data gap")):
        free_reserved_area(k, *gap, f"unused kernel image{f' ({name})' if named else ''}")


def free_initrd_mem(k: Kernel) -> None:
    """The initrd, once it is unpacked. Source: init/initramfs.c:do_populate_rootfs() @ v6.12"""
    address, size = k.boot_params.ramdisk
    free_reserved_area(k, address, _page_align(address + size), "initrd")


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("noreplace-smp", read_by=free_smp_locks),
)
