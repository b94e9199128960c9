"""The zero page that one kernel fills in for the next.

Source: arch/x86/kernel/kexec-bzimage64.c:setup_boot_parameters(), setup_rng_seed() @ v6.12
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from hw import boot_params
from hw.purgatory import STARTED_BY_KEXEC
from minikern.kexec.bzimage import MAX_ELFCOREHDR_STR_LEN, BzImage

if TYPE_CHECKING:
    from minikern.kernel import Kernel

MAX_E820 = 128
SETUP_DATA_HEAD = struct.Struct("<QII")  # next, type, length
SETUP_RNG_SEED = 9
RNG_SEED_LENGTH = 32
EFI_SETUP_DATA_BYTES = 96  # room that is kept with or without EFI; Source: arch/x86/include/asm/efi.h
MAX_EXT_MEM_K = 0xFC00  # 63 MiB; Source: kexec-bzimage64.c


def align16(value: int) -> int:
    """Up to a multiple of 16."""
    return -(-value // 16) * 16


def cmdline_offset() -> int:
    """Where the command line is behind the start of the zero page."""
    return boot_params.SIZE


def rng_seed_offset(cmdline_bytes: int) -> int:
    """Where the seed's node is: behind command line, EFI map (none here) and EFI node."""
    text = align16(boot_params.SIZE + cmdline_bytes + MAX_ELFCOREHDR_STR_LEN)
    return text + SETUP_DATA_HEAD.size + EFI_SETUP_DATA_BYTES


def params_bytes(cmdline_bytes: int) -> int:
    """Size of zero page, command line and nodes together."""
    return rng_seed_offset(cmdline_bytes) + SETUP_DATA_HEAD.size + RNG_SEED_LENGTH


def build_params(k: Kernel, image: BzImage, cmdline: bytes, address: int, initrd: tuple[int, int]) -> bytes:
    """Zero page, command line and setup_data for ``image``, to lie at ``address``; ``initrd`` is (address, bytes).

    ``cmdline`` ends with a NUL. The map is the running kernel's kexec table.
    """
    out = bytearray(params_bytes(len(cmdline)))
    header = image.setup_header()
    out[boot_params.SETUP_HEADER_START : boot_params.SETUP_HEADER_START + len(header)] = header
    put = boot_params.put
    put(out, "type_of_loader", STARTED_BY_KEXEC << 4)
    put(out, "loadflags", 0)
    put(out, "setup_data", 0)
    for low, high, value in (
        ("ramdisk_image", "ext_ramdisk_image", initrd[0]),
        ("ramdisk_size", "ext_ramdisk_size", initrd[1]),
        ("cmd_line_ptr", "ext_cmd_line_ptr", address + cmdline_offset()),
    ):
        put(out, low, value)
        put(out, high, value >> 32)
    out[cmdline_offset() : cmdline_offset() + len(cmdline)] = cmdline
    put(out, "acpi_rsdp_addr", k.boot_params.acpi_rsdp)
    _put_e820(k, out)
    if k.behaviour.get("kexec_rng_seed", True):
        _put_rng_seed(out, address, len(cmdline))
    return bytes(out)


def _put_e820(k: Kernel, out: bytearray) -> None:
    table = k.e820.kexec[:MAX_E820]
    boot_params.put(out, "e820_entries", len(table))
    for index, entry in enumerate(table):
        at = boot_params.E820_TABLE + boot_params.E820_ENTRY.size * index
        boot_params.E820_ENTRY.pack_into(out, at, entry.addr, entry.size, entry.type)
        if entry.type == 1 and entry.addr <= 0x100000 < entry.end:
            kib = (entry.end >> 10) - 1024
            boot_params.put(out, "ext_mem_k", min(kib, MAX_EXT_MEM_K))
            boot_params.put(out, "alt_mem_k", min(kib, 0xFFFF_FFFF))


def _put_rng_seed(out: bytearray, address: int, cmdline_bytes: int) -> None:
    # The seed would be random; from the page's own bytes, so that the same input gives the same boot.
    at = rng_seed_offset(cmdline_bytes)
    seed = hashlib.sha256(out[:at]).digest()
    SETUP_DATA_HEAD.pack_into(out, at, 0, SETUP_RNG_SEED, RNG_SEED_LENGTH)
    out[at + SETUP_DATA_HEAD.size : at + SETUP_DATA_HEAD.size + RNG_SEED_LENGTH] = seed
    boot_params.put(out, "setup_data", address + at)
