"""Unified kernel images: a PE file around kernel, initial RAM disk and command line, for firmware to start.

Linux's kexec_file_load() has no reader for them: what it is given has no HdrS, so it says ENOEXEC. The tool in user
space takes the parts out and loads those. Source: kexec-tools, kexec/kexec-uki.c; UAPI group, "Unified Kernel Image"
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from minikern.kexec.errors import KexecError
from minikern.kexec.pefile import COFF_BYTES, MAX_SECTIONS, MZ, PE, SECTION_BYTES

PE_AT = 0x3C
NAME_BYTES = 8
HDRS_AT, HDRS = 0x202, b"HdrS"


class Uki(NamedTuple):
    """The parts of a unified kernel image; empty where there is none."""

    linux: bytes
    initrd: bytes
    cmdline: str
    uname: str


def _table(data: bytes) -> list[tuple[str, int, int]]:
    """(name, file offset, bytes) of every section; empty for what is no PE file."""
    if data[:2] != MZ or len(data) < PE_AT + 4:
        return []
    at = int.from_bytes(data[PE_AT : PE_AT + 4], "little")
    if data[at : at + 4] != PE or at + 4 + COFF_BYTES > len(data):
        return []
    count, optional = struct.unpack_from("<H12xH", data, at + 6)
    first = at + 4 + COFF_BYTES + optional
    rows = []
    for place in range(first, first + SECTION_BYTES * min(count, MAX_SECTIONS), SECTION_BYTES):
        if place + SECTION_BYTES > len(data):
            break
        name = data[place : place + NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")
        virtual, _, raw, offset = struct.unpack_from("<IIII", data, place + NAME_BYTES)
        rows.append((name, offset, min(raw, virtual) if virtual else raw))
    return rows


def is_uki(data: bytes) -> bool:
    """True for a PE file with a kernel in a section; a bzImage with an EFI stub is none."""
    return data[HDRS_AT : HDRS_AT + 4] != HDRS and any(name == ".linux" for name, _, _ in _table(data))


def uki_parts(data: bytes) -> Uki:
    """Take the parts out. KexecError ENOEXEC: a section lies outside the file."""
    parts: dict[str, bytes] = {}
    for name, offset, size in _table(data):
        if name in (".linux", ".initrd", ".cmdline", ".uname") and name not in parts:
            if offset + size > len(data):
                expected = f"an end within the {len(data)} bytes of the file"
                raise KexecError("ENOEXEC", f"section {name}", expected, f"{offset + size}", offset)
            parts[name] = data[offset : offset + size]
    return Uki(parts.get(".linux", b""), parts.get(".initrd", b""), _text(parts.get(".cmdline", b"")),
               _text(parts.get(".uname", b"")))  # fmt: skip


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace").strip()
