"""Unpacking a kernel the way its own first code does: by the same formats, with Linux's words where it gives up.

The libraries check more than Linux does: inflate's CRC, for one, is never looked at before the kernel runs.
Source: arch/x86/boot/compressed/misc.c, lib/decompress_*.c @ v6.12
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable

import lz4.block  # type: ignore[import-untyped, unused-ignore]
import lzallright
import zstandard

Payload = bytes | memoryview
Unpack = Callable[[Payload, int], bytes]
"""(payload, most bytes there is room for) -> the unpacked bytes."""

GZIP_HEAD, GZIP_FLAGS, GZIP_FNAME = 10, 3, 1 << 3
NAME_MOST = 4096  # a file name longer than that is none
XZ_MAGIC = b"\xfd7zXZ\x00"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZMA_MOST_PROPERTIES = 9 * 5 * 5
LZ4_MAGIC, LZ4_CHUNK_BYTES = 0x184C2102, 8 << 20
LZO_MAGIC = b"\x89LZO\x00\r\n\x1a\n"
LZO_LONG_HEAD, LZO_FILTER = 0x0940, 1 << 11  # since that version: a level, and the upper half of the time
LZO_BLOCK_BYTES = 256 << 10
SIZE_BYTES = 4  # of the unpacked size, behind every payload but gzip's; Source: scripts/Makefile.lib, size_append


class DecompressError(Exception):
    """The kernel's own words about its payload."""


def _gzip(payload: Payload, room: int) -> bytes:
    if len(payload) < GZIP_HEAD or payload[:3] != b"\x1f\x8b\x08":
        raise DecompressError("Not a gzip file")
    start = GZIP_HEAD
    if payload[GZIP_FLAGS] & GZIP_FNAME:
        start = bytes(payload[:NAME_MOST]).find(b"\0", start) + 1
        if not start:
            raise DecompressError("header error")
    state = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = state.decompress(memoryview(payload)[start:], room)
    except zlib.error:
        raise DecompressError("uncompression error") from None
    if not state.eof:
        _check_room(len(plain), room)
        raise DecompressError("read error")
    return plain


def _bzip2(payload: Payload, room: int) -> bytes:
    if payload[:3] != b"BZh":
        raise DecompressError("Not a bzip2 file")
    state = bz2.BZ2Decompressor()
    try:
        plain = state.decompress(payload, room)
    except (OSError, ValueError):
        raise DecompressError("Data integrity error when decompressing.") from None
    if not state.eof:
        _check_room(len(plain), room)
        raise DecompressError("Compressed file ends unexpectedly")
    return plain


def _xz(payload: Payload, room: int) -> bytes:
    if payload[:6] != XZ_MAGIC:
        raise DecompressError("Input is not in the XZ format (wrong magic bytes)")
    return _lzma_stream(payload, room, lzma.FORMAT_XZ, "XZ-compressed data is corrupt")


def _lzma(payload: Payload, room: int) -> bytes:
    if not payload or payload[0] >= LZMA_MOST_PROPERTIES:
        raise DecompressError("bad header")
    # Linux's dictionary is its output; the library sets aside what the header asks for, up to 4 GiB.
    dictionary = min(int.from_bytes(payload[1:5], "little"), room).to_bytes(4, "little")
    stream = b"".join((payload[:1], dictionary, payload[5:-SIZE_BYTES]))
    return _lzma_stream(stream, room, lzma.FORMAT_ALONE, "LZMA data is corrupt")


def _lzma_stream(payload: Payload, room: int, kind: int, corrupt: str) -> bytes:
    try:
        state = lzma.LZMADecompressor(format=kind)
        plain = state.decompress(payload, room)
    except lzma.LZMAError:
        raise DecompressError(corrupt) from None
    if not state.eof:
        _check_room(len(plain), room)
        raise DecompressError(corrupt)
    return plain


def _zstd(payload: Payload, room: int) -> bytes:
    if payload[:4] != ZSTD_MAGIC:
        raise DecompressError("Input is not in the ZSTD format (wrong magic bytes)")
    try:
        if zstandard.frame_content_size(payload) > room:
            raise DecompressError("ZSTD-compressed data is corrupt")  # its destination is too small
        plain = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompress(payload, max_output_size=room)
    except zstandard.ZstdError as error:
        sure = re.search("orrupt|hecksum|too small|buffer", str(error))
        raise DecompressError(f"ZSTD-compressed data is {'corrupt' if sure else 'probably corrupt'}") from None
    return plain


