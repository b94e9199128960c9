"""What the kernel does early with the EFI memory map: free address space the firmware only used for its own MMIO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.mm import e820

if TYPE_CHECKING:
    from minikern.kernel import Kernel

EFI_INFO = 0x1C0  # Source: arch/x86/include/uapi/asm/bootparam.h:struct boot_params
EFI_MEMORY_MAPPED_IO = 11  # Source: UEFI 2.10 clause 7.2
MIN_DESCRIPTOR, MAX_MAP_BYTES = 40, 1 << 20
MIN_REMOVED_BYTES = 256 << 10  # smaller ranges may be IOAPICs and the like; Source: efi_remove_e820_mmio()


def efi_init(k: Kernel) -> None:
    """Read the map the loader left and drop large MMIO ranges from the e820 map.

    Source: arch/x86/platform/efi/efi.c:efi_init(), efi_remove_e820_mmio() @ v6.12
    """
    if not k.behaviour.get("efi_mmio_removed", True) or k.boot_params.efi_loader not in (b"EL64", b"EL32"):
        return
    index = 0
    for kind, start, pages in _descriptors(k):
        if kind != EFI_MEMORY_MAPPED_IO or not pages:
            continue
        _remove(k, index, start, pages << e820.PAGE_SHIFT)
        index += 1
    if index:
        k.e820.table = e820.update_table(k.e820.table) or k.e820.table


def _descriptors(k: Kernel) -> list[tuple[int, int, int]]:
    cpu = k.machine.boot_cpu
    info = cpu.rsi + EFI_INFO
    step, size = cpu.read(info + 8, 4), cpu.read(info + 20, 4)
    place = cpu.read(info + 16, 4) | cpu.read(info + 28, 4) << 32
    if not MIN_DESCRIPTOR <= step <= 4096 or size > MAX_MAP_BYTES:
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
    e820.debug_change(k, "remove", start, size, e820.type_name(e820.Type.RESERVED))
    k.e820.table = e820.range_remove(k.e820.table, start, size, e820.Type.RESERVED, True)
