"""User space of the new kernel asks for its files: sessions by name, files by token; a memory file's folios come back.

Source: kernel/liveupdate/luo_session.c, luo_file.c, mm/memfd_luo.c @ v7.2
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from hw.errors import InputError
from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.kho.restore import NotPreservedError, restore_free, restore_page
from minikern.kho.retrieve import phys_to_virt
from minikern.state.kho import Memfd
from minikern.state.kho_abi import (
    CHUNK_ADDRESSES,
    FILE,
    FOLIO,
    FOLIO_PFN_BITS,
    MEMFD,
    MEMFD_COMPATIBLE,
    SERIALIZED_HEAD,
    SESSION,
    VMALLOC,
)

if TYPE_CHECKING:
    import struct

    from minikern.core.kernel import Kernel

MAX_FOLIO_ORDER = 18  # a gigantic page
MAX_BLOCKS = 1 << 16  # pages of a chain: more than anybody has files


class KeptFile(NamedTuple):
    """A file that waits: what kind it is, and where its description lies."""

    compatible: str
    data: int


def incoming_sessions(k: Kernel) -> dict[str, dict[int, KeptFile]]:
    """Files that wait, by session and token. InputError: what was written down contradicts itself."""
    found: dict[str, dict[int, KeptFile]] = {}
    for name, files, count in _rows(k, k.kho.sessions_phys, SESSION, -1):
        rows = _rows(k, files, FILE, count)
        found[_text(name)] = {token: KeptFile(_text(kind), data) for kind, data, token in rows}
    return found


def _rows(k: Kernel, address: int, layout: struct.Struct, expected: int) -> Iterator[tuple[bytes, int, int]]:
    room, seen, chain = (PAGE_SIZE - SERIALIZED_HEAD.size) // layout.size, 0, 0
    while address:
        chain += 1
        page = phys_to_virt(k, address, PAGE_SIZE)
        following, count = SERIALIZED_HEAD.unpack_from(page)
        if count > room or chain > MAX_BLOCKS:
            raise InputError(f"handed-over block at {address:#x}: {count} entries, expected at most {room}")
        for index in range(count):
            first, second, third = layout.unpack_from(page, SERIALIZED_HEAD.size + index * layout.size)
            yield first, second, third
        seen, address = seen + count, following
    if expected not in (-1, seen):
        raise InputError(f"handed-over blocks: {seen} entries, expected {expected}")


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace")


def retrieve_memfd(k: Kernel, session: str, token: int) -> Memfd:
    """Bring a memory file back: its folios are allocated pages of this kernel, and what described it is free again.

    InputError: no such file, or its description is damaged; nothing of it can then be had.
    """
    files = incoming_sessions(k).get(session, {})
    if token not in files:
        raise InputError(f"session {session!r}: no file with token {token} was kept")
    kept = files[token]
    if kept.compatible != MEMFD_COMPATIBLE:
        raise InputError(f"session {session!r} token {token}: {kept.compatible!r}: expected {MEMFD_COMPATIBLE!r}")
    data = phys_to_virt(k, kept.data, MEMFD.size + VMALLOC.size)
    pos, size, seals, _, count = MEMFD.unpack_from(data)
    first, total, _, _ = VMALLOC.unpack_from(data, MEMFD.size)
    if size > count * PAGE_SIZE << MAX_FOLIO_ORDER or total != -(-count * FOLIO.size // PAGE_SIZE):
        raise InputError(f"memory file at {kept.data:#x}: {size} bytes, {count} folios and {total} pages of them")
    try:
        entries = _entries(k, first, total)[: count * FOLIO.size]
        folios = [_folio(k, *row) for row in FOLIO.iter_unpack(entries)]
        restore_free(k, kept.data)
    except NotPreservedError as error:
        raise InputError(f"memory file at {kept.data:#x}: {error} was not preserved") from error
    return Memfd(size, folios, seals, pos, kept.data)


def _entries(k: Kernel, chunk: int, total: int) -> bytes:
    # kho_restore_vmalloc(): the pages that hold the list, chunk by chunk.
    data, left = bytearray(), total
    while chunk:
        page = phys_to_virt(k, chunk, PAGE_SIZE)
        addresses = [int.from_bytes(page[8 * i + 8 : 8 * i + 16], "little") for i in range(CHUNK_ADDRESSES)]
        for address in addresses[: addresses.index(0) if 0 in addresses else None]:
            data += phys_to_virt(k, address, PAGE_SIZE)
            restore_free(k, address)
            left -= 1
        restore_free(k, chunk)
        chunk = int.from_bytes(page[:8], "little")
    if left:
        raise NotPreservedError(f"a list of {total} pages, {left} of them missing:")
    return bytes(data)


def _folio(k: Kernel, word: int, index: int) -> tuple[int, int]:
    pfn = word & (1 << FOLIO_PFN_BITS) - 1
    return pfn, restore_page(k, pfn << PAGE_SHIFT)
