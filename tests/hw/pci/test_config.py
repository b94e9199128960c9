from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.pci.build import build_config
from hw.pci.config import (
    ACS,
    CAP_IDS,
    COMMON,
    EXT_IDS,
    MAX_CAPS,
    MAX_EXT_CAPS,
    PCIE,
    TYPE0,
    TYPE1,
    ConfigSpace,
    Register,
    Structure,
)
from hw.pci.spec import BarSpec, PciFunctionSpec
from tests.naive_pci import bar_size


def test_structures_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="out of place"):
        Structure("x", 4, a=Register(0, 2), b=Register(1, 2))


@pytest.mark.parametrize("size", [256, 4096])
def test_reads_beyond_the_end_are_ones_and_writes_are_lost(size: int) -> None:
    space = ConfigSpace(bytes(size))
    assert space.read(size, 4) == 0xFFFF_FFFF
    assert space.read(size - 2, 4) == 0xFFFF_FFFF
    space.write(size, 4, 0)
    assert len(space.data) == size


@given(
    kind=st.sampled_from(["io", "mem32", "mem64"]),
    order=st.integers(4, 40),
    index=st.integers(0, 4),
    prefetch=st.booleans(),
)
def test_bar_sizes_by_writing_ones(kind: str, order: int, index: int, prefetch: bool) -> None:
    order = min(order, 31) if kind != "mem64" else order
    bar = BarSpec(index, kind, 1 << order, prefetch and kind != "io")  # type: ignore[arg-type]
    space = build_config(PciFunctionSpec(bdf="00:01.0", id="8086:0001", bars=[bar]), False)
    at = 0x10 + 4 * index
    space.write(at, 4, 0xFFFF_FFFF)
    ones = space.read(at, 4) & ~(3 if kind == "io" else 15)
    if kind == "mem64":
        space.write(at + 4, 4, 0xFFFF_FFFF)
        ones |= space.read(at + 4, 4) << 32
    assert bar_size(ones, kind == "io") == bar.size
    assert space.read(at, 4) & 1 == (kind == "io")
    assert space.read(at, 4) & 15 & ~1 == (0 if kind == "io" else (4 if kind == "mem64" else 0) | 8 * bar.prefetch)


@given(st.lists(st.tuples(st.integers(0, 4095), st.sampled_from([1, 2, 4]), st.integers(0, 2**32 - 1)), max_size=40))
def test_identity_survives_any_writes(writes: list[tuple[int, int, int]]) -> None:
    spec = PciFunctionSpec(bdf="00:01.0", id="8086:347a", class_code=0x060400, kind="root_port", secondary=1,
                           subordinate=1, capabilities=["msi", "msix", "aer", "acs"], pme=["D0"])
    space = build_config(spec, False)
    before = space.capabilities(), space.ext_capabilities()
    for offset, size, value in writes:
        space.write(offset, size, value & (1 << 8 * size) - 1)
    assert (space.get(COMMON, "vendor"), space.get(COMMON, "device")) == (0x8086, 0x347A)
    assert space.get(COMMON, "class_code") == 0x060400
    assert (space.capabilities(), space.ext_capabilities()) == before


ACCESSES = st.tuples(st.integers(0, 260), st.sampled_from([1, 2, 3, 4, 8]), st.integers(0, 2**64 - 1))


@given(st.lists(ACCESSES, max_size=20))
def test_an_access_is_that_of_its_bytes(accesses: list[tuple[int, int, int]]) -> None:
    spec = PciFunctionSpec(bdf="00:01.0", id="8086:347a", capabilities=["msi", "msix"], pme=["D0"])
    whole, bytewise = build_config(spec, False), build_config(spec, False)
    for offset, size, value in accesses:
        value &= (1 << 8 * size) - 1
        whole.write(offset, size, value)
        inside = offset + size <= len(bytewise.data)
        for at, byte in enumerate(value.to_bytes(size, "little") if inside else b""):
            bytewise.write(offset + at, 1, byte)
        read = bytes(bytewise.read(offset + at, 1) for at in range(size)) if inside else b"\xff" * size
        assert whole.read(offset, size).to_bytes(size, "little") == read
    assert whole.data == bytewise.data


def test_status_bits_clear_by_writing_ones() -> None:
    space = ConfigSpace(bytes(256))
    space.allow_structure(COMMON)
    space.set(COMMON, "status", 0xF910)
    space.write(6, 2, 0x8010)
    assert space.get(COMMON, "status") == 0x7910


STRUCTURES = [COMMON, TYPE0, TYPE1, *CAP_IDS.values(), *EXT_IDS.values()]


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda one: str(one.name))
def test_a_structure_is_allowed_as_its_registers_are(structure: Structure) -> None:
    for base in (0, 256 - structure.size, 256 - structure.size + 3):  # the last is cut off
        whole, one_by_one = ConfigSpace(b"\xff" * 256), ConfigSpace(b"\xff" * 256)
        whole.allow_structure(structure, base)
        for register in structure.registers.values():
            one_by_one.allow(base + register.offset, register.size, register.writable, register.clears)
        for value in (0xFF, 0x00):
            for space in (whole, one_by_one):
                for offset in range(256):
                    space.write(offset, 1, value)
            assert whole.data == one_by_one.data


def test_acs_control_takes_only_what_is_implemented() -> None:
    spec = PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=1, subordinate=1,
                           capabilities=["acs"])
    space = build_config(spec, False)
    at = dict(space.ext_capabilities())[0x0D]
    space.write(at + ACS["control"].offset, 2, 0xFFFF)
    assert space.get(ACS, "control", at) == space.get(ACS, "cap", at) == 0x1D


@pytest.mark.parametrize(("kind", "number"), [("endpoint", 0), ("root_port", 4), ("upstream", 5), ("downstream", 6),
                                              ("pcie_pci_bridge", 7), ("rciep", 9)])
def test_port_type(kind: str, number: int) -> None:
    spec = PciFunctionSpec(bdf="00:01.0", kind=kind, secondary=1, subordinate=1)  # type: ignore[arg-type]
    space = build_config(spec, True)
    at = dict(space.capabilities())[0x10]
    assert space.get(PCIE, "flags", at) >> 4 & 15 == number
    assert space.data[0x0E] & 0x80


@given(st.binary(min_size=256, max_size=256))
def test_capability_walk_ends(data: bytes) -> None:
    space = ConfigSpace(data)
    assert len(space.capabilities()) <= MAX_CAPS
    build_config(PciFunctionSpec(bdf="00:00.0", raw=data), False)


@given(st.dictionaries(st.integers(64, 1023), st.integers(0, 2**32 - 1), max_size=60))
def test_ext_capability_walk_ends(dwords: dict[int, int]) -> None:
    data = bytearray(b"\x01\x00\x01\x10" * 1024)
    for index, value in dwords.items():
        data[4 * index : 4 * index + 4] = value.to_bytes(4, "little")
    assert len(ConfigSpace(data).ext_capabilities()) <= MAX_EXT_CAPS


def test_ext_capability_loop_is_left() -> None:
    data = bytearray(4096)
    data[0x100:0x104] = (0x01 | 1 << 16 | 0x100 << 20).to_bytes(4, "little")
    assert len(ConfigSpace(data).ext_capabilities()) == MAX_EXT_CAPS


def test_capability_numbers_are_distinct() -> None:
    assert len({s.name for s in CAP_IDS.values()}) == len(CAP_IDS)
    assert len({s.name for s in EXT_IDS.values()}) == len(EXT_IDS)
    assert TYPE1["bridge_control"].offset == 0x3E
