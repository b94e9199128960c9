"""Which words take the APICs away, the modes that leaves, x2APIC mode, and the MultiProcessor table."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hw.acpi.spec import IoApicSpec
from hw.mp_table import CONFIG_HEADER, POINTER, IoApicPlace, build_mp_table
from hw.spec import CpuSpec
from minikern.init.params import parse_early_param
from minikern.smp import interrupt_mode, mpparse
from minikern.smp.apic import read_apic_id, x2apic_enabled
from minikern.smp.cpuinfo import early_cpu_init
from minikern.smp.topology import apply_cmdline_limits_early
from minikern.state.acpi import AcpiState, LapicEntry
from tests.smp.harness import make_kernel, texts

ONE = CpuSpec(count=1, sockets=1)
TABLE_AT = 0xF5BA0


def kernel(append: str = "", found: bool = True, x2apic: bool = False, **options):
    k = make_kernel(ONE, append, **options)
    k.pci = SimpleNamespace(dmar=None)
    state = AcpiState()
    state.have_lapic = state.have_ioapic = found
    state.lapics = [LapicEntry(0, 0, True, True)]
    state.table = lambda name, instance=0: None  # type: ignore[method-assign]
    k.acpi = state
    early_cpu_init(k)
    if x2apic:  # as firmware hands the boot CPU over
        interrupt_mode.x2apic_enable(k.machine.boot_cpu)
    parse_early_param(k)
    apply_cmdline_limits_early(k)
    k.cpus.apic.smp_found_config = found
    return k


@pytest.mark.parametrize(
    ("append", "found", "lines"),
    [
        ("", True, ["APIC: Switch to symmetric I/O mode setup"]),
        ("nolapic", True, ["APIC disabled via kernel command line", "APIC: Keep in PIC mode(8259)"]),
        ("maxcpus=0", True, ["APIC: SMP mode deactivated",
                             "APIC: Switch to symmetric I/O mode setup in no SMP routine"]),
        ("", False, ["APIC: ACPI MADT or MP tables are not detected",
                     "APIC: Switch to virtual wire mode setup with no configuration"]),
    ],
)
def test_modes(append: str, found: bool, lines: list[str]) -> None:
    k = kernel(append, found)
    interrupt_mode.apic_intr_mode_init(k, interrupt_mode.apic_intr_mode_select(k))
    said = [line for line in texts(k) if line.startswith("APIC")]
    assert [line for line in said if "Switched" not in line] == lines


@pytest.mark.parametrize("word", ["noapic", "nosmp", "maxcpus=0"])
def test_no_io_apic_no_remapping(word: str) -> None:
    k = kernel(word)
    interrupt_mode.enable_ir_x2apic(k)
    assert texts(k)[-1] == "Not enabling interrupt remapping due to skipped IO-APIC setup"
    assert not x2apic_enabled(k.machine.boot_cpu)


def test_x2apic_needs_remapping_or_a_hypervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    k = kernel()
    interrupt_mode.enable_ir_x2apic(k)
    assert texts(k)[-1] == "x2apic: IRQ remapping doesn't support X2APIC mode"
    assert not x2apic_enabled(k.machine.boot_cpu)
    monkeypatch.setattr(interrupt_mode.dmar, "enable_irq_remapping", lambda k, x2apic: "x2apic")
    interrupt_mode.enable_ir_x2apic(k)
    interrupt_mode.probe_apic_driver(k)
    assert texts(k)[-2:] == ["x2apic enabled", "APIC: Switched APIC routing to: cluster x2apic"]
    assert x2apic_enabled(k.machine.boot_cpu)
    assert read_apic_id(k.machine.boot_cpu) == 0


def test_x2apic_of_the_firmware_is_kept_or_given_up() -> None:
    k = kernel(x2apic=True)
    interrupt_mode.check_x2apic(k)
    assert texts(k)[-1] == "x2apic: enabled by BIOS, switching to x2apic ops"
    interrupt_mode.enable_ir_x2apic(k)
    assert not x2apic_enabled(k.machine.boot_cpu)
    k = kernel("nox2apic", x2apic=True)
    interrupt_mode.check_x2apic(k)
    assert texts(k)[:2] == ["x2apic already enabled.", "x2apic disabled"]
    assert not x2apic_enabled(k.machine.boot_cpu)


def with_table(change: tuple[int, int] | None = None, **options):
    k = kernel(found=False, **options)
    k.acpi = AcpiState(disabled=True)
    io = IoApicSpec()
    table = bytearray(build_mp_table(TABLE_AT, [0], [IoApicPlace(io.id, 0x20, io.address)], 0x6F1, 1 << 9, 0xFEE0_0000))
    if change is not None:
        table[change[0]] ^= change[1]
    k.machine.bus.write_bytes(TABLE_AT, bytes(table))
    mpparse.find_smp_config(k)
    mpparse.parse_smp_config(k)
    return k


def test_mp_table_is_found_and_read() -> None:
    k = with_table(release="debian-6.1")
    said = texts(k)
    assert said[0] == "found SMP MP-table at [mem 0x000f5ba0-0x000f5baf]"
    assert said[1:5] == [
        "Intel MultiProcessor Specification v1.4",
        "MPTABLE: OEM ID: BOCHSCPU",
        "MPTABLE: Product ID: 0.1         ",
        "MPTABLE: APIC at: 0xFEE00000",
    ]
    assert "Processor #0 (Bootup-CPU)" in said
    assert said[-1] == "Processors: 1"
    assert [(item.irq, item.gsi) for item in k.acpi.overrides] == [(0, 2)]


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (POINTER.size + 3, "MPTABLE: bad signature"),
        (POINTER.size + CONFIG_HEADER.size + 1, "MPTABLE: checksum error!"),
    ],
)
def test_damaged_mp_table_is_refused(at: int, line: str) -> None:
    k = with_table((at, 0x11))
    assert any(text.startswith(line) for text in texts(k))
    assert not k.cpus.apic.smp_found_config
    assert not k.acpi.ioapics


def test_damaged_pointer_is_not_found() -> None:
    assert not with_table((8, 0xFF)).cpus.apic.mp_pointer
