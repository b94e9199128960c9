"""The zero page: what a boot loader fills in for the kernel. Sizes in bytes, addresses physical.

Source: Documentation/arch/x86/zero-page.rst, boot.rst; arch/x86/include/uapi/asm/bootparam.h @ v6.12
"""

from __future__ import annotations

import struct

from hw.memory import PhysicalMemory
from hw.spec import MachineSpec

SIZE = 4096
BOOT_PARAMS_ADDRESS = 0x10000
E820_ENTRY = struct.Struct("<QQI")

SETUP_HEADER: dict[str, tuple[int, int]] = {
    "setup_sects": (0x1F1, 1),
    "root_flags": (0x1F2, 2),
    "syssize": (0x1F4, 4),
    "ram_size": (0x1F8, 2),
    "vid_mode": (0x1FA, 2),
    "root_dev": (0x1FC, 2),
    "boot_flag": (0x1FE, 2),
    "jump": (0x200, 2),
    "header": (0x202, 4),
    "version": (0x206, 2),
    "realmode_swtch": (0x208, 4),
    "start_sys_seg": (0x20C, 2),
    "kernel_version": (0x20E, 2),
    "type_of_loader": (0x210, 1),
    "loadflags": (0x211, 1),
    "setup_move_size": (0x212, 2),
    "code32_start": (0x214, 4),
    "ramdisk_image": (0x218, 4),
    "ramdisk_size": (0x21C, 4),
    "bootsect_kludge": (0x220, 4),
    "heap_end_ptr": (0x224, 2),
    "ext_loader_ver": (0x226, 1),
    "ext_loader_type": (0x227, 1),
    "cmd_line_ptr": (0x228, 4),
    "initrd_addr_max": (0x22C, 4),
    "kernel_alignment": (0x230, 4),
    "relocatable_kernel": (0x234, 1),
    "min_alignment": (0x235, 1),
    "xloadflags": (0x236, 2),
    "cmdline_size": (0x238, 4),
    "hardware_subarch": (0x23C, 4),
    "hardware_subarch_data": (0x240, 8),
    "payload_offset": (0x248, 4),
    "payload_length": (0x24C, 4),
    "setup_data": (0x250, 8),
    "pref_address": (0x258, 8),
    "init_size": (0x260, 4),
    "handover_offset": (0x264, 4),
    "kernel_info_offset": (0x268, 4),
}
"""Name to (offset, size); the offset is the same in the zero page and in a bzImage. Source: boot.rst, "header"."""
SETUP_HEADER_START, SETUP_HEADER_END = 0x1F1, 0x26C

SCREEN_INFO: dict[str, tuple[int, int]] = {
    "orig_video_mode": (0x006, 1),
    "orig_video_cols": (0x007, 1),
    "orig_video_ega_bx": (0x00A, 2),
    "orig_video_lines": (0x00E, 1),
    "orig_video_isVGA": (0x00F, 1),
}
"""Of the display, as the loader found it. Source: include/uapi/linux/screen_info.h @ v6.12"""

FIELDS: dict[str, tuple[int, int]] = SETUP_HEADER | SCREEN_INFO | {
    "ext_mem_k": (0x002, 2),
    "acpi_rsdp_addr": (0x070, 8),
    "ext_ramdisk_image": (0x0C0, 4),
    "ext_ramdisk_size": (0x0C4, 4),
    "ext_cmd_line_ptr": (0x0C8, 4),
    "alt_mem_k": (0x1E0, 4),
    "e820_entries": (0x1E8, 1),
}
E820_TABLE = 0x2D0
BOOT_FLAG = 0xAA55
HDRS = int.from_bytes(b"HdrS", "little")
PROTOCOL_VERSION = 0x020F


def get(page: bytes, name: str) -> int:
    """Value of one field."""
    offset, size = FIELDS[name]
    return int.from_bytes(page[offset : offset + size], "little")


def put(page: bytearray, name: str, value: int) -> None:
    """Set one field; only its low bytes are kept."""
    offset, size = FIELDS[name]
    page[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def read_e820(page: bytes) -> list[tuple[int, int, int]]:
    """Entries of the zero page's map as (address, size, type)."""
    count = min(get(page, "e820_entries"), 128)
    return [E820_ENTRY.unpack_from(page, E820_TABLE + E820_ENTRY.size * index) for index in range(count)]


def build(spec: MachineSpec, rsdp_address: int) -> bytes:
    """The zero page of a machine; a captured one is the base where there is one."""
    page = bytearray(spec.boot.boot_params.ljust(SIZE, b"\0")[:SIZE])
    boot = spec.boot
    put(page, "boot_flag", BOOT_FLAG)
    put(page, "header", HDRS)
    put(page, "version", PROTOCOL_VERSION)
    put(page, "type_of_loader", boot.type_of_loader)
    put(page, "acpi_rsdp_addr", rsdp_address)
    put(page, "init_size", boot.init_size)
    for low, high, value in (
        ("ramdisk_image", "ext_ramdisk_image", boot.ramdisk_address),
        ("ramdisk_size", "ext_ramdisk_size", boot.ramdisk_bytes),
        ("cmd_line_ptr", "ext_cmd_line_ptr", boot.kernel_cmdline_address),
    ):
        put(page, low, value)
        put(page, high, value >> 32)
    if boot.setup_data:
        put(page, "setup_data", boot.setup_data[0].address)
    put(page, "e820_entries", len(spec.e820))
    for index, entry in enumerate(spec.e820):
        row = E820_ENTRY.pack(entry.start, entry.end - entry.start, entry.type)
        offset = E820_TABLE + E820_ENTRY.size * index
        page[offset : offset + E820_ENTRY.size] = row
    return bytes(page)


def write_setup_data(memory: PhysicalMemory, spec: MachineSpec) -> None:
    """Chain the setup_data nodes in memory: next, type, length, then the payload (zeros where none is given)."""
    nodes = spec.boot.setup_data
    for node, following in zip(nodes, [*nodes[1:], None], strict=False):
        head = struct.pack("<QII", following.address if following else 0, node.type, node.data_bytes)
        memory.write(node.address, head + node.data)
