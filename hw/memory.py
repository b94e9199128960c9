"""Physical memory: a sparse array of bytes over the whole physical address space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hw.errors import BusError

PHYSICAL_BITS = 52
"""Widest physical address of the architecture. Source: SDM vol. 3A, "Paging", MAXPHYADDR is at most 52."""
PHYSICAL_END = 1 << PHYSICAL_BITS
MAX_TRANSFER_BYTES = 64 << 20
"""Largest single transfer; lengths come from untrusted tables, so an absurd one must not take the host's memory."""

BLOCK_SHIFT = 16
BLOCK_SIZE = 1 << BLOCK_SHIFT
"""Granularity in which host memory backs the emulated one: large enough that digests and copies run at full speed."""

ARENA_BYTES = 1 << 20, 32 << 20
"""Least and most that is taken from the host at a time. Blocks of one piece lie side by side, on the host's large
pages where it has them, which doubles the rate of copies; what was never written costs nothing."""

_OFFSET_MASK = BLOCK_SIZE - 1
_ZEROS = memoryview(bytes(BLOCK_SIZE))


class _Place(NamedTuple):
    """Where a block is on the host: so many bytes behind the start of a piece of its memory, None if nowhere yet."""

    arena: memoryview | None
    at: int


_NOWHERE = _Place(None, 0)


