"""ELF as far as kexec meets it: headers of a core, segments and sections of a kernel.

Source: System V ABI, "Object Files"; include/uapi/linux/elf.h @ v6.12
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR = struct.Struct("<IIQQQQQQ")
SHDR = struct.Struct("<IIQQQQIIQQ")
NHDR = struct.Struct("<III")
E_MAGIC = b"\x7fELF"
E_IDENT = E_MAGIC + b"\x02\x01\x01"
ET_CORE, EM_X86_64, EM_AARCH64, EV_CURRENT = 4, 62, 183, 1
PT_LOAD, PT_NOTE, RWX = 1, 4, 7
PN_XNUM = 0xFFFF


class Ehdr(NamedTuple):
    """Members of Elf64_Ehdr by their names."""

    ident: bytes
    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class Phdr(NamedTuple):
    """Members of Elf64_Phdr by their names."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


class Section(NamedTuple):
    """A section: its name, and where it is in virtual memory and in the file, bytes."""

    name: str
    addr: int
    offset: int
    size: int


def program_headers(data: bytes) -> list[Phdr]:
    """The program headers. struct.error for a table that is not inside ``data``."""
    head = Ehdr(*EHDR.unpack_from(data))
    if head.phoff + head.phnum * PHDR.size > len(data):  # an offset may be wider than any index
        raise struct.error("program headers outside the file")
    return [Phdr(*PHDR.unpack_from(data, head.phoff + index * PHDR.size)) for index in range(head.phnum)]


def sections(data: bytes) -> Iterator[Section]:
    """The sections that have a name, as far as table and names are inside ``data``."""
    head = Ehdr(*EHDR.unpack_from(data))
    places = [head.shoff + index * head.shentsize for index in range(head.shnum)]
    if head.shentsize < SHDR.size or any(place + SHDR.size > len(data) for place in places):
        return
    rows = [SHDR.unpack_from(data, place) for place in places]
    names = rows[head.shstrndx][4] if head.shstrndx < len(rows) else len(data)
    for row in rows:
        name = data[names + row[0] : names + row[0] + 64].split(b"\0")[0].decode("ascii", "replace")
        if name:
            yield Section(name, row[3], row[4], row[5])
