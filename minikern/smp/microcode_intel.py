"""Intel's microcode updates: a file of them checked and searched. Bytes from outside: every length is held in bounds.

Source: SDM vol. 3A, "Microcode Update Facilities"; arch/x86/kernel/cpu/microcode/intel.c @ v6.12 and v6.1
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from minikern.state.microcode import IntelUpdate, Signature

HEADER = struct.Struct("<IIIIIIIIIIII")
EXTENDED_TABLE, EXTENDED_ENTRY = struct.Struct("<IIIII"), struct.Struct("<III")
DEFAULT_DATA_BYTES = 2000
_MASK32 = 0xFFFF_FFFF


def parse_updates(blob: bytes) -> list[IntelUpdate] | None:
    """All updates of the file in order; None if anything in it is damaged or left over: then none of it is used.

    Source: intel.c:scan_microcode(), intel_microcode_sanity_check() @ v6.12
    """
    updates: list[IntelUpdate] = []
    at = 0
    while len(blob) - at >= HEADER.size:
        update = _checked(blob, at)
        if update is None:
            return None
        updates.append(update)
        at += update.size
    return updates if at == len(blob) else None


def _checked(blob: bytes, at: int) -> IntelUpdate | None:
    version, revision, date, sig, checksum, loader, pf, data, total, *_ = HEADER.unpack_from(blob, at)
    total = total if data else DEFAULT_DATA_BYTES + HEADER.size
    body = HEADER.size + (data or DEFAULT_DATA_BYTES)
    if total > len(blob) - at or body > total or loader != 1 or version != 1:
        return None
    if _sum(blob[at : at + body]):
        return None
    signatures = [Signature(sig, pf)]
    if total > body:
        more = _extended(blob[at + body : at + total], sig + pf + checksum)
        if more is None:
            return None
        signatures += more
    return IntelUpdate(at, total, revision, date, tuple(signatures))


def _extended(table: bytes, own_sum: int) -> list[Signature] | None:
    """The signatures of an extended table. The three words of each must add up to the same as the header's."""
    if len(table) < EXTENDED_TABLE.size:
        return None
    count = EXTENDED_TABLE.unpack_from(table)[0]
    if len(table) != EXTENDED_TABLE.size + EXTENDED_ENTRY.size * count or _sum(table):
        return None
    rows = list(EXTENDED_ENTRY.iter_unpack(table[EXTENDED_TABLE.size :]))
    if any((own_sum - sum(row)) & _MASK32 for row in rows):
        return None
    return [Signature(sig, pf) for sig, pf, _ in rows]


def _sum(data: bytes) -> int:
    # A last piece of a word is left out, as the kernel does.
    words: tuple[int, ...] = struct.unpack_from(f"<{len(data) // 4}I", data)
    return sum(words) & _MASK32


def matching(updates: Sequence[IntelUpdate], cpu: Signature) -> Iterator[IntelUpdate]:
    """Those for this CPU. Source: intel.c:cpu_signatures_match() @ v6.12"""
    for update in updates:
        if any(s.sig == cpu.sig and (s.pf & cpu.pf or not s.pf | cpu.pf) for s in update.signatures):
            yield update


def newest(updates: Sequence[IntelUpdate], cpu: Signature, revision: int) -> IntelUpdate | None:
    """The newest update for this CPU that is newer than ``revision``."""
    best = None
    for update in matching(updates, cpu):
        if update.revision > revision:
            best, revision = update, update.revision
    return best


def date_text(date: int) -> str:
    """YYYY-MM-DD, as the log has it."""
    return f"{date & 0xFFFF:04x}-{date >> 24:02x}-{date >> 16 & 0xFF:02x}"
