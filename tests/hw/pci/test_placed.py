from __future__ import annotations

from hw.bus import Bus
from hw.pci.assign import assign_resources
from hw.pci.host import attach_pci
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec

BRIDGE = PciFunctionSpec(
    bdf="0000:00:1c.0",
    id="8086:a190",
    class_code=0x060400,
    kind="root_port",
    secondary=1,
    subordinate=3,
    assigned=True,
    command=7,
    bridge_control=8,
    windows=[
        WindowSpec("io", 0x13000, 0x14FFF),
        WindowSpec("mem", 0x9200_0000, 0x923F_FFFF),
        WindowSpec("mem", 0x38_0000_0000, 0x38_00FF_FFFF, prefetch=True, wide=True),
    ],
)
DEVICE = PciFunctionSpec(
    bdf="0000:01:00.0",
    id="14e4:165f",
    class_code=0x020000,
    kind="endpoint",
    assigned=True,
    command=2,
    bars=[
        BarSpec(0, "mem64", 0x10000, True, 0x38_0002_0000),
        BarSpec(2, "mem32", 0x1000, address=0x9200_1000),
        BarSpec(3, "io", 0x100, address=0x13100),
    ],
    rom_size=0x10000,
    rom_address=0x9210_0000,
    low_power=["D1"],
)


def test_what_the_firmware_did_is_in_the_registers_and_stays() -> None:
    spec = PciSpec(host_bridges=[HostBridgeSpec(first_bus=0, last_bus=0xFF)], functions=[BRIDGE, DEVICE])
    topology = attach_pci(Bus(), spec)
    assign_resources(topology)
    bridge, device = (function.config for function in topology.functions())
    assert bridge.read(4, 2) == 7 and bridge.read(0x3E, 2) == 8
    assert bridge.read(0x18, 4) & 0xFF_FFFF == 0x03_01_00
    assert bridge.read(0x1C, 2) == 0x4131 and bridge.read(0x30, 4) == 0x0001_0001  # ports above 64 KiB
    assert bridge.read(0x20, 4) == 0x9230_9200
    assert (bridge.read(0x24, 4), bridge.read(0x28, 4), bridge.read(0x2C, 4)) == (0x00F1_0001, 0x38, 0x38)
    assert device.read(4, 2) == 2
    assert [device.read(0x10 + 4 * index, 4) for index in range(4)] == [0x2000C, 0x38, 0x9200_1000, 0x13101]
    assert device.read(0x30, 4) == 0x9210_0000


def test_a_register_still_tells_its_size() -> None:
    topology = attach_pci(Bus(), PciSpec(functions=[BRIDGE, DEVICE]))
    topology.write(0, 1, 0, 0x18, 4, 0xFFFF_FFFF)
    assert topology.read(0, 1, 0, 0x18, 4) == 0xFFFF_F000


def test_windows_that_are_closed_forward_nothing() -> None:
    closed = PciFunctionSpec("0000:00:01.0", kind="root_port", secondary=1, subordinate=1, assigned=True)
    bridge = next(iter(attach_pci(Bus(), PciSpec(functions=[closed])).functions())).config
    assert bridge.read(0x1C, 1) & 0xF0 > bridge.read(0x1D, 1) & 0xF0
    assert bridge.read(0x20, 2) & 0xFFF0 > bridge.read(0x22, 2) & 0xFFF0
    assert bridge.read(0x24, 2) & 0xFFF0 > bridge.read(0x26, 2) & 0xFFF0


def test_low_power_states_need_no_pme() -> None:
    topology = attach_pci(Bus(), PciSpec(functions=[BRIDGE, DEVICE]))
    device = next(function for function in topology.functions() if not function.config.is_bridge)
    at = dict(device.config.capabilities())[1]
    assert device.config.read(at + 2, 2) & 0xFE00 == 0x0200  # D1, and no state it can signal from
