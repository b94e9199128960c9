"""What the kernel does early with EFI memory: free space the firmware used for its own MMIO, keep tables it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.core.moduleparam import Parameter, Words, early_param
from minikern.core.printk import Level
from minikern.mm.buddy.free_reserved import free_reserved_area
from minikern.mm.early import e820
from minikern.state.e820 import Type

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

EFI_INFO = 0x1C0  # Source: arch/x86/include/uapi/asm/bootparam.h:struct boot_params
EFI_BOOT_SERVICES = (3, 4)  # code, data; Source: UEFI 2.10 clause 7.2
EFI_WORDS = Words(
    ("debug", "noruntime", "runtime"),
    ("nochunk", "novamap", "nosoftreserve", "disable_early_pci_dma", "no_disable_early_pci_dma", "old_map"),
)
EFI_MEMORY_MAPPED_IO = 11
REAL_MODE_END = 1 << 20
MIN_DESCRIPTOR, MAX_MAP_BYTES = 40, 1 << 20
SETUP_EFI = 4  # a node of setup_data; Source: arch/x86/include/uapi/asm/setup_data.h
MEMATTR_HEAD = 16  # bytes in front of the table's descriptors; Source: UEFI 2.10 clause 4.6.4
MIN_REMOVED_BYTES = 256 << 10  # smaller ranges may be IOAPICs and the like; Source: efi_remove_e820_mmio()


def efi_init(k: Kernel) -> None:
    """Read the map the loader left and drop large MMIO ranges from the e820 map.

    Source: arch/x86/platform/efi/efi.c:efi_init(), efi_remove_e820_mmio() @ v6.12
    """
    _reserve_unaccepted(k)
    if not k.behaviour.efi_mmio_removed or not memmap_enabled(k):
        return
    index = 0
    for kind, start, pages in _descriptors(k):
        if kind != EFI_MEMORY_MAPPED_IO or not pages:
            continue
        _remove(k, index, start, pages << PAGE_SHIFT)
        index += 1
    if index:
        k.e820.table = e820.e820__update_table(k.e820.table) or k.e820.table


def _reserve_unaccepted(k: Kernel) -> None:
    # The table lies in what e820 calls ACPI data or reserved. Source: drivers/firmware/efi/efi.c:reserve_unaccepted()
    boot = k.machine.spec.boot
    if not boot.efi_unaccepted or not k.behaviour.efi_unaccepted or k.cmdline.has("noefi"):
        return
    start = boot.efi_unaccepted // PAGE_SIZE * PAGE_SIZE
    size = -(-(boot.efi_unaccepted + boot.efi_unaccepted_bytes) // PAGE_SIZE) * PAGE_SIZE - start
    k.memblock.add(start, size)
    k.memblock.reserve(start, size)


def memmap_enabled(k: Kernel) -> bool:
    """True if the loader was EFI and the command line lets the kernel use its memory map.

    Source: arch/x86/platform/efi/efi.c:efi_init(), drivers/firmware/efi/efi.c:setup_noefi() @ v6.12
    """
    if k.boot_params.efi_loader not in (b"EL64", b"EL32") or k.cmdline.has("noefi"):
        return False
    words = [word for word in k.cmdline.words("efi") if word in ("noruntime", "runtime")]
    return words[-1:] != ["noruntime"]


def parse_efi_cmdline(k: Kernel, value: str | None) -> bool:
    """``efi=`` needs words; the generic code and the architecture's each say so.

    Source: drivers/firmware/efi/efi.c:parse_efi_cmdline(), arch/x86/platform/efi/efi.c @ v6.12
    """
    if value is None:
        k.printk("efi: need at least one option", Level.WARNING)
    return value is not None


def debug(k: Kernel) -> bool:
    """True with ``efi=debug``, which keeps all of the map. Source: arch/x86/platform/efi/efi.c:parse_efi_cmdline()"""
    return "debug" in k.cmdline.words("efi")


def started_by_kexec(k: Kernel) -> bool:
    """True if an earlier kernel told where the firmware lies. Source: arch/x86/kernel/setup.c:parse_setup_data()"""
    return any(kind == SETUP_EFI for _, kind, _ in k.boot_params.setup_data)


def raw_map(k: Kernel) -> tuple[bytes, int]:
    """The map's bytes in memory, whole descriptors, and the bytes of one."""
    place, step, size = _memmap(k)
    return (k.machine.bus.read_bytes(place, size // step * step) if step else b""), step


def reserve_memmap(k: Kernel) -> None:
    """Keep the map itself. Source: arch/x86/platform/efi/efi.c:efi_memblock_x86_reserve_range() @ v6.12"""
    if k.boot_params.efi_loader in (b"EL64", b"EL32"):
        place, step, size = _memmap(k)
        k.memblock.reserve(place, size // step * step if step else 0)


def reserve_boot_services(k: Kernel) -> None:
    """Leave the firmware's code and data alone until it has switched to virtual addresses.

    Source: arch/x86/platform/efi/quirks.c:efi_reserve_boot_services() @ v6.12
    """
    if not memmap_enabled(k):
        return
    for kind, start, pages in _descriptors(k):
        if kind not in EFI_BOOT_SERVICES or not pages:
            continue
        end = start + (pages << PAGE_SHIFT)
        if _is_reserved(k, start, end):
            continue  # somebody else's, who will not give it back
        k.memblock.reserve(start, end - start)
        if not _holds_kernel(k, start, end) and e820.e820__mapped_all(k.e820.table, start, end, Type.RAM):
            k.efi.boot_services.append((start, end))


def _is_reserved(k: Kernel, start: int, end: int) -> bool:
    # Any overlap counts. Source: mm/memblock.c:memblock_is_region_reserved() @ v6.12
    return k.memblock.reserved.overlaps(start, end)


def _holds_kernel(k: Kernel, start: int, end: int) -> bool:
    image = k.release.image
    return end > image.text_start and start <= image.end


def free_boot_services(k: Kernel) -> None:
    """Give those ranges to the page allocator. Source: arch/x86/platform/efi/quirks.c:efi_free_boot_services()

    Not with ``efi=debug``, nor after a kexec, where nobody switches the firmware to virtual addresses again.
    """
    if debug(k) or started_by_kexec(k):
        return
    for start, end in k.efi.boot_services:
        kept = [(low, high) for low, high in k.efi.kept if low < end and high > start]
        at = max(start, REAL_MODE_END)  # the first MiB stays reserved, whoever had it
        for low, high in [*sorted(kept), (end, end)]:
            if at < low:
                free_reserved_area(k, at, low, "")
            at = max(at, high)


def reserve_tables(k: Kernel) -> None:
    """Keep the tables in boot-services memory: the ESRT, variables of the machine owner's keys.

    Source: drivers/firmware/efi/esrt.c:efi_esrt_init(), mokvar-table.c:efi_mokvar_table_init() @ v6.12
    """
    boot = k.machine.spec.boot
    if memmap_enabled(k) and any(kept.start <= boot.efi_memattr < kept.end for kept in boot.boot_services):
        # Not through efi_mem_reserve(). Source: drivers/firmware/efi/memattr.c:efi_memattr_init() @ v6.12
        k.memblock.reserve(boot.efi_memattr, MEMATTR_HEAD)
    for kept in k.machine.spec.boot.efi_tables:
        efi_mem_reserve(k, kept.start, kept.end - kept.start)


def reserve_images(k: Kernel) -> None:
    """Keep the boot logo. Source: drivers/firmware/efi/efi-bgrt.c:efi_bgrt_init() @ v6.12"""
    for kept in k.machine.spec.boot.efi_images:
        efi_mem_reserve(k, kept.start, kept.end - kept.start)


def efi_mem_reserve(k: Kernel, start: int, size: int) -> None:
    """Take whole pages from memory that would be given back with the rest of the boot services.

    Source: arch/x86/platform/efi/quirks.c:efi_arch_mem_reserve() @ v6.12
    """
    if not memmap_enabled(k):
        return
    k.memblock.reserve(start, size)
    k.efi.kept.append((start, start + size))
    first, end = start // PAGE_SIZE * PAGE_SIZE, -(-(start + size) // PAGE_SIZE) * PAGE_SIZE
    ram, reserved = Type.RAM, Type.RESERVED
    e820.debug_change(k, "update", first, end - first, e820.logged_change(k, ram, reserved))
    k.e820.table = e820.e820__range_update(k.e820.table, first, end - first, ram, reserved)
    k.e820.table = e820.e820__update_table(k.e820.table) or k.e820.table


def _memmap(k: Kernel) -> tuple[int, int, int]:
    """Address of the map, bytes of a descriptor, bytes of the map; zeros if the zero page's figures make no sense."""
    cpu = k.machine.boot_cpu
    info = cpu.rsi + EFI_INFO
    step, size = cpu.read(info + 8, 4), cpu.read(info + 20, 4)
    place = cpu.read(info + 16, 4) | cpu.read(info + 28, 4) << 32
    return (place, step, size) if MIN_DESCRIPTOR <= step <= 4096 and size <= MAX_MAP_BYTES else (0, 0, 0)


def _descriptors(k: Kernel) -> list[tuple[int, int, int]]:
    cpu = k.machine.boot_cpu
    place, step, size = _memmap(k)
    if not step:
        return []
    return [
        (cpu.read(at, 4), cpu.read(at + 8, 8), cpu.read(at + 24, 8) & (1 << 40) - 1)
        for at in range(place, place + size // step * step, step)
    ]


def _remove(k: Kernel, index: int, start: int, size: int) -> None:
    where = f"mem{index:02d}: MMIO range=[{start:#010x}-{start + size - 1:#010x}]"
    if size < MIN_REMOVED_BYTES:
        k.printk(f"efi: Not removing {where} ({size >> 10}KB) from e820 map")
        return
    k.printk(f"efi: Remove {where} ({size >> 20}MB) from e820 map")
    e820.debug_change(k, "remove", start, size, e820.logged_type(k, Type.RESERVED))
    k.e820.table = e820.e820__range_remove(k.e820.table, start, size, Type.RESERVED, True)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("noefi", read_by=memmap_enabled),
    early_param("efi", parse_efi_cmdline, read_by=memmap_enabled, words=EFI_WORDS),
    early_param("efi", parse_efi_cmdline, read_by=debug, words=EFI_WORDS),
)
