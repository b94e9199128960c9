from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.acpi.layout import HEADER, TableIds, sdt
from hw.errors import InputError
from minikern.describe.acpidump import (
    DumpedTable,
    acpi_from_capture,
    logged_tables,
    read_acpidump,
    read_dat_folder,
    write_acpidump,
    write_dat_folder,
)
from tests.acpi.support import capture_folders
from tests.naive_acpi import checksum_ok

tables = st.lists(
    st.builds(
        DumpedTable,
        st.text("ABCDEFGHIJ0123456789", min_size=4, max_size=4),
        st.integers(0, (1 << 52) - 1),
        st.binary(min_size=1, max_size=80),
    ),
    max_size=4,
)


@settings(max_examples=50)
@given(tables)
def test_round_trip(items: list[DumpedTable]) -> None:
    assert read_acpidump(write_acpidump(items)) == items


def test_tool_messages_between_tables_are_left_out() -> None:
    text = "Firmware Warning (ACPI): something\n" + write_acpidump([DumpedTable("SSDT", 0, b"12")])
    assert len(read_acpidump(text)) == 1


@pytest.mark.parametrize("row", ["    0010: 41", "    0000: 4", "    zzzz: 41"])
def test_bad_rows_name_the_line(row: str) -> None:
    with pytest.raises(InputError, match="acpidump:2"):
        read_acpidump(f"SSDT @ 0x0\n{row}\n")


def test_dat_folder_round_trip(tmp_path: Path) -> None:
    items = [("SSDT", b"one"), ("APIC", b"two"), ("SSDT", b"three")]
    write_dat_folder(tmp_path / "acpi", items)
    assert read_dat_folder(tmp_path / "acpi") == {"SSDT": [b"one", b"three"], "APIC": [b"two"]}


@pytest.mark.parametrize("folder", capture_folders(), ids=lambda path: path.name)
def test_captured_tables_match_their_log(folder: Path) -> None:
    text = (folder / "dmesg.txt").read_text()
    spec = acpi_from_capture(folder, text)
    placed = {(table.signature, table.address): table.data for table in spec.raw}
    for entry in logged_tables(text):
        if entry.signature != "RSDP":
            assert len(placed[entry.signature, entry.address]) == entry.length
    assert spec.rsdp is not None
    assert checksum_ok(spec.rsdp[:20])
    assert checksum_ok(spec.rsdp)


def _log(table: bytes, address: int) -> str:
    name = table[:4].decode()
    ids = "(v01 A      B        00000001 C    00000001)"
    return f"[    0.000000] ACPI: {name} 0x{address:016X} {len(table):06X} {ids}\n"


def _small_capture(folder: Path, keep_ssdt: str) -> str:
    ssdt = sdt("SSDT", 1, b"\x08FOO_\x01", TableIds("A", "B", 1, "C", 1))
    (folder / "acpi").mkdir()
    if keep_ssdt == "dat":
        (folder / "acpi" / "SSDT.dat").write_bytes(ssdt)
    elif keep_ssdt == "dump":
        (folder / "acpidump.txt.xz").write_bytes(lzma.compress(write_acpidump([DumpedTable("SSDT", 0, ssdt)]).encode()))
    root = sdt("XSDT", 1, bytes(8), TableIds("A", "B", 1, "C", 1))
    return "ACPI: RSDP 0x00000000000F0000 000024 (v02 A     )\n" + _log(root, 0x1000) + _log(ssdt, 0x2000)


@pytest.mark.parametrize("kept", ["dat", "dump"])
def test_root_table_is_rebuilt(tmp_path: Path, kept: str) -> None:
    spec = acpi_from_capture(tmp_path, _small_capture(tmp_path, kept))
    root = next(table for table in spec.raw if table.signature == "XSDT")
    assert root.data[HEADER.size :] == (0x2000).to_bytes(8, "little")
    assert checksum_ok(root.data)


def test_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SSDT at 0x2000"):
        acpi_from_capture(tmp_path, _small_capture(tmp_path, "nowhere"))


def test_log_without_acpi(tmp_path: Path) -> None:
    assert not acpi_from_capture(tmp_path, "Linux version 6\n").enabled


def test_broken_xz_is_an_input_error(tmp_path: Path) -> None:
    log = _small_capture(tmp_path, "nowhere")
    (tmp_path / "acpidump.txt.xz").write_bytes(b"not xz")
    with pytest.raises(InputError, match="not a sound xz file"):
        acpi_from_capture(tmp_path, log)
