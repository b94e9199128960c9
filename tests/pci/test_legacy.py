"""PCI without ACPI, AMD's IOMMU table, and undoing what a running kernel opened."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from minikern.describe.pci_capture import _first_free
from minikern.pci.amd_iommu import ivhd_blocks, parse_ivhd
from minikern.pci.assign import _kind, _need_to_release
from minikern.state.pci import IORESOURCE_IO, IORESOURCE_MEM, IORESOURCE_PREFETCH, PciBus, PciDev, Resource
from tests.pci.small import SmallKernel

WINDOWS = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xFEBF_FFFF)]
BOARD = PciSpec(
    host_bridges=[HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)],
    functions=[
        PciFunctionSpec(bdf="00:00.0", id="8086:1237", class_code=0x060000),
        PciFunctionSpec(bdf="00:03.0", id="8086:100e", class_code=0x020000,
                        bars=[BarSpec(0, "mem32", 0x20000), BarSpec(1, "io", 0x40)]),
    ],
)


def without_acpi(append: str = "") -> SmallKernel:
    return SmallKernel(BOARD, f"acpi=off {append}").boot()


def test_bus_0_is_probed_without_acpi() -> None:
    k = without_acpi()
    assert "PCI: Probing PCI hardware" in k.lines
    assert "PCI: Using ACPI for IRQ routing" not in k.lines
    bits = k.kernel.machine.boot_cpu.cpuid(0x8000_0008).eax & 0xFF
    assert f"pci_bus 0000:00: root bus resource [mem 0x00000000-{(1 << bits) - 1:#x}]" in k.lines
    assert "pci_bus 0000:00: busn_res: [bus 00-ff] end is updated to 00" in k.lines
    assert [dev.name for dev in k.pci.devices] == ["0000:00:00.0", "0000:00:03.0"]
    assert not k.class_lines("can't claim")


@pytest.mark.parametrize("word", ["pci=noacpi", "acpi=noirq"])
def test_without_acpis_routing_nobody_asks_for_it(word: str) -> None:
    """``pci=noacpi`` takes the host bridges from ACPI too; ``acpi=noirq`` only the interrupts."""
    usb = PciFunctionSpec(bdf="00:04.0", id="8086:31a8", class_code=0x0C0330, interrupt_pin=1)
    spec = msgspec.structs.replace(BOARD, functions=[*BOARD.functions, usb])
    k = SmallKernel(spec, word).boot()
    assert not k.class_lines("PCI INT|Interrupt link|Using ACPI for IRQ routing|Enabled at IRQ")
    assert bool(k.class_lines("ACPI: PCI Root Bridge")) == (word != "pci=noacpi")
    assert [dev.name for dev in k.pci.devices][-1] == "0000:00:04.0"


def test_peer_buses_are_looked_for_up_to_lastbus() -> None:
    assert not without_acpi("pci=lastbus=3").class_lines("peer")


def test_nocrs_ignores_the_windows() -> None:
    k = SmallKernel(BOARD, "pci=nocrs").boot()
    assert k.class_lines(r"\(ignored\)$") and not k.class_lines("can't claim")


def ivrs(entries: bytes, kind: int = 0x10) -> bytes:
    header = bytes([kind, 0xD1]) + (24 + len(entries)).to_bytes(2, "little") + (0x18).to_bytes(2, "little")
    return bytes(48) + header + bytes([0x40, 0]) + bytes(8) + bytes(8) + entries


def test_ivhd_entries() -> None:
    entries = bytes([2, 0x08, 0, 0, 3, 0x20, 0, 0, 4, 0x22, 0, 0, 0x48, 0, 0, 0, 0, 0xA0, 0, 1, 2, 0xF8, 0, 0])
    (block,) = ivhd_blocks(ivrs(entries))
    iommu = parse_ivhd(block)
    assert (iommu.devid, iommu.cap, iommu.segment) == (0x18, 0x40, 0)
    assert iommu.devids == {0x08, 0x20, 0x21, 0x22, 0xF8}


def test_iommu_does_not_translate_for_itself() -> None:
    (block,) = ivhd_blocks(ivrs(bytes([1, 0, 0, 0])))
    iommu = parse_ivhd(block)
    bus = PciBus(0, 0, Resource(0, 0xFF))
    access: Any = None
    assert not iommu.covers(PciDev(access, bus, 0x18, 0x1022, 0x1419))
    assert iommu.covers(PciDev(access, bus, 0x20, 0x8086, 0x10D3))


def test_damaged_ivrs_ends_the_walk() -> None:
    assert list(ivhd_blocks(bytes(48) + bytes([0x10, 0, 0xFF, 0xFF]))) == []
    assert list(ivhd_blocks(b"")) == []


def test_first_free_place() -> None:
    assert _first_free([], 0x1000, 0x1000)
    assert not _first_free([(0xC000, 0xC03F)], 0x1000, 0xD000)
    assert _first_free([(0x1000, 0x1FFF)], 0x1000, 0x2000)


def test_what_is_let_go_when_something_did_not_fit() -> None:
    assert _kind(IORESOURCE_IO) == IORESOURCE_IO
    plain, pref = Resource(flags=IORESOURCE_MEM), Resource(flags=IORESOURCE_MEM | IORESOURCE_PREFETCH)
    assert not _need_to_release(IORESOURCE_IO, plain)
    pref.parent = plain
    assert _need_to_release(IORESOURCE_MEM, pref)
    pref.parent = Resource(flags=IORESOURCE_MEM | IORESOURCE_PREFETCH)
    assert not _need_to_release(IORESOURCE_MEM, pref)
