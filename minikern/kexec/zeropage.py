"""The zero page that one kernel fills in for the next.

Source: arch/x86/kernel/kexec-bzimage64.c:setup_boot_parameters(), setup_efi_state(), setup_rng_seed() @ v6.12
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hw import boot_params
from hw.efi_map import EFI_INFO, INFO
from hw.purgatory import STARTED_BY_KEXEC
from minikern.kexec import efi_state
from minikern.kexec.bzimage import MAX_ELFCOREHDR_STR_LEN, BzImage
from minikern.kexec.setup_data import HEAD, SETUP_EFI, SETUP_IMA, SETUP_RNG_SEED, rng_is_initialized
from minikern.state.kho_abi import KHO_DATA, PAGE_SIZE, SETUP_KEXEC_KHO

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_E820 = 128
RNG_SEED_LENGTH = 32
EFI_SETUP_DATA_BYTES = 96  # room that is kept with or without EFI; Source: arch/x86/include/asm/efi.h
IMA_SETUP_DATA_BYTES = 16  # struct ima_setup_data: address, size
MAX_EXT_MEM_K = 0xFC00  # 63 MiB; Source: kexec-bzimage64.c
HANDED_ON = (
    (0x000, 0x040),  # screen_info
    (0x1E9, 0x1EB),  # eddbuf_entries, edd_mbr_sig_buf_entries
    (0x23C, 0x240),  # hardware_subarch
    (0x290, 0x2D0),  # edd_mbr_sig_buffer
    (0xD00, 0xEEC),  # eddbuf
)
"""What the new zero page has from the running kernel's, [start, end). Source: setup_boot_parameters()"""

Rows = Sequence[tuple[int, int, int]]


def align16(value: int) -> int:
    """Up to a multiple of 16."""
    return -(-value // 16) * 16


class Layout(NamedTuple):
    """Where the parts lie behind the start of the zero page, bytes; there is room for a node whether it is used or not.

    Source: arch/x86/kernel/kexec-bzimage64.c:bzImage64_load() @ v6.12
    """

    cmdline: int
    efi_map: int
    efi_node: int
    ima_node: int  # 0: a kernel without CONFIG_IMA_KEXEC has no room for it
    kho_node: int  # 0: the same for one without CONFIG_KEXEC_HANDOVER
    rng_node: int  # 0: whoever loads brings the seed himself
    size: int


def layout_for(k: Kernel, cmdline_bytes: int) -> Layout:
    """The layout for a command line of that many bytes, NUL included."""
    map_at = align16(boot_params.SIZE + cmdline_bytes + MAX_ELFCOREHDR_STR_LEN)
    efi = map_at + align16(len(efi_state.runtime_map(k)))
    rng = efi + HEAD.size + EFI_SETUP_DATA_BYTES
    ima = rng if k.config.enabled("CONFIG_IMA_KEXEC") else 0
    rng += HEAD.size + IMA_SETUP_DATA_BYTES if ima else 0
    kho = rng if k.config.enabled("CONFIG_KEXEC_HANDOVER") else 0
    rng += HEAD.size + KHO_DATA.size if kho else 0
    return Layout(boot_params.SIZE, map_at, efi, ima, kho, rng, rng + HEAD.size + RNG_SEED_LENGTH)


def build_params(
    k: Kernel,
    image: BzImage,
    cmdline: bytes,
    places: Layout,
    address: int,
    initrd: tuple[int, int],
    e820: Rows | None = None,
    ima: tuple[int, int] = (0, 0),
    scratch: tuple[int, int] = (0, 0),
) -> bytes:
    """Zero page, command line and setup_data for ``image``, laid out as ``places`` says, to lie at ``address``.

    ``initrd``, ``ima`` (the measurement list) and ``scratch`` (the array of areas) are (address, bytes), ``cmdline``
    ends with a NUL. The map is ``e820``, by default the running kernel's kexec table.
    """
    out = bytearray(places.size)
    header = image.setup_header()
    out[boot_params.SETUP_HEADER_START : boot_params.SETUP_HEADER_START + len(header)] = header
    for start, end in HANDED_ON:
        out[start:end] = k.boot_params.page[start:end]
    put = boot_params.put
    put(out, "type_of_loader", STARTED_BY_KEXEC << 4)
    put(out, "loadflags", 0)
    put(out, "setup_data", 0)
    for low, high, value in (
        ("ramdisk_image", "ext_ramdisk_image", initrd[0]),
        ("ramdisk_size", "ext_ramdisk_size", initrd[1]),
        ("cmd_line_ptr", "ext_cmd_line_ptr", address + places.cmdline),
    ):
        put(out, low, value)
        put(out, high, value >> 32)
    out[places.cmdline : places.cmdline + len(cmdline)] = cmdline
    put(out, "acpi_rsdp_addr", k.boot_params.acpi_rsdp)
    _put_e820(out, [(e.addr, e.size, e.type) for e in k.e820.kexec] if e820 is None else e820)
    if efi_state.wanted(k):
        _put_efi(k, out, places, address)
    if ima[1]:
        _add_node(out, address, places.ima_node, SETUP_IMA, struct.pack("<QQ", *ima))
    if k.kho.outgoing is not None and scratch[1]:
        handed = KHO_DATA.pack(k.kho.outgoing.fdt_phys, PAGE_SIZE, *scratch)
        _add_node(out, address, places.kho_node, SETUP_KEXEC_KHO, handed)
    if places.rng_node and k.behaviour.kexec_rng_seed and rng_is_initialized(k):
        # The seed would be random; from the page's own bytes, so that the same input gives the same boot.
        _add_node(out, address, places.rng_node, SETUP_RNG_SEED, hashlib.sha256(out).digest())
    return bytes(out)


def _put_e820(out: bytearray, rows: Rows) -> None:
    put = boot_params.put
    put(out, "e820_entries", min(len(rows), MAX_E820))
    put(out, "ext_mem_k", 0)
    put(out, "alt_mem_k", 0)
    for index, (start, size, kind) in enumerate(rows[:MAX_E820]):
        boot_params.E820_ENTRY.pack_into(
            out, boot_params.E820_TABLE + boot_params.E820_ENTRY.size * index, start, size, kind
        )
        if kind == 1 and start <= 0x100000 < start + size - 1:
            kib = (start + size - 1 >> 10) - 1024
            put(out, "ext_mem_k", min(kib, MAX_EXT_MEM_K))
            put(out, "alt_mem_k", min(kib, 0xFFFF_FFFF))


def _put_efi(k: Kernel, out: bytearray, places: Layout, address: int) -> None:
    rows = efi_state.runtime_map(k)
    out[places.efi_map : places.efi_map + len(rows)] = rows
    out[EFI_INFO : EFI_INFO + INFO.size] = efi_state.efi_info(k, address + places.efi_map, len(rows))
    out[efi_state.SECURE_BOOT] = k.boot_params.page[efi_state.SECURE_BOOT]
    _add_node(out, address, places.efi_node, SETUP_EFI, efi_state.setup_node(k))


def _add_node(out: bytearray, address: int, at: int, kind: int, data: bytes) -> None:
    # The newest node is the first of the list.
    HEAD.pack_into(out, at, boot_params.get(bytes(out), "setup_data"), kind, len(data))
    out[at + HEAD.size : at + HEAD.size + len(data)] = data
    boot_params.put(out, "setup_data", address + at)