class PhysicalMemory:
    """Bytes by physical address; blocks come into being when first written, bytes never written read as 0."""

    def __init__(self) -> None:
        self._blocks: dict[int, memoryview] = {}
        self._places: dict[int, _Place] = {}  # of the same blocks
        self._fresh: list[_Place] = []  # blocks that hold zeros, the next one last
        self._used: list[_Place] = []  # blocks given back, with whatever was in them
        self._arena_bytes = ARENA_BYTES[0]

    @property
    def resident_bytes(self) -> int:
        """Bytes of host memory that hold blocks written so far."""
        return len(self._blocks) * BLOCK_SIZE

    def read(self, addr: int, size: int) -> bytes:
        """`size` bytes from `addr`. Raises BusError outside the physical address space or above MAX_TRANSFER_BYTES."""
        offset = addr & _OFFSET_MASK
        self._check(addr, size)
        if offset + size <= BLOCK_SIZE:
            block = self._blocks.get(addr >> BLOCK_SHIFT)
            return bytes(block[offset : offset + size]) if block is not None else bytes(size)
        return b"".join(_ZEROS[:length] if view is None else view for length, view in self._stretches(addr, size))

    def write(self, addr: int, data: bytes) -> None:
        """Store `data` at `addr`. Raises BusError as `read()` does."""
        size = len(data)
        self._check(addr, size)
        offset = addr & _OFFSET_MASK
        if 0 < size <= BLOCK_SIZE - offset:
            self._block(addr >> BLOCK_SHIFT)[offset : offset + size] = data
            return
        given = memoryview(data)
        for done, number, at, length in _pieces(addr, size):
            self._block(number)[at : at + length] = given[done : done + length]

    def read_int(self, addr: int, size: int) -> int:
        """The little-endian number of `size` bytes at `addr`."""
        offset = addr & _OFFSET_MASK
        if offset + size <= BLOCK_SIZE and 0 <= addr < PHYSICAL_END:
            block = self._blocks.get(addr >> BLOCK_SHIFT)
            return int.from_bytes(block[offset : offset + size], "little") if block is not None else 0
        return int.from_bytes(self.read(addr, size), "little")

    def write_int(self, addr: int, size: int, value: int) -> None:
        """Store the low `size` bytes of `value`, little endian."""
        self.write(addr, (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little"))

    # -- in bulk, without copies of what is only looked at -------------------------------------------------------------

    def runs(self, addr: int, size: int) -> Iterator[tuple[int, memoryview | None]]:
        """[addr, addr + size) in pieces: their length, and the bytes themselves to look at.

        Neighbouring blocks come as one piece of any length where they are neighbours on the host too; so do blocks that
        were never written, with None for their zeros. Nothing may be written while a view is kept. Raises BusError
        outside the physical address space.
        """
        self._check_range(addr, size)
        for length, view in self._spans(addr, size):
            yield length, None if view is None else view.toreadonly()

    def views(self, addr: int, size: int) -> Iterator[memoryview]:
        """The same bytes as views of any length, zeros where nothing was written."""
        for length, view in self.runs(addr, size):
            if view is not None:
                yield view
                continue
            for done in range(0, length, BLOCK_SIZE):
                yield _ZEROS[: min(BLOCK_SIZE, length - done)]

    def clear(self, addr: int, size: int) -> None:
        """Make [addr, addr + size) zero; whole blocks are kept for others to come."""
        self._check_range(addr, size)
        for _, number, at, length in _pieces(addr, size):
            if length == BLOCK_SIZE:
                if self._blocks.pop(number, None) is not None:
                    self._used.append(self._places.pop(number))
            elif (block := self._blocks.get(number)) is not None:
                block[at : at + length] = _ZEROS[:length]

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy `size` bytes from `source` to `target`; the two ranges must not overlap."""
        self._check_ranges(target, source, size)
        at, start = source & _OFFSET_MASK, target & _OFFSET_MASK
        if at + size <= BLOCK_SIZE and start + size <= BLOCK_SIZE:
            block = self._blocks.get(source >> BLOCK_SHIFT)
            if block is None:
                self.clear(target, size)
            elif size:
                self._block(target >> BLOCK_SHIFT)[start : start + size] = block[at : at + size]
            return
        done = 0
        for length, view in self._spans(source, size):
            if view is None:
                self.clear(target + done, length)
            else:
                copied = 0
                for part, room in self._spans(target + done, length, make=True):
                    assert room is not None
                    room[:] = view[copied : copied + part]
                    copied += part
            done += length

    def swap(self, one: int, other: int, size: int) -> None:
        """Exchange the contents of two ranges that do not overlap."""
        self._check_ranges(one, other, size)
        for done, length in _common_pieces(one, other, size):
            kept = self._blocks.get((one + done) >> BLOCK_SHIFT)
            at = (one + done) & _OFFSET_MASK
            old = None if kept is None else bytes(kept[at : at + length])
            self.copy(one + done, other + done, length)
            if old is None:
                self.clear(other + done, length)
            else:
                start = (other + done) & _OFFSET_MASK
                self._block((other + done) >> BLOCK_SHIFT)[start : start + length] = old

    def _spans(self, addr: int, size: int, make: bool = False) -> Iterator[tuple[int, memoryview | None]]:
        # Pieces as long as the host's memory goes on; with `make`, blocks come into being.
        waiting, start = 0, 0  # bytes of the piece that may still grow, and its place in its arena
        places, last = self._places, _NOWHERE
        number, at = addr >> BLOCK_SHIFT, addr & _OFFSET_MASK
        while size:  # once a block of everything that is digested or relocated
            if make:
                self._block(number)
            place = places.get(number, _NOWHERE)
            length = min(BLOCK_SIZE - at, size)
            if waiting and (place.arena is not last.arena or (place.arena and place.at != last.at + BLOCK_SIZE)):
                yield waiting, last.arena and last.arena[start : start + waiting]
                waiting = 0
            if not waiting:
                start = place.at + at
            waiting, last, at = waiting + length, place, 0
            size, number = size - length, number + 1
        if waiting:
            yield waiting, last.arena and last.arena[start : start + waiting]

    def _stretches(self, addr: int, size: int) -> Iterator[tuple[int, memoryview | None]]:
        for _, number, at, length in _pieces(addr, size):
            block = self._blocks.get(number)
            yield length, None if block is None else block[at : at + length]

    def _block(self, number: int) -> memoryview:
        block = self._blocks.get(number)
        if block is None:
            place = self._places[number] = self._new_place()
            assert place.arena is not None
            block = self._blocks[number] = place.arena[place.at : place.at + BLOCK_SIZE]
        return block

    def _new_place(self) -> _Place:
        if self._used:
            place = self._used.pop()
            assert place.arena is not None
            place.arena[place.at : place.at + BLOCK_SIZE] = _ZEROS
            return place
        if not self._fresh:
            arena = memoryview(bytearray(self._arena_bytes))
            self._fresh = [_Place(arena, at) for at in range(0, len(arena), BLOCK_SIZE)][::-1]
            self._arena_bytes = min(2 * self._arena_bytes, ARENA_BYTES[1])
        return self._fresh.pop()

    def _check_ranges(self, one: int, other: int, size: int) -> None:
        self._check_range(one, size)
        self._check_range(other, size)
        if size and abs(one - other) < size:
            raise BusError(f"{size} bytes overlap the same number of bytes at {other:#x}", one)

    @staticmethod
    def _check(addr: int, size: int) -> None:
        if not 0 <= size <= MAX_TRANSFER_BYTES:
            raise BusError(f"transfer of {size} bytes refused (0 to {MAX_TRANSFER_BYTES} allowed)", addr)
        PhysicalMemory._check_range(addr, size)

    @staticmethod
    def _check_range(addr: int, size: int) -> None:
        if addr < 0 or size < 0 or addr + size > PHYSICAL_END:
            raise BusError(f"{size} bytes outside the {PHYSICAL_BITS}-bit physical address space", addr)


def _pieces(addr: int, size: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a transfer at block borders: (bytes before this piece, block number, offset in block, length)."""
    done = 0
    while done < size:
        at = (addr + done) & _OFFSET_MASK
        length = min(size - done, BLOCK_SIZE - at)
        yield done, (addr + done) >> BLOCK_SHIFT, at, length
        done += length


def _common_pieces(one: int, other: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut two ranges of one size wherever either meets a block border: (bytes before this piece, length)."""
    done = 0
    while done < size:
        length = min(
            size - done, BLOCK_SIZE - (one + done & _OFFSET_MASK), BLOCK_SIZE - (other + done & _OFFSET_MASK)
        )
        yield done, length
        done += length
