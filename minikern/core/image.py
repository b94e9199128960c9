"""Sizes of one kernel build: what its linker laid out and what its structures take."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

HUGE_PAGE_KIB = 2048  # code, constants and data each begin at one; Source: arch/x86/kernel/vmlinux.lds.S @ v6.12
PAGE_KIB = 4


class ImageSizes(msgspec.Struct, forbid_unknown_fields=True):
    """Linker sizes of one kernel build: KiB for the ``Memory:`` line, bytes for addresses."""

    code_kib: int
    rwdata_kib: int
    rodata_kib: int
    init_kib: int
    bss_kib: int
    text_start: int  # physical, without KASLR
    brk_start: int
    brk_bytes: int  # used when memblock takes over
    percpu_static_bytes: int
    write_protect_kib: int
    node_data_bytes: int  # pg_data_t as nodes with memory get it
    source: str
    pglist_data_bytes: int = 0  # pg_data_t of a node without memory; 0: as large as the others'
    printk_info_bytes: int = 88  # of a log record; Source: kernel/printk/printk_ringbuffer.h @ v6.12
    kernel_end: int = 0  # physical address behind the early heap where a log told it; 0: not known
    real_mode_bytes: int = 28672  # start-up code of further CPUs; as allocated by Debian's kernels
    smp_locks_kib: int = 0  # given back after boot; 0 where not known
    decrypted_kib: int = 0  # same, the unused rest of .bss..decrypted
    text_rodata_gap_kib: int = 0
    rodata_data_gap_kib: int = 0

    @property
    def end(self) -> int:
        """Physical address behind the image, its early heap included."""
        return self.kernel_end or self.brk_start + self.brk_bytes

    def moved(self, delta: int) -> ImageSizes:
        """The same image ``delta`` bytes further up."""
        names = ["text_start", "brk_start", *(["kernel_end"] if self.kernel_end else [])]
        return msgspec.structs.replace(self, **{name: getattr(self, name) + delta for name in names})


def linked(code_kib: int, rodata_kib: int) -> dict[str, int]:
    """What the linker makes of code and constants of that size: the gaps behind them, and what is write-protected."""
    text_room, rodata_gap = -code_kib % HUGE_PAGE_KIB, -rodata_kib % HUGE_PAGE_KIB
    return {
        "text_rodata_gap_kib": text_room // PAGE_KIB * PAGE_KIB,  # of whole pages
        "rodata_data_gap_kib": rodata_gap,
        "write_protect_kib": code_kib + text_room + rodata_kib + rodata_gap,
    }


def with_layout(parent: Mapping[str, int | str], own: Mapping[str, int | str]) -> dict[str, int | str]:
    """Sizes of ``own`` over those of ``parent``; with code or constants of another size go other gaps."""
    sizes = {**parent, **own}
    code, rodata = sizes.get("code_kib"), sizes.get("rodata_kib")
    if ("code_kib" in own or "rodata_kib" in own) and isinstance(code, int) and isinstance(rodata, int):
        sizes.update(linked(code, rodata))
    return {**sizes, **own}
