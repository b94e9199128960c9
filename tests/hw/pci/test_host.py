from __future__ import annotations

import pytest

from hw.bus import Bus
from hw.errors import InputError
from hw.pci.assign import assign_resources
from hw.pci.host import attach_pci, build_topology
from hw.pci.spec import BarSpec, DrhdSpec, HostBridgeSpec, PciFunctionSpec, PciSpec

ENABLE = 1 << 31
ECAM = 0xB000_0000


def small() -> PciSpec:
    return PciSpec(
        ecam_base=ECAM,
        host_bridges=[HostBridgeSpec(first_bus=0, last_bus=0xFF)],
        functions=[
            PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000),
            PciFunctionSpec(bdf="00:04.0", id="1b36:000c", kind="root_port", secondary=1, subordinate=2),
            PciFunctionSpec(bdf="01:00.0", id="1b36:0010", kind="endpoint", bars=[BarSpec(0, "mem64", 0x4000)]),
        ],
        drhd=[DrhdSpec(base=0xFED9_0000, include_all=True)],
    )


def config(bus: Bus, address: int, size: int = 4) -> int:
    bus.port_out(0xCF8, 4, ENABLE | address & ~3)
    return bus.port_in(0xCFC + (address & 3), size)


def test_ports_read_dwords_words_and_bytes() -> None:
    bus = Bus()
    attach_pci(bus, small())
    assert config(bus, 0) == 0x29C0_8086
    assert config(bus, 2, 2) == 0x29C0
    assert config(bus, 3, 1) == 0x29
    assert config(bus, 0x0800) == 0xFFFF_FFFF


def test_only_dwords_reach_the_address_register() -> None:
    bus = Bus()
    attach_pci(bus, small())
    bus.port_out(0xCF8, 4, ENABLE | 0x2000)
    bus.port_out(0xCFB, 1, 1)
    bus.port_out(0xCF8, 2, 0)
    assert bus.port_in(0xCF8, 4) == ENABLE | 0x2000
    assert bus.port_in(0xCF8, 2) == 0xFFFF
    bus.port_out(0xCF8, 4, 0x2000)
    assert bus.port_in(0xCFC, 4) == 0xFFFF_FFFF


def test_ecam_and_ports_show_the_same_function() -> None:
    bus = Bus()
    topology = attach_pci(bus, small())
    assign_resources(topology)
    assert bus.read(ECAM + (1 << 20), 4) == config(bus, 1 << 16) == 0x0010_1B36
    bus.write(ECAM + (1 << 20) + 4, 2, 0)
    assert config(bus, 1 << 16 | 4, 2) == 0
    assert bus.read(ECAM + (1 << 20) + 0x100, 4) == 0
    assert bus.read(ECAM + (5 << 20), 4) == 0xFFFF_FFFF


def test_nothing_answers_behind_a_bridge_without_bus_numbers() -> None:
    bus = Bus()
    topology = attach_pci(bus, small())
    assert config(bus, 1 << 16) == 0xFFFF_FFFF
    assign_resources(topology)
    assert config(bus, 1 << 16) == 0x0010_1B36
    bus.port_out(0xCF8, 4, ENABLE | 0x2018)
    bus.port_out(0xCFC, 4, 0x0005_0500)
    assert config(bus, 1 << 16) == 0xFFFF_FFFF
    assert config(bus, 5 << 16) == 0x0010_1B36


def test_function_nothing_leads_to() -> None:
    spec = small()
    spec.functions.append(PciFunctionSpec(bdf="09:00.0"))
    with pytest.raises(InputError, match="leads to bus 09"):
        build_topology(spec)


def test_overlapping_windows_are_the_users_mistake() -> None:
    spec = small()
    spec.drhd = [DrhdSpec(base=ECAM + 0x1000, include_all=True)]
    with pytest.raises(InputError, match="overlaps"):
        attach_pci(Bus(), spec)


def test_no_pci_claims_nothing() -> None:
    bus = Bus()
    assert attach_pci(bus, PciSpec()).roots == []
    assert bus.port_in(0xCF8, 4) == 0xFFFF_FFFF


def test_remapping_unit_answers_commands() -> None:
    bus = Bus()
    attach_pci(bus, small())
    base = 0xFED9_0000
    assert bus.read(base, 4) == 0x10
    assert bus.read(base + 8, 8) == 0xD2008C22260286
    bus.write(base + 8, 8, 0)
    assert bus.read(base + 8, 8) == 0xD2008C22260286
    bus.write(base + 0x18, 4, 1 << 31 | 1 << 30)
    assert bus.read(base + 0x1C, 4) == 1 << 31 | 1 << 30
    bus.write(base + 0x18, 4, 0)
    assert bus.read(base + 0x1C, 4) == 1 << 30
