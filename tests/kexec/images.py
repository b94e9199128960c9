"""A small kernel image that is valid in every field the loader looks at, and a small kernel packed in it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import zlib
from functools import cache

import lz4.block
import lzallright
import zstandard

from hw.boot_params import SETUP_HEADER
from minikern.kexec.elf import E_IDENT, EHDR, EM_X86_64, EV_CURRENT, PHDR, PT_LOAD, SHDR

SETUP_SECTS = 3
VERSION = b"6.12.0-test (test) #1 SMP PREEMPT_DYNAMIC"
SECTOR = 512
VMLINUX_BYTES = 0x50000
PAYLOAD_AT = 0x300
TEXT, START = 0x1000000, 0xFFFFFFFF81000000
ET_EXEC = 2


def put(image: bytearray, name: str, value: int) -> None:
    offset, size = SETUP_HEADER[name]
    image[offset : offset + size] = value.to_bytes(size, "little")


def make_vmlinux(version: bytes = VERSION, config: str = "", parts: dict[str, tuple[int, int]] | None = None) -> bytes:
    """An ELF kernel of VMLINUX_BYTES with a banner, some numbers, and, if asked for, a configuration and sections.

    ``parts`` gives (offset from the text's start, size) by section; they have no bytes of their own.
    """
    body = random.Random(6).randbytes(20_000) + b"Linux version " + version.replace(b"#1", b"#") + b"\n\0"
    body += b"Linux version " + version + b"\n\0"
    if config:
        body += b"IKCFG_ST" + gzip.compress(config.encode(), mtime=0) + b"IKCFG_ED"
    body = body.ljust(VMLINUX_BYTES - 0x3000, b"\0")
    parts = parts or {}
    memsz = max([len(body), *(at + size for at, size in parts.values())])
    segment = PHDR.pack(PT_LOAD, 5, 0x1000, START, TEXT, len(body), memsz, 0x200000)
    names, table = b"\0", [bytes(SHDR.size)]
    for name, (at, size) in parts.items():
        table.append(SHDR.pack(len(names), 8, 2, START + at, 0x1000 + min(at, len(body)), size, 0, 0, 1, 0))
        names += name.encode() + b"\0"
    table.append(SHDR.pack(0, 3, 0, 0, VMLINUX_BYTES - 0x1000, len(names), 0, 0, 1, 0))
    rows = b"".join(table) if parts else b""
    count = len(table) if parts else 0
    head = EHDR.pack(E_IDENT, ET_EXEC, EM_X86_64, EV_CURRENT, TEXT, EHDR.size, VMLINUX_BYTES - 0x2000, 0, EHDR.size,
                     PHDR.size, 1, SHDR.size, count, max(0, count - 1))  # fmt: skip
    return ((head + segment).ljust(0x1000, b"\0") + body + rows.ljust(0x1000, b"\0") + names).ljust(
        VMLINUX_BYTES, b"\0"
    )


def pack(packer: str, plain: bytes) -> bytes:
    """The payload as the kernel's Makefile makes it: packed, its size behind."""
    size = struct.pack("<I", len(plain))
    if packer == "gzip":
        return gzip.compress(plain, mtime=0)
    if packer == "zstd":
        return zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress(plain) + size
    if packer == "xz":
        return lzma.compress(plain, check=lzma.CHECK_CRC32) + size
    if packer == "lzma":
        return lzma.compress(plain, lzma.FORMAT_ALONE) + size
    if packer == "bzip2":
        return bz2.compress(plain) + size
    if packer == "lz4":
        chunks = [lz4.block.compress(plain[at : at + (8 << 20)], store_size=False)
                  for at in range(0, len(plain), 8 << 20)]  # fmt: skip
        return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(one)) + one for one in chunks) + size
    if packer == "lzo":
        return pack_lzo(plain) + size
    assert packer == "none"
    return plain


def pack_lzo(plain: bytes, version: int = 0x1030, filtered: bool = False, name: bytes = b"") -> bytes:
    """As lzop writes it: a head, blocks of 256 KiB with a checksum each, a block of nothing."""
    late = version >= 0x940
    head = b"\x89LZO\x00\r\n\x1a\n" + struct.pack(">HHHB", version, 0x20A0, 0x0940, 3) + b"\x09" * late
    head += struct.pack(">I", 0x03000001 | filtered << 11) + b"\0\0\0\1" * filtered
    head += struct.pack(">II", 0o100644, 0) + bytes(4) * late
    head += bytes([len(name)]) + name
    out = head + struct.pack(">I", zlib.adler32(head[9:]))
    for at in range(0, len(plain), 256 << 10):
        block = plain[at : at + (256 << 10)]
        packed = bytes(lzallright.LZOCompressor().compress(block))
        packed = packed if len(packed) < len(block) else block
        out += struct.pack(">III", len(block), len(packed), zlib.adler32(block)) + packed
    return out + bytes(4)


@cache
def _payload(packer: str, version: bytes) -> bytes:
    return pack(packer, make_vmlinux(version))


def make_bzimage(
    kernel_bytes: int = 40_000,
    init_size: int = 0x60000,
    version: bytes = VERSION,
    packer: str = "zstd",
    vmlinux: bytes = b"",
) -> bytearray:
    """Setup sectors, then ``kernel_bytes`` of numbers with a payload in them: ``vmlinux``, or a small one."""
    image = bytearray((SETUP_SECTS + 1) * SECTOR + kernel_bytes)
    start = (SETUP_SECTS + 1) * SECTOR
    image[start:] = (struct.pack("<I", 0x9E3779B9) * (kernel_bytes // 4 + 1))[:kernel_bytes]
    payload = pack(packer, vmlinux) if vmlinux else _payload(packer, version)
    assert PAYLOAD_AT + len(payload) + 0x100 <= kernel_bytes
    image[start + PAYLOAD_AT : start + PAYLOAD_AT + len(payload)] = payload
    image[0x200:0x202] = b"\xeb\x6a"
    image[0x400 : 0x400 + len(version) + 1] = version + b"\0"
    for name, value in {
        "setup_sects": SETUP_SECTS,
        "syssize": kernel_bytes // 16,
        "boot_flag": 0xAA55,
        "header": 0x53726448,
        "version": 0x020F,
        "kernel_version": 0x400 - SECTOR,
        "loadflags": 1,
        "initrd_addr_max": 0x7FFFFFFF,
        "kernel_alignment": 0x200000,
        "relocatable_kernel": 1,
        "min_alignment": 21,
        "xloadflags": 0x3F,
        "cmdline_size": 2047,
        "payload_offset": PAYLOAD_AT,
        "payload_length": len(payload),
        "pref_address": 0x1000000,
        "init_size": init_size,
    }.items():
        put(image, name, value)
    return image
