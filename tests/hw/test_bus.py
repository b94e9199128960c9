"""Routing of memory and port accesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.bus import Bus
from hw.errors import BusError
from hw.memory import MAX_TRANSFER_BYTES, PHYSICAL_END


class Device:
    """Remembers bytes and every access."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}
        self.accesses: list[tuple[str, int, int, object]] = []

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        self.accesses.append(("read", offset, size, cpu))
        return sum(self.bytes.get(offset + i, 0) << (8 * i) for i in range(size))

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        self.accesses.append(("write", offset, size, cpu))
        self.bytes |= {offset + i: value >> (8 * i) & 0xFF for i in range(size)}

    def port_read(self, port: int, size: int) -> int:
        return self.mmio_read(port, size, None)

    def port_write(self, port: int, size: int, value: int) -> None:
        self.mmio_write(port, size, value, None)


def test_mmio_goes_to_the_device_with_offset_and_cpu() -> None:
    bus, device, cpu = Bus(), Device(), object()
    bus.map_mmio(0xFEC0_0000, 0x1000, device)
    bus.write(0xFEC0_0010, 4, 0x1_1234_5678, cpu)
    assert bus.read(0xFEC0_0010, 4, cpu) == 0x1234_5678
    assert device.accesses == [("write", 0x10, 4, cpu), ("read", 0x10, 4, cpu)]
    assert bus.memory.resident_bytes == 0


def test_around_a_window_is_memory() -> None:
    bus, device = Bus(), Device()
    bus.map_mmio(0x2000, 0x1000, device)
    bus.write(0x1FFC, 4, 0xAABB_CCDD)
    bus.write(0x3000, 8, 0x1122_3344_5566_7788)
    assert (bus.read(0x1FFC, 4), bus.read(0x3000, 8)) == (0xAABB_CCDD, 0x1122_3344_5566_7788)
    assert device.accesses == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=8), st.integers(0, 60))
def test_windows_never_overlap_and_always_answer(wanted: list[tuple[int, int]], addr: int) -> None:
    bus, owner = Bus(), dict[int, Device]()
    for base, size in wanted:
        device = Device()
        span = range(base, base + size)
        if any(at in owner for at in span):
            with pytest.raises(BusError, match="overlaps"):
                bus.map_mmio(base, size, device)
        else:
            bus.map_mmio(base, size, device)
            owner |= dict.fromkeys(span, device)
    bus.read(addr, 1)
    assert [d for d in set(owner.values()) if d.accesses] == ([owner[addr]] if addr in owner else [])


@given(st.integers(0, 40), st.binary(max_size=40))
def test_bytes_pass_window_edges(addr: int, data: bytes) -> None:
    bus, first, second = Bus(), Device(), Device()
    bus.map_mmio(10, 7, first)
    bus.map_mmio(17, 6, second)
    bus.write_bytes(addr, data)
    assert bus.read_bytes(addr, len(data)) == data
    assert b"".join(bytes([bus.read(addr + i, 1)]) for i in range(len(data))) == data
    for device, base in ((first, 10), (second, 17)):
        assert all((base + offset) % size == 0 for _kind, offset, size, _cpu in device.accesses)


@pytest.mark.parametrize(("addr", "size"), [(0x1FFE, 4), (0x2FFE, 4), (0x2FFC, 8), (0x2000, 3)])
def test_straddling_and_odd_accesses_are_refused(addr: int, size: int) -> None:
    bus = Bus()
    bus.map_mmio(0x2000, 0x1000, Device())
    with pytest.raises(BusError):
        bus.read(addr, size)
    with pytest.raises(BusError):
        bus.write(addr, size, 0)


def test_impossible_windows_and_lengths_are_refused() -> None:
    bus = Bus()
    for base, size in ((PHYSICAL_END, 1), (0, 0), (-1, 4)):
        with pytest.raises(BusError):
            bus.map_mmio(base, size, Device())
    with pytest.raises(BusError):
        bus.read_bytes(0, MAX_TRANSFER_BYTES + 1)
    with pytest.raises(BusError):
        bus.read_bytes(PHYSICAL_END - 1, 2)
    with pytest.raises(BusError):
        bus.read(PHYSICAL_END, 1)


def test_ports() -> None:
    bus, device = Bus(), Device()
    bus.map_ports(0xCF8, 8, device)
    bus.port_out(0xCF8, 4, 0x8000_0000)
    assert bus.port_in(0xCF8, 4) == 0x8000_0000
    assert bus.port_in(0xCFF, 1) == 0


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF)])
def test_an_unclaimed_port_floats(size: int, ones: int) -> None:
    bus = Bus()
    bus.port_out(0x80, size, 0)
    assert bus.port_in(0x80, size) == ones


def test_impossible_ports_are_refused() -> None:
    bus = Bus()
    bus.map_ports(0x40, 4, Device())
    with pytest.raises(BusError, match="already at 0x43"):
        bus.map_ports(0x43, 2, Device())
    assert bus.port_in(0x44, 1) == 0xFF  # nothing half done
    for port, size in ((0x1_0000, 1), (-1, 1), (0x80, 8)):
        with pytest.raises(BusError):
            bus.port_in(port, size)
    with pytest.raises(BusError):
        bus.map_ports(0xFFFF, 2, Device())
