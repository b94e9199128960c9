"""Kernel files: bzImages, signed PE files, unified images; damaged before and after they are packed and signed."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cache
from pathlib import Path
from random import Random

from hw.boot_params import SETUP_HEADER
from minikern.core.kernel import BootOptions
from minikern.describe.presets import load_preset
from minikern.kexec.decompress import DecompressError, decompress
from minikern.kexec.errors import KexecError
from minikern.kexec.file_kind import kind_of
from minikern.kexec.load import Kexec
from minikern.kexec.pefile import pefile_parse_binary
from minikern.kexec.signature import certificates_of, load_certificate, verify_pefile_signature
from minikern.kexec.uki import is_uki, uki_parts
from minikern.lab.run import Boot, boot
from tests.fuzz.mutations import WORDS, damaged, edge_number, one_in, overwritten
from tests.kexec.images import SETUP_SECTS, make_bzimage, pack, put
from tests.kexec.signed import HEADERS, PE_AT, SECTIONS_AT, certificate, sign, unsigned

HEADER_FIELDS = tuple(sorted(set(SETUP_HEADER) - {"header", "boot_flag"}))
PACKED = ("gzip", "zstd", "xz", "lzma", "bzip2", "lz4", "lzo")
QUICK = BootOptions(vmemmap="window")
SIGNED_BYTES = 3000  # at the end of a signed image: the certificate table

Files = tuple[bytes, bytes, str]


@cache
def _whole() -> bytes:
    return bytes(make_bzimage())


def kernel_files(chance: Random) -> Files:
    """(kernel, initial RAM disk, command line): a field of the header that lies, a damaged payload, a cut file."""
    image = bytearray(_whole())
    for _ in range(chance.choice((0, 1, 1, 2))):
        name = chance.choice(HEADER_FIELDS)
        size = SETUP_HEADER[name][1]
        old = int.from_bytes(image[SETUP_HEADER[name][0] : SETUP_HEADER[name][0] + size], "little")
        value = chance.choice((old + 1, old ^ 1 << chance.randrange(8 * size), old << 1, edge_number(chance)))
        put(image, name, value & (1 << 8 * size) - 1)
    data = bytes(image)
    if one_in(chance, 4):
        data = overwritten(chance, data, 4, (SETUP_SECTS + 1) * 512, 0)
    if one_in(chance, 8):
        data = damaged(chance, data, 3)
    words = chance.choice(("quiet", "", "x" * 3000, "console=ttyS0", *WORDS[:5]))
    return data, bytes(chance.choice((0, 1, 200, 4096, 100_000))), words


@cache
def _booted() -> Boot:
    return boot(load_preset("tiny"), options=QUICK)


def load_files(place: Path, files: Files) -> None:
    """kexec_file_load() on a booted machine."""
    loader = Kexec(_booted().kernel)
    try:
        image = loader.kexec_file_load(*files)
        assert image.bzimage is not None
        image.bzimage.version()
        image.bzimage.decompressed_bytes()
    finally:
        with suppress(Exception):
            loader.unload()
        _booted().kernel.log.lines.clear()


@cache
def _packed(packer: str) -> bytes:
    return pack(packer, b"\x7fELF" + bytes(range(256)) * 40)


def payload(chance: Random) -> tuple[str, bytes]:
    """(packer, what it made), damaged but for every third."""
    packer = chance.choice(PACKED)
    data = _packed(packer)
    if one_in(chance, 3):
        return packer, data + bytes(chance.choice((0, 0, 1, 4)))
    return packer, overwritten(chance, data, 3) if one_in(chance, 2) else damaged(chance, data, 3)


def unpack_payload(place: Path, given: tuple[str, bytes]) -> None:
    """As the kernel's own beginning unpacks it, with room for a mebibyte."""
    packer, data = given
    if len(decompress(packer, data, 1 << 20)) > 1 << 20:
        raise DecompressError("larger than the room")


# PE and PKCS#7


@cache
def _signed() -> bytes:
    return sign(unsigned())


def signed_file(chance: Random) -> bytes:
    """Changed and then signed, which is fine; or signed and then changed, which is to be found."""
    if chance.randrange(3):
        data = _signed()
        unread = one_in(chance, 3)  # the checksum and what stands before the PE header is not: still fine
        start, end = chance.choice(((len(data) - SIGNED_BYTES, 0), (0, 0x400), (0, 0)))
        return overwritten(chance, data, 2, PE_AT + 24 + 64, PE_AT + 24 + 68) if unread else overwritten(
            chance, data, 2, start, end)  # fmt: skip
    image = bytearray(overwritten(chance, bytes(unsigned()), 3, HEADERS, 0))
    if one_in(chance, 2):
        image[PE_AT : SECTIONS_AT + 40] = _other_headers(chance, bytes(image[PE_AT : SECTIONS_AT + 40]))
    signer = chance.choice(("signer", "signer", "signer", "authority", "other"))
    try:
        return sign(image, signer)
    except KexecError:  # headers nobody can sign by
        return bytes(image)


def _other_headers(chance: Random, head: bytes) -> bytes:
    at = chance.choice((8, 24 + 56, 24 + 40, 24 + 66, 24 + 70, 24 + 136, SECTIONS_AT - PE_AT + 8))  # not read
    return head[:at] + struct.pack("<H", edge_number(chance) & 0xFFFF) + head[at + 2 :]


def verify_file(place: Path, data: bytes) -> None:
    """Parsed, and verified against the authority's certificate."""
    pefile_parse_binary(data)
    certificates_of(data)
    verify_pefile_signature(data, [certificate("authority", "authority")])


@cache
def _certificate() -> bytes:
    return bytes(certificate("signer", "authority").dump())


def certificate_file(chance: Random) -> bytes:
    """A certificate as DER, with changed numbers, for every third damaged in other ways."""
    data = overwritten(chance, _certificate(), 2) if chance.randrange(3) else damaged(chance, _certificate(), 3)
    return data


def read_certificate(place: Path, data: bytes) -> None:
    """As kexec's option for trusted certificates reads it."""
    load_certificate(data, "fuzz.pem")


def unified_image(chance: Random) -> bytes:
    """A PE file with a kernel, a RAM disk and a command line in sections, and lies in their table."""
    parts = {b".linux": _whole()[:0x600], b".initrd": b"070701", b".cmdline": b"quiet\n", b".uname": b"6.12.0\0"}
    at, rows, content = 0x400, b"", b""
    for name, data in parts.items():
        rows += name.ljust(8, b"\0") + struct.pack("<IIII", len(data), 0x1000, len(data), at) + bytes(16)
        at, content = at + len(data), content + data
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, len(parts),
                                                                                       0, 0)  # fmt: skip
    table = (head + rows).ljust(0x400, b"\0")
    data = overwritten(chance, table, 2, 0x3C, len(head) + len(rows)) + content
    return damaged(chance, data, 2) if one_in(chance, 6) else data


def take_apart(place: Path, data: bytes) -> None:
    """What kind of file it is, and the parts of a unified image. KexecError: a part outside the file."""
    kind_of(data)
    if is_uki(data):
        uki_parts(data)
