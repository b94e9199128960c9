from __future__ import annotations

from typing import Any

import pytest

from hw.acpi.layout import HEADER, RSDP
from hw.acpi.spec import AcpiSpec
from minikern.acpi import tables
from minikern.acpi.acpi_init import acpi_init, acpi_pci_init
from minikern.acpi.processor_setup import acpi_processor_init
from minikern.acpi.tables import acpi_boot_table_init, acpi_early_init, fix_string
from minikern.smp import madt
from tests.acpi.described import server
from tests.acpi.support import SmallKernel, machine_of, small_kernel
from tests.naive_acpi import find_rsdp


def kernel(cmdline: str = "", spec: AcpiSpec | None = None, **behaviour: Any) -> SmallKernel:
    described, parts = server()
    return small_kernel(machine_of(spec or described, **parts), cmdline, **behaviour)


def table_address(k: SmallKernel, signature: str) -> int:
    return next(item.address for item in k.acpi.tables if item.signature == signature)


def test_rsdp_is_found_in_the_bios_window() -> None:
    k = kernel()
    state = acpi_boot_table_init(k)
    window = k.machine.bus.read_bytes(0xE0000, 0x20000)
    assert state.rsdp_address == find_rsdp(window, 0xE0000) == 0xF5A00


def test_rsdp_in_the_ebda() -> None:
    spec, _ = server()
    spec.rsdp_address = 0x9FC10
    k = kernel(spec=spec)
    k.machine.bus.write_bytes(0x40E, (0x9FC0).to_bytes(2, "little"))
    assert acpi_boot_table_init(k).rsdp_address == 0x9FC10


def test_given_addresses_come_first() -> None:
    spec, _ = server()
    spec.rsdp_address = 0x1234_0000
    k = kernel(spec=spec)
    k.boot_params.acpi_rsdp = 0x1234_0000
    assert acpi_boot_table_init(k).rsdp_address == 0x1234_0000
    k = kernel("acpi_rsdp=0x12340000", spec=spec)
    assert acpi_boot_table_init(k).rsdp_address == 0x1234_0000


def test_no_rsdp_disables_acpi() -> None:
    spec, _ = server()
    spec.enabled = False
    k = kernel(spec=spec, acpi_core_revision="20220331")
    acpi_boot_table_init(k)
    madt.acpi_boot_init(k)
    acpi_early_init(k)
    acpi_pci_init(k)
    acpi_init(k, lambda root: None)
    assert acpi_processor_init(k) == 0
    assert k.lines == [
        "ACPI: Early table checksum verification disabled",
        "ACPI BIOS Error (bug): A valid RSDP was not found (20220331/tbxfroot-210)",
        "ACPI: Interpreter disabled.",
    ]


def test_acpi_off_says_nothing_early() -> None:
    k = kernel("acpi=off")
    acpi_boot_table_init(k)
    madt.acpi_boot_init(k)
    acpi_early_init(k)
    assert k.lines == []
    assert k.acpi.disabled


def test_acpi_rsdt_forces_the_old_root() -> None:
    spec, _ = server()
    spec.root_kind = "rsdt"
    k = kernel("acpi=rsdt", spec=spec)
    acpi_boot_table_init(k)
    assert k.lines[2].startswith("ACPI: RSDT 0x")
    assert k.acpi.table("APIC") is not None


def test_every_table_is_reserved() -> None:
    k = kernel()
    acpi_boot_table_init(k)
    assert len(k.acpi.tables) > 5
    reserved = k.memblock.reserved.regions
    assert all(any(one.base <= item.address and item.address + item.length <= one.end for one in reserved)
               for item in k.acpi.tables)  # fmt: skip
    first = k.acpi.tables[0]
    line = f"ACPI: Reserving FACP table memory at [mem {first.address:#x}-{first.address + first.length - 1:#x}]"
    assert line in k.lines


@pytest.mark.parametrize(("reports", "shown"), [("correct", "0x{0:02X}"), ("difference", "0x{1:02X}")])
def test_bad_checksum_is_a_warning_in_early_init(reports: str, shown: str) -> None:
    k = kernel(acpi_checksum_reports=reports)
    acpi_boot_table_init(k)
    address = table_address(k, "HPET")
    right = k.machine.bus.read_bytes(address + 9, 1)[0]
    wrong = (right + 0x31) & 0xFF
    k.machine.bus.write_bytes(address + 9, bytes([wrong]))
    k.log.lines.clear()
    acpi_boot_table_init(k)
    assert not any("Incorrect" in line for line in k.lines)
    acpi_early_init(k)
    value = shown.format(right, (wrong - right) & 0xFFFF_FFFF)
    text = f"ACPI BIOS Warning (bug): Incorrect checksum in table [HPET] - 0x{wrong:02X}, should be {value} ("
    assert any(line.startswith(text) for line in k.lines), k.lines[-2:]
    madt.acpi_boot_init(k)
    assert k.acpi.hpet_address == 0xFED0_0000


