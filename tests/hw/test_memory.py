"""Physical memory against a plain dictionary of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import BusError
from hw.memory import BLOCK_SIZE, MAX_TRANSFER_BYTES, PHYSICAL_END, PhysicalMemory
from hw.units import PAGE_SIZE

ADDRESS = st.integers(BLOCK_SIZE - PAGE_SIZE, BLOCK_SIZE + 2 * PAGE_SIZE)


@given(st.lists(st.tuples(ADDRESS, st.binary(max_size=2 * PAGE_SIZE)), max_size=8), ADDRESS, st.integers(0, 9000))
def test_agrees_with_a_dictionary(writes: list[tuple[int, bytes]], addr: int, size: int) -> None:
    memory, naive = PhysicalMemory(), dict[int, int]()
    for at, data in writes:
        memory.write(at, data)
        naive |= {at + i: byte for i, byte in enumerate(data)}
    assert memory.read(addr, size) == bytes(naive.get(addr + i, 0) for i in range(size))
    for width in (1, 2, 4, 8):
        number = sum(naive.get(addr + i, 0) << (8 * i) for i in range(width))
        assert memory.read_int(addr, width) == number
    assert memory.resident_bytes == BLOCK_SIZE * len({at // BLOCK_SIZE for at in naive})


@given(ADDRESS, st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**64 - 1))
def test_numbers_are_little_endian_and_cut_to_size(addr: int, size: int, value: int) -> None:
    memory = PhysicalMemory()
    memory.write_int(addr, size, value)
    assert memory.read(addr, 9) == (value % (1 << (8 * size))).to_bytes(9, "little")


def test_untouched_memory_costs_nothing() -> None:
    memory = PhysicalMemory()
    assert memory.read(1 << 40, 100_000) == bytes(100_000)
    assert memory.resident_bytes == 0


@pytest.mark.parametrize(
    ("addr", "size"), [(PHYSICAL_END, 1), (PHYSICAL_END - 1, 2), (-1, 1), (0, MAX_TRANSFER_BYTES + 1), (0, -1)]
)
def test_impossible_transfers_are_refused(addr: int, size: int) -> None:
    with pytest.raises(BusError) as error:
        PhysicalMemory().read(addr, size)
    assert error.value.address == addr
    with pytest.raises(BusError):
        PhysicalMemory().read_int(PHYSICAL_END - 1, 2)
    with pytest.raises(BusError):
        PhysicalMemory().write_int(PHYSICAL_END, 4, 1)


def test_the_last_byte_exists() -> None:
    memory = PhysicalMemory()
    memory.write(PHYSICAL_END - 1, b"\x5a")
    assert memory.read_int(PHYSICAL_END - 1, 1) == 0x5A


WRITES = st.lists(st.tuples(st.integers(0, 5 * BLOCK_SIZE), st.binary(min_size=1, max_size=300)), max_size=6)
RANGE = st.tuples(st.integers(0, 2 * BLOCK_SIZE), st.integers(0, 2 * BLOCK_SIZE))
APART = 2 * BLOCK_SIZE + 4096


def filled(writes: list[tuple[int, bytes]]) -> PhysicalMemory:
    memory = PhysicalMemory()
    for at, data in writes:
        memory.write(at, data)
    return memory


@given(WRITES, RANGE)
def test_bulk_views_are_the_same_bytes(writes: list[tuple[int, bytes]], span: tuple[int, int]) -> None:
    memory = filled(writes)
    before = memory.resident_bytes
    expected = memory.read(*span)
    assert b"".join(memory.views(*span)) == expected
    assert b"".join(bytes(n) if view is None else bytes(view) for n, view in memory.runs(*span)) == expected
    assert memory.resident_bytes == before


@given(WRITES, RANGE)
def test_swap_copy_and_clear(writes: list[tuple[int, bytes]], span: tuple[int, int]) -> None:
    addr, size = span
    other = addr + APART
    one, two = filled(writes).read(addr, size), filled(writes).read(other, size)
    memory = filled(writes)
    memory.swap(addr, other, size)
    assert (memory.read(addr, size), memory.read(other, size)) == (two, one)
    memory = filled(writes)
    memory.copy(addr, other, size)
    assert (memory.read(addr, size), memory.read(other, size)) == (two, two)
    memory = filled(writes)
    guard = memory.read(addr + size, 64)
    memory.clear(addr, size)
    assert (memory.read(addr, size), memory.read(addr + size, 64)) == (bytes(size), guard)


def test_overlapping_ranges_are_refused() -> None:
    for operation in (PhysicalMemory().swap, PhysicalMemory().copy):
        with pytest.raises(BusError, match="overlap"):
            operation(0x1000, 0x1800, 0x1000)
