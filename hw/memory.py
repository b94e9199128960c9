"""Physical memory: a sparse array of bytes over the whole physical address space."""

from __future__ import annotations

from hw.errors import BusError

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
PHYSICAL_BITS = 52
"""Widest physical address of the architecture. Source: SDM vol. 3A, "Paging", MAXPHYADDR is at most 52."""
PHYSICAL_END = 1 << PHYSICAL_BITS
MAX_TRANSFER_BYTES = 64 << 20
"""Largest single transfer; lengths come from untrusted tables, so an absurd one must not take the host's memory."""

_OFFSET_MASK = PAGE_SIZE - 1


class PhysicalMemory:
    """Bytes by physical address; pages come into being when first written, bytes never written read as 0."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    @property
    def resident_bytes(self) -> int:
        """Bytes of host memory that hold pages written so far."""
        return len(self._pages) * PAGE_SIZE

    def read(self, addr: int, size: int) -> bytes:
        """`size` bytes from `addr`. Raises BusError outside the physical address space or above MAX_TRANSFER_BYTES."""
        offset = addr & _OFFSET_MASK
        self._check(addr, size)
        if offset + size <= PAGE_SIZE:
            page = self._pages.get(addr >> PAGE_SHIFT)
            return bytes(page[offset : offset + size]) if page is not None else bytes(size)
        out = bytearray(size)
        for done, pfn, at, length in _pieces(addr, size):
            page = self._pages.get(pfn)
            if page is not None:
                out[done : done + length] = page[at : at + length]
        return bytes(out)

    def write(self, addr: int, data: bytes) -> None:
        """Store `data` at `addr`. Raises BusError as `read()` does."""
        size = len(data)
        self._check(addr, size)
        offset = addr & _OFFSET_MASK
        if 0 < size <= PAGE_SIZE - offset:
            self._page(addr >> PAGE_SHIFT)[offset : offset + size] = data
            return
        for done, pfn, at, length in _pieces(addr, size):
            self._page(pfn)[at : at + length] = data[done : done + length]

    def read_int(self, addr: int, size: int) -> int:
        """The little-endian number of `size` bytes at `addr`."""
        offset = addr & _OFFSET_MASK
        if offset + size <= PAGE_SIZE and 0 <= addr < PHYSICAL_END:
            page = self._pages.get(addr >> PAGE_SHIFT)
            return int.from_bytes(page[offset : offset + size], "little") if page is not None else 0
        return int.from_bytes(self.read(addr, size), "little")

    def write_int(self, addr: int, size: int, value: int) -> None:
        """Store the low `size` bytes of `value`, little endian."""
        self.write(addr, (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little"))

    def _page(self, pfn: int) -> bytearray:
        page = self._pages.get(pfn)
        if page is None:
            page = self._pages[pfn] = bytearray(PAGE_SIZE)
        return page

    @staticmethod
    def _check(addr: int, size: int) -> None:
        if not 0 <= size <= MAX_TRANSFER_BYTES:
            raise BusError(f"transfer of {size} bytes refused (0 to {MAX_TRANSFER_BYTES} allowed)", addr)
        if addr < 0 or addr + size > PHYSICAL_END:
            raise BusError(f"{size} bytes outside the {PHYSICAL_BITS}-bit physical address space", addr)


def _pieces(addr: int, size: int) -> list[tuple[int, int, int, int]]:
    """Cut a transfer at page borders: (bytes before this piece, pfn, offset in page, length)."""
    pieces = []
    done = 0
    while done < size:
        at = (addr + done) & _OFFSET_MASK
        length = min(size - done, PAGE_SIZE - at)
        pieces.append((done, (addr + done) >> PAGE_SHIFT, at, length))
        done += length
    return pieces