def test_forced_verification_warns_at_once() -> None:
    k = kernel("acpi_force_table_verification")
    acpi_boot_table_init(k)
    address = table_address(k, "SLIT")
    k.machine.bus.write_bytes(address + 40, b"\xee")
    k.log.lines.clear()
    acpi_boot_table_init(k)
    assert k.lines[0] == "ACPI: Early table checksum verification enabled"
    assert any("Incorrect checksum in table [SLIT]" in line for line in k.lines)


@pytest.mark.parametrize("length", [0, 35, 0xFFFF_FFFF])
def test_root_table_of_absurd_length(length: int) -> None:
    k = kernel()
    acpi_boot_table_init(k)
    root = RSDP.get(k.machine.bus.read_bytes(k.acpi.rsdp_address, 36), "xsdt")
    k.machine.bus.write_bytes(root + 4, length.to_bytes(4, "little"))
    k.log.lines.clear()
    acpi_boot_table_init(k)
    assert f"Invalid table length 0x{length:X} in RSDT/XSDT" in k.lines[-1]
    assert k.acpi.disabled


@pytest.mark.parametrize("length", [0, 3, 0x7FFF_FFFF])
def test_table_of_absurd_length_is_listed_but_not_read(length: int) -> None:
    k = kernel()
    acpi_boot_table_init(k)
    k.machine.bus.write_bytes(table_address(k, "APIC") + 4, length.to_bytes(4, "little"))
    acpi_boot_table_init(k)
    madt.acpi_boot_init(k)
    acpi_early_init(k)
    assert k.acpi.table("APIC") is None
    assert not k.acpi.have_lapic


def test_pointer_beyond_physical_memory() -> None:
    k = kernel()
    acpi_boot_table_init(k)
    root = RSDP.get(k.machine.bus.read_bytes(k.acpi.rsdp_address, 36), "xsdt")
    k.machine.bus.write_bytes(root + HEADER.size + 8, b"\xff" * 8)
    acpi_boot_table_init(k)
    assert any("Could not map memory at 0xFFFFFFFFFFFFFFFF" in line for line in k.lines)
    assert k.acpi.table("SRAT") is not None


def test_fix_string() -> None:
    assert fix_string(b"AB\0CDE", 6) == "AB    "
    assert fix_string(b"A\x01\xffB", 4) == "A??B"


def test_fadt_forms_of_the_pm_timer() -> None:
    for revision in (1, 3, 6):
        spec, _ = server()
        spec.fadt_revision = revision  # type: ignore[assignment]
        k = kernel(spec=spec)
        state = acpi_boot_table_init(k)
        assert state.fadt is not None
        assert (state.fadt.pm_timer_port, state.fadt.gpe0, state.fadt.gpe0_length) == (0x508, 0x520, 0x20)
        assert state.fadt.no_aspm and not state.fadt.no_msi


def test_fadt_words_for_pci() -> None:
    k = kernel()
    acpi_boot_table_init(k)
    k.log.lines.clear()
    acpi_pci_init(k)
    assert k.lines == [
        "ACPI FADT declares the system doesn't support PCIe ASPM, so disable it",
        "acpiphp: ACPI Hot Plug PCI Controller Driver version: 0.5",
    ]


def test_mcfg() -> None:
    k = kernel()
    assert acpi_boot_table_init(k).mcfg == [(0x8000_0000, 0, 0, 0x2F)]


def test_print_of_a_table_line() -> None:
    k = kernel()
    acpi_boot_table_init(k)
    line = next(line for line in k.lines if line.startswith("ACPI: OEM1"))
    address = table_address(k, "OEM1")
    size = len(k.acpi.table("OEM1"))
    assert line == f"ACPI: OEM1 0x{address:016X} {size:06X} (v02 INTEL  CPU EIST 00000001 MKRN 00000001)"
    assert size < tables.MAX_TABLE_BYTES
