"""Physical memory against a plain dictionary of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import BusError
from hw.memory import MAX_TRANSFER_BYTES, PAGE_SIZE, PHYSICAL_END, PhysicalMemory

ADDRESS = st.integers(0, 3 * PAGE_SIZE)


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
    assert memory.resident_bytes == PAGE_SIZE * len({at // PAGE_SIZE for at in naive})


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
