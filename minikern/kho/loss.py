"""What one kernel kept and what the next one found: the difference is what a damaged handover loses.

Nothing of a handover carries a checksum, so a kernel notices only what breaks its own rules. Here both sides are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hw.errors import InputError, MachineStopped
from hw.units import PAGE_SHIFT, PAGE_SIZE
from minikern.kho.preserve import outgoing_of
from minikern.kho.radix import decode_key, runs, walk
from minikern.kho.retrieve_files import retrieve_memfd
from minikern.state.kho import Blocks, Memfd, Reservation, Scratch, Session

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


@dataclass
class Handed:
    """One side of a handover. ``blocks`` are preserved blocks in the order of the walk."""

    scratch: list[Scratch] = field(default_factory=list)
    blocks: list[Blocks] = field(default_factory=list)
    reservations: list[Reservation] = field(default_factory=list)
    liveupdate_num: int = 0
    kexec_count: int = 0


def handed_on(k: Kernel) -> Handed | None:
    """What a kernel hands on now, by its own tree; None if it hands nothing on."""
    if k.kho.outgoing is None:
        return None
    out, memory = outgoing_of(k), k.machine.bus.memory
    pages = k.memblock.phys_mem_size() // PAGE_SIZE
    if out.tracked is not None:
        blocks = [Blocks(number << order + PAGE_SHIFT, order) for order in out.tracked for number in out.tracked[order]]
        return Handed(list(k.kho.scratch), sorted(blocks), list(k.kho.reservations))
    found = [
        Blocks(*decode_key(first), count)
        for keys in walk(lambda address: memory.read(address, PAGE_SIZE), out.map_phys, pages)
        for first, count in runs(keys)
    ]
    number = k.kho.liveupdate_num + 1 if out.luo_phys else 0
    return Handed(list(k.kho.scratch), found, list(k.kho.reservations), number, k.kho.kexec_count + 1)


def found_by(k: Kernel) -> Handed:
    """What a kernel took over; nothing at all if it refused the handover."""
    incoming = k.kho.incoming
    if incoming is None or not incoming.fdt_phys:
        return Handed()
    kho = k.kho
    return Handed(
        list(kho.scratch), list(incoming.found), list(kho.reservations), kho.liveupdate_num, kho.kexec_count
    )


def lost(before: Handed, after: Handed) -> list[str]:
    """What did not arrive, and what arrived that nobody had sent: one line each."""
    lines = []
    if not after.scratch:
        return [f"everything: {_pages(before.blocks)} preserved pages, {len(before.reservations)} named regions"]
    if before.scratch != after.scratch:
        lines.append(f"scratch areas: {before.scratch} were handed over as {after.scratch}")
    sent, came = _ranges(before.blocks), _ranges(after.blocks)
    gone, new = _without(sent, came), _without(came, sent)
    lines += [f"preserved pages: {_total(gone)} from {gone[0][0]:#x} on"] if gone else []
    lines += [f"free pages: {_total(new)} from {new[0][0]:#x} on are taken for preserved"] if new else []
    if not (gone or new) and _singly(before.blocks) != _singly(after.blocks):
        lines.append("blocks: the same pages in other orders")
    lines += [f"named region {held.name!r}" for held in before.reservations if held not in after.reservations]
    for what in ("liveupdate_num", "kexec_count"):
        if getattr(before, what) != getattr(after, what):
            lines.append(f"{what}: {getattr(before, what)} became {getattr(after, what)}")
    return lines


def lost_files(before: Sequence[Session], k: Kernel) -> list[str]:
    """Ask for every memory file that was kept, as user space would: a line for what is not there or not as it was."""
    return [
        line
        for session in before
        for token, file in session.files.items()
        for line in _lost_file(k, session.name, token, file)
    ]


def _lost_file(k: Kernel, session: str, token: int, file: Memfd) -> list[str]:
    try:
        if not k.kho.liveupdate:
            # Source: kernel/liveupdate/luo_core.c:liveupdate_ioctl_init() @ v7.2
            raise InputError("there is no /dev/liveupdate to ask: expected liveupdate=on")
        back = retrieve_memfd(k, session, token)
    except (InputError, MachineStopped) as error:
        return [f"memory file {token} of session {session!r}: {error}"]
    return [f"memory file {token} of session {session!r}: {change}" for change in file_changes(file, back)]


def file_changes(kept: Memfd, back: Memfd | None) -> list[str]:
    """How a memory file came back otherwise than it was kept."""
    if back is None:
        return ["is gone"]
    changes = [
        f"{what} {getattr(kept, what):#x} became {getattr(back, what):#x}"
        for what in ("size", "seals", "pos")
        if getattr(kept, what) != getattr(back, what)
    ]
    if list(kept.folios) != list(back.folios):
        pairs = zip(kept.folios, back.folios, strict=False)
        least = min(len(kept.folios), len(back.folios))
        first = next((at for at, (one, other) in enumerate(pairs) if one != other), least)
        changes.append(f"{len(kept.folios)} folios came back as {len(back.folios)}, otherwise from number {first} on")
    return changes


def _singly(blocks: list[Blocks]) -> list[tuple[int, int, int]]:
    # By order and place, what lies side by side as one, however it was listed.
    merged: list[list[int]] = []
    for item in sorted(blocks, key=lambda item: (item.order, item.phys)):
        if merged and merged[-1][0] == item.order and merged[-1][2] == item.phys:
            merged[-1][2] += item.size
        else:
            merged.append([item.order, item.phys, item.phys + item.size])
    return [(order, start, end) for order, start, end in merged]


def _ranges(blocks: list[Blocks]) -> list[tuple[int, int]]:
    """Page frames as disjoint ranges, ascending."""
    merged: list[tuple[int, int]] = []
    for item in sorted(blocks):
        start, end = item.phys >> PAGE_SHIFT, item.phys + item.size >> PAGE_SHIFT
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _without(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> list[tuple[int, int]]:
    left, at = [], 0
    for start, end in ranges:
        while at < len(others) and others[at][1] <= start:
            at += 1
        for low, high in others[at:]:
            if low >= end:
                break
            if start < low:
                left.append((start, low))
            start = max(start, high)
        if start < end:
            left.append((start, end))
    return left


def _total(ranges: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)


def _pages(blocks: list[Blocks]) -> int:
    return sum(item.size for item in blocks) >> PAGE_SHIFT
