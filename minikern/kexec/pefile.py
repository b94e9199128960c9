"""The PE side of a signed kernel: where its signature is, and which bytes it covers.

Source: crypto/asymmetric_keys/verify_pefile.c @ v6.12; Microsoft, "Windows Authenticode Portable Executable Signature
Format", "Calculating the PE Image Hash"
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from minikern.kexec.errors import KexecError

MZ, PE = b"MZ", b"PE\0\0"
PE32, PE32_PLUS = 0x10B, 0x20B
COFF_BYTES, SECTION_BYTES = 20, 40
CHECKSUM = 64  # offset in the optional header
CERTIFICATE_TABLE = 4  # index among the data directories
WIN_CERT_REVISION_2_0, WIN_CERT_PKCS_SIGNED_DATA = 0x0200, 0x0002
MAX_SECTIONS = 96


class PeFile(NamedTuple):
    """Places in the file, bytes."""

    checksum: int
    certificate_entry: int
    headers: int
    sections: list[tuple[int, int]]  # (file offset, size), in the order of the file
    signature: tuple[int, int]  # of the certificate table; (0, 0) if there is none


def _u(data: bytes, offset: int, size: int, name: str) -> int:
    if offset < 0 or offset + size > len(data):
        raise KexecError("ELIBBAD", name, f"{size} bytes inside the file", f"a file of {len(data)} bytes", offset)
    return int.from_bytes(data[offset : offset + size], "little")


def pefile_parse_binary(data: bytes) -> PeFile:
    """Take a PE file apart; KexecError ELIBBAD if it is none. Source: verify_pefile.c:pefile_parse_binary()"""
    if data[:2] != MZ:
        raise KexecError("ELIBBAD", "DOS header", "'MZ'", data[:2].hex(), 0)
    at = _u(data, 0x3C, 4, "offset of the PE header")
    if data[at : at + 4] != PE:
        raise KexecError("ELIBBAD", "PE header", "'PE'", data[at : at + 4].hex(), at)
    sections = _u(data, at + 6, 2, "number of sections")
    optional = at + 4 + COFF_BYTES
    magic = _u(data, optional, 2, "optional header")
    if magic not in (PE32, PE32_PLUS):
        raise KexecError("ELIBBAD", "optional header", f"{PE32:#x} or {PE32_PLUS:#x}", f"{magic:#x}", optional)
    count_at = optional + (108 if magic == PE32_PLUS else 92)
    entry = count_at + 4 + 8 * CERTIFICATE_TABLE
    headers = _u(data, optional + 60, 4, "size of headers")
    if not entry + 8 <= headers <= len(data):
        raise KexecError("ELIBBAD", "size of headers", f"from {entry + 8} to {len(data)}", str(headers), optional + 60)
    if _u(data, count_at, 4, "number of directories") <= CERTIFICATE_TABLE:
        raise KexecError("ENODATA", "signature", "a certificate table", "an unsigned file", count_at)
    table = optional + _u(data, at + 20, 2, "size of the optional header")
    signature = _u(data, entry, 4, "certificate table"), _u(data, entry + 4, 4, "certificate table")
    if signature[1] and not headers <= signature[0] <= len(data) - signature[1]:
        inside = f"inside the {len(data)} bytes of the file"
        raise KexecError("ELIBBAD", "certificate table", inside, f"{signature[1]} at {signature[0]:#x}", entry)
    return PeFile(optional + CHECKSUM, entry, headers, _sections(data, table, sections), signature)


def _sections(data: bytes, table: int, count: int) -> list[tuple[int, int]]:
    if count > MAX_SECTIONS:
        raise KexecError("ELIBBAD", "number of sections", f"at most {MAX_SECTIONS}", str(count))
    found = []
    for index in range(count):
        at = table + SECTION_BYTES * index
        size, start = _u(data, at + 16, 4, "section size"), _u(data, at + 20, 4, "section offset")
        if start + size > len(data):
            raise KexecError("ELIBBAD", f"section {index}", f"an end within {len(data)}", f"{start + size}", at + 16)
        if size:
            found.append((start, size))
    return sorted(found)


def digested_ranges(pe: PeFile, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what the signature covers: all but the checksum, the table's entry and the table itself.

    Source: verify_pefile.c:pefile_digest_pe_contents()
    """
    yield 0, pe.checksum
    yield pe.checksum + 4, pe.certificate_entry
    yield pe.certificate_entry + 8, pe.headers
    hashed = pe.headers
    for start, length in pe.sections:
        yield start, start + length
        hashed += length
    if size > hashed + pe.signature[1]:
        yield hashed, size - pe.signature[1]


def pefile_strip_sig_wrapper(data: bytes, pe: PeFile) -> bytes:
    """The PKCS#7 message in the certificate table. KexecError: ENODATA (unsigned), ELIBBAD, ENOTSUP.

    Source: verify_pefile.c:pefile_strip_sig_wrapper()
    """
    start, size = pe.signature
    if not start or not size:
        raise KexecError("ENODATA", "signature", "a certificate table", "an unsigned file", pe.certificate_entry)
    if size < 8:
        raise KexecError("ELIBBAD", "signature", "at least 8 bytes", f"{size}", start)
    length, revision, kind = struct.unpack_from("<IHH", data, start)
    if -(-length // 8) * 8 != size:
        raise KexecError("ELIBBAD", "signature length", f"{size} rounded up to 8", str(length), start)
    if (revision, kind) != (WIN_CERT_REVISION_2_0, WIN_CERT_PKCS_SIGNED_DATA):
        wanted = f"revision {WIN_CERT_REVISION_2_0:#x}, type {WIN_CERT_PKCS_SIGNED_DATA}"
        raise KexecError("ENOTSUP", "signature type", wanted, f"revision {revision:#x}, type {kind}", start + 4)
    return data[start + 8 : start + length]
