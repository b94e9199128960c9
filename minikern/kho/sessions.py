"""Sessions of the Live Update Orchestrator: files that user space asks to be kept, here memory files.

A session has a name, a file a token. Nothing is written for the next kernel before this one reboots.
Source: kernel/liveupdate/luo_session.c, luo_file.c, mm/memfd_luo.c @ v7.2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hw.errors import InputError
from hw.units import PAGE_SIZE
from minikern.kho import preserve
from minikern.state.kho import Memfd, Session
from minikern.state.kho_abi import (
    FILE,
    FOLIO,
    FOLIO_DIRTY,
    FOLIO_PFN_BITS,
    FOLIO_UPTODATE,
    LUO,
    MEMFD,
    MEMFD_COMPATIBLE,
    NAME_BYTES,
    SERIALIZED_HEAD,
    SESSION,
)
from minikern.state.page_alloc import MIGRATE_UNMOVABLE

if TYPE_CHECKING:
    import struct

    from minikern.core.kernel import Kernel


def create_session(k: Kernel, name: str) -> Session:
    """A new, empty session. InputError: liveupdate is off, or the name will not do."""
    if k.kho.outgoing is None or not k.kho.outgoing.luo_phys:
        raise InputError(f"session {name!r}: expected a kernel booted with kho=on liveupdate=on")
    if not 0 < len(name.encode()) < NAME_BYTES:
        raise InputError(f"session {name!r}: expected a name of 1 to {NAME_BYTES - 1} bytes")
    if any(session.name == name for session in k.kho.sessions):
        raise InputError(f"session {name!r}: there is one of that name")
    session = Session(name)
    k.kho.sessions.append(session)
    return session


def allocate_memfd(k: Kernel, size: int, order: int = 0, nid: int = 0) -> Memfd:
    """A memory file filled with folios of 2**order pages, taken from the page allocator. InputError: not enough."""
    folios: list[tuple[int, int]] = []
    for _ in range(-(-size // (PAGE_SIZE << order))):
        pfn = k.page_alloc.alloc_pages(order, nid, MIGRATE_UNMOVABLE)
        if pfn is None:
            raise InputError(f"memfd of {size} bytes: only {len(folios)} folios of order {order} are left")
        folios.append((pfn, order))
    return Memfd(size, folios)


def preserve_memfd(k: Kernel, session: Session, token: int, file: Memfd) -> None:
    """Keep a memory file: its folios, the list of them, and its description. Source: memfd_luo_preserve()"""
    if token in session.files:
        raise InputError(f"session {session.name!r}: token {token} is taken")
    preserve.preserve_blocks(k, file.folios)
    entries = list(_folio_entries(file))
    pages = [preserve.get_zeroed_page(k) for _ in range(-(-len(entries) * FOLIO.size // PAGE_SIZE))]
    packed = b"".join(FOLIO.pack(*entry) for entry in entries)
    for index, page in enumerate(pages):
        k.machine.bus.memory.write(page, packed[PAGE_SIZE * index : PAGE_SIZE * (index + 1)])
    descriptor = preserve.preserve_vmalloc(k, pages)
    file.data = preserve.alloc_preserve(k, MEMFD.size + len(descriptor))
    head = MEMFD.pack(file.pos, file.size, file.seals, 0, len(file.folios))
    k.machine.bus.memory.write(file.data, head + descriptor)
    session.files[token] = file


def _folio_entries(file: Memfd) -> Iterator[tuple[int, int]]:
    index, flags = 0, FOLIO_DIRTY | FOLIO_UPTODATE
    for pfn, order in file.folios:
        yield pfn | flags << FOLIO_PFN_BITS, index
        index += 1 << order


def liveupdate_reboot(k: Kernel) -> None:
    """Write all sessions down, just before the machine is handed over. Source: luo_session_serialize()"""
    out = k.kho.outgoing
    if out is None or not out.luo_phys or not k.kho.sessions:
        return
    rows = []
    for session in k.kho.sessions:
        files = [FILE.pack(MEMFD_COMPATIBLE.encode(), file.data, token) for token, file in session.files.items()]
        place = _write_blocks(k, files, FILE) if files else 0
        rows.append(SESSION.pack(session.name.encode(), place, len(files)))
    sessions = _write_blocks(k, rows, SESSION)
    head = k.machine.bus.memory.read(out.luo_phys, LUO.size)
    compatible, number, _, flbs = LUO.unpack(head)
    k.machine.bus.memory.write(out.luo_phys, LUO.pack(compatible, number, sessions, flbs))


def _write_blocks(k: Kernel, rows: Sequence[bytes], layout: struct.Struct) -> int:
    """Rows in a chain of preserved pages; the address of the first. Source: kernel/liveupdate/kho_block.c"""
    room = (PAGE_SIZE - SERIALIZED_HEAD.size) // layout.size
    parts = [rows[start : start + room] for start in range(0, len(rows), room)]
    places = [preserve.alloc_preserve(k, PAGE_SIZE) for _ in parts]
    for place, following, part in zip(places, [*places[1:], 0], parts, strict=True):
        k.machine.bus.memory.write(place, SERIALIZED_HEAD.pack(following, len(part)) + b"".join(part))
    return places[0]
