from __future__ import annotations

from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from tests.pci.small import SmallKernel

WINDOWS = [WindowSpec("mem", 0xC000_0000, 0xC03F_FFFF)]
PLACED = PciFunctionSpec(
    bdf="00:03.0",
    id="8086:0001",
    class_code=0x020000,
    assigned=True,
    command=2,
    bars=[BarSpec(0, "mem32", 0x10_0000, address=0xC000_0000), BarSpec(1, "mem32", 0x1000, address=0xFE01_0000)],
    rom_size=0x80_0000,
    rom_address=0xFF80_0000,
)


def lines(reg_lines: str) -> list[str]:
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    kernel = SmallKernel(PciSpec(host_bridges=[host], functions=[PLACED]), pci_reg_lines=reg_lines).boot()
    return [line.removeprefix("pci 0000:00:03.0: ") for line in kernel.class_lines(r"^pci 0000:00:03.0: (?!\[8086)")]


def test_slots_have_numbers_in_older_releases() -> None:
    assert lines("reg") == [
        "reg 0x10: [mem 0xc0000000-0xc00fffff]",
        "reg 0x14: [mem 0xfe010000-0xfe010fff]",
        "reg 0x30: [mem 0xff800000-0xffffffff pref]",
        "can't claim BAR 1 [mem 0xfe010000-0xfe010fff]: no compatible bridge window",
        "can't claim BAR 6 [mem 0xff800000-0xffffffff pref]: no compatible bridge window",
        "BAR 6: no space for [mem size 0x00800000 pref]",
        "BAR 6: failed to assign [mem size 0x00800000 pref]",
        "BAR 1: assigned [mem 0xc0100000-0xc0100fff]",
    ]


def test_and_names_in_newer_ones() -> None:
    assert lines("bar") == [
        "BAR 0 [mem 0xc0000000-0xc00fffff]",
        "BAR 1 [mem 0xfe010000-0xfe010fff]",
        "ROM [mem 0xff800000-0xffffffff pref]",
        "BAR 1 [mem 0xfe010000-0xfe010fff]: can't claim; no compatible bridge window",
        "ROM [mem 0xff800000-0xffffffff pref]: can't claim; no compatible bridge window",
        "ROM [mem size 0x00800000 pref]: can't assign; no space",
        "ROM [mem size 0x00800000 pref]: failed to assign",
        "BAR 1 [mem 0xc0100000-0xc0100fff]: assigned",
    ]


def test_a_window_in_the_way_is_called_by_its_bus() -> None:
    bridge = PciFunctionSpec(
        bdf="00:01.0",
        id="8086:0001",
        class_code=0x060400,
        kind="root_port",
        secondary=1,
        subordinate=1,
        assigned=True,
        command=7,
        windows=[WindowSpec("mem", 0xC010_0000, 0xC01F_FFFF)],
    )
    device = PciFunctionSpec(bdf="00:03.0", id="8086:0001", class_code=0x020000, assigned=True, command=2)
    device.bars = [BarSpec(0, "mem32", 0x20_0000, address=0xC000_0000)]
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    kernel = SmallKernel(PciSpec(host_bridges=[host], functions=[bridge, device])).boot()
    assert kernel.class_lines("can't claim") == [
        "pci 0000:00:03.0: BAR 0 [mem 0xc0000000-0xc01fffff]: can't claim; address conflict with PCI Bus 0000:01"
        " [mem 0xc0100000-0xc01fffff]"
    ]
