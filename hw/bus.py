"""The bus: routes memory and port accesses. Devices own their registers; reading never advances time by itself."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hw.errors import BusError
from hw.memory import MAX_TRANSFER_BYTES, PHYSICAL_END, PhysicalMemory

PORTS = 0x10000
"""Size of the I/O address space. Source: SDM vol. 1, "Input/Output", I/O port addressing."""

_ONES = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF, 8: 0xFFFF_FFFF_FFFF_FFFF}


class MmioDevice(Protocol):
    """Something with registers in the memory address space; `offset` counts from the base it was mapped at."""

    def mmio_read(self, offset: int, size: int, cpu: object) -> int: ...

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None: ...


class PortDevice(Protocol):
    """Something with I/O ports; `port` is the absolute port number."""

    def port_read(self, port: int, size: int) -> int: ...

    def port_write(self, port: int, size: int, value: int) -> None: ...


class _Window(NamedTuple):
    base: int
    end: int
    device: MmioDevice


class Bus:
    """Address decoder of one machine: MMIO windows over RAM, and the I/O ports."""

    def __init__(self, memory: PhysicalMemory | None = None) -> None:
        self.memory = PhysicalMemory() if memory is None else memory
        self._bases: list[int] = []
        self._windows: list[_Window] = []
        self._ports: dict[int, PortDevice] = {}

    # -- wiring -------------------------------------------------------------------------------------------------------

    def map_mmio(self, base: int, size: int, device: MmioDevice) -> None:
        """Let `device` answer for [base, base + size). Raises BusError on overlap or outside the address space."""
        end = base + size
        if size <= 0 or base < 0 or end > PHYSICAL_END:
            raise BusError(f"MMIO window of {size} bytes does not fit the physical address space", base)
        at = bisect_right(self._bases, base)
        if at and self._windows[at - 1].end > base:
            raise BusError(f"MMIO window overlaps the one at {self._bases[at - 1]:#x}", base)
        if at < len(self._bases) and self._bases[at] < end:
            raise BusError(f"MMIO window overlaps the one at {self._bases[at]:#x}", base)
        self._bases.insert(at, base)
        self._windows.insert(at, _Window(base, end, device))

    def map_ports(self, base: int, count: int, device: PortDevice) -> None:
        """Let `device` answer for `count` ports from `base`. Raises BusError if one is taken or out of range."""
        if count <= 0 or base < 0 or base + count > PORTS:
            raise BusError(f"{count} ports do not fit the I/O address space", base)
        for port in range(base, base + count):
            if port in self._ports:
                raise BusError("port has a device already", port)
        for port in range(base, base + count):
            self._ports[port] = device

    # -- memory -------------------------------------------------------------------------------------------------------

    def read(self, addr: int, size: int, cpu: object = None) -> int:
        """One access of 1, 2, 4 or 8 bytes, little endian. Raises BusError if it straddles a window's edge."""
        if size not in _ONES:
            raise BusError(f"access of {size} bytes (1, 2, 4 or 8 possible)", addr)
        window = self._window(addr, size)
        if window is None:
            return self.memory.read_int(addr, size)
        return window.device.mmio_read(addr - window.base, size, cpu) & _ONES[size]

    def write(self, addr: int, size: int, value: int, cpu: object = None) -> None:
        """One access of 1, 2, 4 or 8 bytes; higher bits of `value` are dropped. Raises BusError as `read()`."""
        if size not in _ONES:
            raise BusError(f"access of {size} bytes (1, 2, 4 or 8 possible)", addr)
        window = self._window(addr, size)
        if window is None:
            self.memory.write_int(addr, size, value)
        else:
            window.device.mmio_write(addr - window.base, size, value & _ONES[size], cpu)

    def _window(self, addr: int, size: int) -> _Window | None:
        """The window that answers for the access, None for RAM."""
        bases = self._bases
        at = bisect_right(bases, addr)
        if at < len(bases) and bases[at] < addr + size:
            raise BusError(f"access of {size} bytes straddles the MMIO window at {bases[at]:#x}", addr)
        if not at or addr >= (window := self._windows[at - 1]).end:
            return None
        if addr + size > window.end:
            raise BusError(f"access of {size} bytes straddles the end of the MMIO window at {window.base:#x}", addr)
        return window

    def read_bytes(self, addr: int, size: int) -> bytes:
        """`size` bytes from RAM or MMIO (there in naturally aligned accesses of up to 4 bytes).

        Raises BusError outside the physical address space or for more than MAX_TRANSFER_BYTES.
        """
        if not 0 <= size <= MAX_TRANSFER_BYTES:
            raise BusError(f"transfer of {size} bytes refused (0 to {MAX_TRANSFER_BYTES} allowed)", addr)
        out = []
        for start, length, window in self._runs(addr, size):
            if window is None:
                out.append(self.memory.read(start, length))
            else:
                out.extend(self.read(at, width).to_bytes(width, "little") for at, width in _accesses(start, length))
        return b"".join(out)

    def write_bytes(self, addr: int, data: bytes) -> None:
        """Store bytes to RAM or MMIO, in the same pieces as `read_bytes()`."""
        for start, length, window in self._runs(addr, len(data)):
            piece = data[start - addr : start - addr + length]
            if window is None:
                self.memory.write(start, piece)
            else:
                for at, width in _accesses(start, length):
                    self.write(at, width, int.from_bytes(piece[at - start : at - start + width], "little"))

    def _runs(self, addr: int, size: int) -> Iterator[tuple[int, int, _Window | None]]:
        """Cut [addr, addr + size) where MMIO windows begin and end."""
        end = addr + size
        while addr < end:
            at = bisect_right(self._bases, addr)
            window = self._windows[at - 1] if at and addr < self._windows[at - 1].end else None
            stop = window.end if window else self._bases[at] if at < len(self._bases) else end
            stop = min(stop, end)
            yield addr, stop - addr, window
            addr = stop

    # -- ports --------------------------------------------------------------------------------------------------------

    def port_device(self, port: int) -> PortDevice | None:
        """Who answers at a port."""
        return self._ports.get(port)

    def port_in(self, port: int, size: int) -> int:
        """Read a port; nobody there: all ones, as a floating bus gives. Raises BusError for an impossible port."""
        device = self._ports.get(port)
        if device is None:
            return self._no_port(port, size)
        return device.port_read(port, size) & _ONES[size]

    def port_out(self, port: int, size: int, value: int) -> None:
        """Write a port; nobody there: lost. Raises BusError outside the I/O address space."""
        device = self._ports.get(port)
        if device is None:
            self._no_port(port, size)
        else:
            device.port_write(port, size, value & _ONES[size])

    @staticmethod
    def _no_port(port: int, size: int) -> int:
        if not 0 <= port < PORTS or size not in (1, 2, 4):
            raise BusError(f"port access of {size} bytes", port)
        return _ONES[size]


def _accesses(addr: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut [addr, addr + size) into naturally aligned accesses of 4, 2 or 1 bytes."""
    end = addr + size
    while addr < end:
        width = next(w for w in (4, 2, 1) if addr % w == 0 and addr + w <= end)
        yield addr, width
        addr += width