def _lz4(payload: Payload, room: int) -> bytes:
    if int.from_bytes(payload[:4], "little") != LZ4_MAGIC:
        raise DecompressError("invalid header")
    at, end = 4, len(payload) - SIZE_BYTES
    left = int.from_bytes(payload[end:], "little")
    _check_room(left, room)
    pieces = []
    while at != end:
        chunk = int.from_bytes(payload[at : at + 4], "little")
        at += 4
        if chunk == LZ4_MAGIC:
            continue
        size = min(left, LZ4_CHUNK_BYTES)
        if at + chunk > end:
            raise DecompressError("data corrupted")
        try:
            pieces.append(lz4.block.decompress(payload[at : at + chunk], uncompressed_size=size))
        except (lz4.block.LZ4BlockError, ValueError, MemoryError):
            raise DecompressError("Decoding failed") from None
        left, at = left - size, at + chunk
    return b"".join(pieces)


def _lzo(payload: Payload, room: int) -> bytes:
    """Blocks of an lzop file; its checksums are skipped. Source: lib/decompress_unlzo.c:unlzo() @ v6.12"""
    at, pieces, size = _lzo_blocks(payload), [], 0
    while plain_bytes := int.from_bytes(payload[at : at + 4], "big"):
        if plain_bytes > LZO_BLOCK_BYTES:
            raise DecompressError("dest len longer than block size")
        packed_bytes = int.from_bytes(payload[at + 4 : at + 8], "big")
        start = at + 12
        at = start + packed_bytes
        if not 0 < packed_bytes <= plain_bytes or at > len(payload):
            raise DecompressError("file corrupted")
        pieces.append(_lzo_block(bytes(payload[start:at]), plain_bytes))
        size += plain_bytes
        _check_room(size, room)
    return b"".join(pieces)


def _lzo_blocks(payload: Payload) -> int:
    # Where the blocks begin. Source: lib/decompress_unlzo.c:parse_header() @ v6.12
    if bytes(payload[: len(LZO_MAGIC)]) != LZO_MAGIC:
        raise DecompressError("invalid header")
    at = len(LZO_MAGIC)
    long_head = int.from_bytes(payload[at : at + 2], "big") >= LZO_LONG_HEAD
    at += 7 + long_head  # versions, method, level
    filtered = int.from_bytes(payload[at : at + 4], "big") & LZO_FILTER
    at += (8 if filtered else 4) + 8 + 4 * long_head  # flags, mode, time
    if at >= len(payload):
        raise DecompressError("invalid header")
    return at + 1 + payload[at] + 4  # name, checksum


def _lzo_block(packed: bytes, plain_bytes: int) -> bytes:
    if len(packed) == plain_bytes:
        return packed
    try:
        plain = bytes(lzallright.LZOCompressor.decompress(packed, plain_bytes))
    except (lzallright.LZOError, lzallright.InputNotConsumed):
        raise DecompressError("Compressed data violation") from None
    if len(plain) != plain_bytes:
        raise DecompressError("Compressed data violation")
    return plain


def _check_room(size: int, room: int) -> None:
    if size >= room:
        raise DecompressError(f"more than the {room} bytes of init_size come out: memory behind them is overwritten")


UNPACKERS: dict[str, Unpack] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "lzma": _lzma,
    "zstd": _zstd,
    "lz4": _lz4,
    "lzo": _lzo,
    "none": lambda payload, room: bytes(payload[:room]),
}
"""By names of :data:`minikern.kexec.bzimage.COMPRESSORS`."""

CHECKED = {"xz", "zstd", "bzip2"}
"""Formats whose check Linux itself makes: with any other, what was changed may be unpacked and run."""


def decompress(packer: str, payload: Payload, room: int) -> bytes:
    """The kernel inside ``payload``; ``room`` bytes are there for it.

    DecompressError with the line that Linux writes before it halts. KeyError: an unknown packer.
    Source: arch/x86/boot/compressed/misc.c:extract_kernel() @ v6.12
    """
    return UNPACKERS[packer](payload, room)
