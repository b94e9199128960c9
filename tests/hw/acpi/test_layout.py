from __future__ import annotations

import numpy as np
import pytest

from hw.acpi import layout
from hw.acpi.layout import Layout, TableIds, sdt
from tests.naive_acpi import checksum_ok


def test_sizes_of_the_specification() -> None:
    sizes = [(layout.RSDP, 36), (layout.HEADER, 36), (layout.FADT_V1, 0x74), (layout.FADT_V3, 0xF4)]
    sizes += [(layout.FADT_V6, 0x114), (layout.MADT, 44), (layout.SRAT, 48), (layout.SLIT, 44), (layout.HPET, 56)]
    sizes += [(layout.DMAR, 48), (layout.FACS, 64)]
    for shape, size in sizes:
        assert shape.dtype.itemsize == shape.size == size, shape.name
    assert {kind: shape.size for kind, shape in layout.MADT_SUBTABLES.items()} == {
        0: 8, 1: 12, 2: 10, 3: 8, 4: 6, 5: 12, 9: 16, 10: 12, 16: 16
    }  # fmt: skip


def test_fadt_offsets() -> None:
    offsets = {"sci": 0x2E, "pm_tmr": 0x4C, "gpe0": 0x50, "gpe0_len": 0x5C, "boot_arch": 0x6D, "flags": 0x70}
    offsets |= {"x_dsdt": 0x8C, "x_pm_tmr": 0xD0, "x_gpe0": 0xDC, "hypervisor_id": 0x10C}
    for name, offset in offsets.items():
        assert layout.FADT_V6.offset(name) == offset, name


def test_layout_refuses_overlap_and_overflow() -> None:
    with pytest.raises(ValueError, match="b: offset 0x2"):
        Layout("bad", 8, {"a": (0, "<u4"), "b": (2, "<u4")}, "none")
    with pytest.raises(ValueError, match="a: offset 0x6"):
        Layout("bad", 8, {"a": (6, "<u4")}, "none")


def test_pack_and_get_agree_with_numpy() -> None:
    data = layout.MADT_IOAPIC.pack(type=1, length=12, id=8, address=0xFEC00000, gsi_base=24)
    view = np.frombuffer(data, layout.MADT_IOAPIC.dtype)[0]
    for field in layout.MADT_IOAPIC.fields:
        assert layout.MADT_IOAPIC.get(data, field) == int(view[field])


def test_get_reads_zero_past_the_end() -> None:
    assert layout.FADT_V6.get(bytes(0x74), "x_dsdt") == 0


def test_table_prints_every_field() -> None:
    text = layout.MADT_LAPIC.table()
    assert "0x0003   1  apic_id" in text
    assert all(name in text for name in layout.MADT_LAPIC.fields)


def test_sdt_header() -> None:
    table = sdt("OEMX", 3, b"abc", TableIds("A", "B", 7, "C", 9))
    assert checksum_ok(table)
    assert len(table) == 39 == layout.HEADER.get(table, "length")
    assert table[10:24] == b"A     B       "
