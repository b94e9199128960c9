"""The next kernel's file where nobody gave one: as large as the kernel that runs, by its header; nothing is packed.

A host's update counts what a kernel of that size costs to hand over; what it unpacks to is booked by its sizes.
"""

from __future__ import annotations

from hw.boot_params import BOOT_FLAG, HDRS, SETUP_HEADER
from minikern.core.kernel import Kernel
from minikern.kexec.bzimage import LOADED_HIGH, MIN_VERSION, SECTOR, XLF_CAN_BE_LOADED_ABOVE_4G, XLF_KERNEL_64

SETUP_SECTS = 4
PACKED_TO = 3  # of an unpacked kernel's bytes, the usual ratio of zstd and xz
ALIGNMENT = 0x200000
JUMP = 0x6A  # ends the header behind init_size
XLF_5LEVEL_BOTH = 3 << 5


def init_size(k: Kernel) -> int:
    """Bytes of memory that a kernel like the running one takes to unpack itself: what its loader told, or its image."""
    return k.boot_params.init_size or k.release.image.end - k.release.image.text_start


def unpacked_bytes(k: Kernel) -> int:
    """What a kernel like the running one unpacks to."""
    image = k.release.image
    return 1024 * (image.code_kib + image.rwdata_kib + image.rodata_kib + image.init_kib)


def stand_in_image(k: Kernel) -> bytes:
    """A bzImage with the sizes of the kernel that runs, and no version of its own."""
    packed = unpacked_bytes(k) // PACKED_TO // SECTOR * SECTOR
    start = (SETUP_SECTS + 1) * SECTOR
    image = bytearray(start + packed)
    image[0x200:0x202] = bytes((0xEB, JUMP))
    for name, value in {
        "setup_sects": SETUP_SECTS,
        "syssize": packed // 16,
        "boot_flag": BOOT_FLAG,
        "header": HDRS,
        "version": MIN_VERSION,
        "loadflags": LOADED_HIGH,
        "initrd_addr_max": 0x7FFFFFFF,
        "kernel_alignment": ALIGNMENT,
        "relocatable_kernel": 1,
        "xloadflags": XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G | XLF_5LEVEL_BOTH,
        "cmdline_size": 2047,
        "pref_address": k.release.image.text_start,
        "init_size": init_size(k),
    }.items():
        offset, size = SETUP_HEADER[name]
        image[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(image)
