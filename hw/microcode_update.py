"""A microcode update as it comes with an initial RAM disk: the makers' formats, made up for a machine's own CPU.

Only what a loader and a CPU look at is real: headers, tables and sums.
Source: SDM vol. 3A, "Microcode Update Facilities"; for AMD's container arch/x86/kernel/cpu/microcode/amd.c @ v6.12;
"newc" of cpio(5)
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hw.cpuid import AMD_VENDORS
from hw.errors import InputError
from hw.msr import IA32_PLATFORM_ID

if TYPE_CHECKING:
    from hw.cpu import CPU
    from hw.memory import PhysicalMemory
    from hw.spec import MachineSpec

PAGE = 4096
INITRD_ADDR_MAX = 0x8000_0000  # Source: Documentation/arch/x86/boot.rst: initrd_addr_max of x86
INTEL_HEADER = struct.Struct("<IIIIIIIIIIII")
EXTENDED_TABLE = struct.Struct("<IIIII")
EXTENDED_ENTRY = struct.Struct("<III")
DATA_BYTES = 2000
AMD_MAGIC, AMD_EQUIVALENCE, AMD_PATCH = 0x0041_4D44, 0, 1
AMD_EQUIVALENCE_ENTRY = struct.Struct("<IIIHH")
AMD_HEADER = struct.Struct("<IIHBBIIIHBBB3x8I")
NAMES = {"GenuineIntel": "GenuineIntel.bin", "AuthenticAMD": "AuthenticAMD.bin"}


def _filling(revision: int, size: int) -> bytes:
    return hashlib.shake_128(revision.to_bytes(4, "little")).digest(size)


def _negative_sum(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"<{len(data) // 4}I", data)
    return -sum(words) & 0xFFFF_FFFF


def intel_update(
    signature: int, platforms: int, revision: int, date: str, also: Sequence[tuple[int, int]] = ()
) -> bytes:
    """One update for CPUs of ``signature`` on ``platforms``, and through an extended table for those in ``also``.

    ``date`` is YYYY-MM-DD. All sums come out as zero.
    """
    year, month, day = date.split("-")
    stamp = int(month + day + year, 16)
    data = _filling(revision, DATA_BYTES)
    extended = EXTENDED_TABLE.size + EXTENDED_ENTRY.size * len(also) if also else 0
    total = INTEL_HEADER.size + DATA_BYTES + extended

    def header(checksum: int) -> bytes:
        return INTEL_HEADER.pack(
            1, revision, stamp, signature, checksum, 1, platforms, DATA_BYTES, total, 0, 0, 0
        )

    checksum = _negative_sum(header(0) + data)
    update = header(checksum) + data
    if also:
        own = signature + platforms + checksum
        entries = b"".join(EXTENDED_ENTRY.pack(sig, pf, (own - sig - pf) & 0xFFFF_FFFF) for sig, pf in also)
        table = EXTENDED_TABLE.pack(len(also), 0, 0, 0, 0) + entries
        update += EXTENDED_TABLE.pack(len(also), _negative_sum(table), 0, 0, 0) + entries
    return update


def amd_container(signature: int, revision: int, equivalent: int = 0) -> bytes:
    """A container with the equivalence table and one patch for CPUs of ``signature``."""
    family = 0xF + (signature >> 20 & 0xFF)
    equivalent = equivalent or (family - 0xF) << 12 | (signature >> 16 & 0xF) << 8 | signature & 0xFF
    table = AMD_EQUIVALENCE_ENTRY.pack(signature, 0, 0, equivalent, 0) + bytes(AMD_EQUIVALENCE_ENTRY.size)
    patch = AMD_HEADER.pack(0x2024_0101, revision, 0x8004, 0, 0, 0, 0, 0, equivalent, 0, 0, 0, *[0] * 8)
    patch += _filling(revision, 896)
    return (
        struct.pack("<III", AMD_MAGIC, AMD_EQUIVALENCE, len(table))
        + table
        + struct.pack("<II", AMD_PATCH, len(patch))
        + patch
    )


def early_cpio(name: str, data: bytes) -> bytes:
    """An uncompressed archive with one file, its folders before it, padded to a sector."""
    parts = name.split("/")
    folders = ["/".join(parts[:count]) for count in range(1, len(parts))]
    out = b"".join(_entry(folder, 0o040755, b"") for folder in folders)
    out += _entry(name, 0o100644, data) + _entry("TRAILER!!!", 0, b"")
    return out + bytes(-len(out) % 512)


def _entry(name: str, mode: int, data: bytes) -> bytes:
    fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)


def update_for(cpu: CPU, vendor: str, revision: int, date: str) -> bytes:
    """The archive with an update of ``revision`` for this CPU. InputError: a maker without a format."""
    name = NAMES.get(vendor)
    if name is None:
        raise InputError(f"boot.microcode: expected a CPU of {' or '.join(NAMES)}, came {vendor}")
    signature = cpu.cpuid(1).eax
    if vendor in AMD_VENDORS:
        blob = amd_container(signature, revision)
    else:
        blob = intel_update(signature, 1 << (cpu.rdmsr(IA32_PLATFORM_ID) >> 50 & 7), revision, date)
    return early_cpio(f"kernel/x86/microcode/{name}", blob)


def prepend_update(memory: PhysicalMemory, spec: MachineSpec, cpu: CPU) -> None:
    """As the boot loader does: the archive at the head of the initrd, which is placed if it has no place yet.

    InputError: no room for it.
    """
    boot = spec.boot
    if not boot.microcode:
        return
    archive = update_for(cpu, spec.cpus.vendor, boot.microcode, boot.microcode_date)
    if not boot.ramdisk_bytes or not boot.ramdisk_address:
        boot.ramdisk_bytes = max(boot.ramdisk_bytes, len(archive))
        boot.ramdisk_address = _place(spec, boot.ramdisk_bytes)
    if len(archive) > boot.ramdisk_bytes:
        raise InputError(f"boot.ramdisk_bytes: expected {len(archive)} for the microcode, came {boot.ramdisk_bytes}")
    memory.write(boot.ramdisk_address, archive)


def _place(spec: MachineSpec, size: int) -> int:
    for entry in sorted(spec.e820, key=lambda item: -item.start):
        address = (min(entry.end, INITRD_ADDR_MAX) - size) & ~(PAGE - 1)
        if entry.type == 1 and address >= max(entry.start, 1 << 20):
            return address
    raise InputError(f"boot.microcode: no {size} bytes of memory below {INITRD_ADDR_MAX:#x} for the initrd")
