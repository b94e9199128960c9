from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from minikern.pci.assign import _align, _find_gap
from minikern.pci.bars import pci_size
from minikern.state.pci import (
    IORESOURCE_BUS,
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_MEM_64,
    IORESOURCE_PREFETCH,
    IORESOURCE_UNSET,
    IORESOURCE_WINDOW,
    Resource,
)
from tests.naive_pci import bar_size, first_gap
from tests.pci.small import SmallKernel


@pytest.mark.parametrize(
    ("resource", "text"),
    [
        (Resource(0, 0xCF7, IORESOURCE_IO | IORESOURCE_WINDOW), "[io  0x0000-0x0cf7 window]"),
        (Resource(0x3F6, 0x3F6, IORESOURCE_IO), "[io  0x03f6]"),
        (Resource(0xA0000, 0xBFFFF, IORESOURCE_MEM | IORESOURCE_WINDOW), "[mem 0x000a0000-0x000bffff window]"),
        (Resource(1 << 40, (1 << 40) + 15, IORESOURCE_MEM | IORESOURCE_MEM_64 | IORESOURCE_PREFETCH),
         "[mem 0x10000000000-0x1000000000f 64bit pref]"),
        (Resource(0, 0x16, IORESOURCE_BUS), "[bus 00-16]"),
        (Resource(0x7E, 0x7E, IORESOURCE_BUS), "[bus 7e]"),
        (Resource(0, 0xFFF, IORESOURCE_MEM | IORESOURCE_UNSET), "[mem size 0x00001000]"),
        (Resource(0x1000, 0xFFF, IORESOURCE_IO), "[io  0x1000-0x0fff]"),
    ],
)
def test_resource_text(resource: Resource, text: str) -> None:
    assert str(resource) == text


@given(order=st.integers(4, 31), base=st.integers(0, 2**28))
def test_pci_size(order: int, base: int) -> None:
    mask = 0xFFFF_FFF0
    ones = ~((1 << order) - 1) & 0xFFFF_FFFF
    assert pci_size(base << order & ones, ones, mask) == bar_size(ones, False) == 1 << order


def test_pci_size_of_a_stuck_register() -> None:
    assert pci_size(0x1000_0000, 0x1000_0000, 0xFFFF_FFF0) == 0
    assert pci_size(0, 0, 0xFFFF_FFF0) == 0


@given(
    used=st.lists(st.tuples(st.integers(0x10, 0xF0), st.integers(1, 8)), max_size=8),
    size=st.sampled_from([0x10, 0x20, 0x100, 0x1000]),
    io=st.booleans(),
)
def test_find_gap(used: list[tuple[int, int]], size: int, io: bool) -> None:
    flags = IORESOURCE_IO if io else IORESOURCE_MEM
    scale = 0x100 if io else 0x10_0000
    window = Resource(0x10 * scale, 0x100 * scale - 1, flags)
    for start, length in used:
        end = start * scale + length * scale - 1
        if end <= window.end and window.conflict(start * scale, end) is None:
            window.claim(Resource(start * scale, end, flags))
    taken = [(child.start, child.end) for child in window.children]
    expected = first_gap(taken, window.start, window.end, size, lambda start: _align(start, size, flags))
    assert _find_gap(window, flags, size, size, (0, 1 << 32)) == expected


def machine(functions: list[PciFunctionSpec], *ranges: WindowSpec) -> SmallKernel:
    host = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=list(ranges))
    return SmallKernel(PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[host, *functions]))


def forget(kernel: SmallKernel, devfn: int) -> None:
    """Take back what the firmware had assigned to a function of bus 0."""
    function = kernel.topology.roots[0].functions[devfn]
    for at in range(0x10, 0x18 if function.config.is_bridge else 0x28, 4):
        kernel.topology.write(0, 0, devfn, at, 4, 0)


def test_unassigned_bars_are_assigned() -> None:
    bars = [BarSpec(0, "io", 32), BarSpec(1, "mem32", 0x4000), BarSpec(2, "mem64", 0x10000)]
    kernel = machine([PciFunctionSpec(bdf="00:02.0", id="8086:0001", class_code=0x020000, bars=bars)],
                     WindowSpec("io", 0xD00, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF))
    forget(kernel, 0x10)
    kernel.boot()
    assert kernel.class_lines("assigned$") == [
        "pci 0000:00:02.0: BAR 2 [mem 0xc0000000-0xc000ffff 64bit]: assigned",
        "pci 0000:00:02.0: BAR 1 [mem 0xc0010000-0xc0013fff]: assigned",
        "pci 0000:00:02.0: BAR 0 [io  0x1000-0x101f]: assigned",
    ]
    config = kernel.topology.roots[0].functions[0x10].config
    assert [config.read(at, 4) for at in (0x10, 0x14, 0x18, 0x1C)] == [0x1001, 0xC001_0000, 0xC000_0004, 0]


def test_no_space_is_said() -> None:
    function = PciFunctionSpec(bdf="00:02.0", id="8086:0001", class_code=0x020000, bars=[BarSpec(0, "mem32", 1 << 24)])
    kernel = machine([function], WindowSpec("mem", 0xC000_0000, 0xC00F_FFFF)).boot()
    assert kernel.class_lines("no space|failed") == [
        "pci 0000:00:02.0: BAR 0 [mem size 0x01000000]: can't assign; no space",
        "pci 0000:00:02.0: BAR 0 [mem size 0x01000000]: failed to assign",
    ]


def test_bar_outside_every_window_moves() -> None:
    function = PciFunctionSpec(bdf="00:02.0", id="8086:0001", class_code=0x020000, bars=[BarSpec(0, "mem32", 0x1000)])
    kernel = machine([function], WindowSpec("mem", 0xC000_0000, 0xC00F_FFFF))
    kernel.topology.write(0, 0, 0x10, 0x10, 4, 0xE000_0000)
    kernel.boot()
    assert kernel.class_lines("00:02.0: BAR 0") == [
        "pci 0000:00:02.0: BAR 0 [mem 0xe0000000-0xe0000fff]",
        "pci 0000:00:02.0: BAR 0 [mem 0xe0000000-0xe0000fff]: can't claim; no compatible bridge window",
        "pci 0000:00:02.0: BAR 0 [mem 0xc0000000-0xc0000fff]: assigned",
    ]


def test_two_bars_at_one_address() -> None:
    functions = [PciFunctionSpec(bdf=f"00:0{i}.0", id="8086:0001", class_code=0x020000,
                                 bars=[BarSpec(0, "mem32", 0x1000)]) for i in (2, 3)]
    kernel = machine(functions, WindowSpec("mem", 0xC000_0000, 0xC00F_FFFF))
    kernel.topology.write(0, 0, 0x18, 0x10, 4, 0xC000_0000)
    kernel.boot()
    conflict = "can't claim; address conflict with 0000:00:02.0 [mem 0xc0000000-0xc0000fff]"
    assert f"pci 0000:00:03.0: BAR 0 [mem 0xc0000000-0xc0000fff]: {conflict}" in kernel.lines
    assert "pci 0000:00:03.0: BAR 0 [mem 0xc0001000-0xc0001fff]: assigned" in kernel.lines


def test_hotplug_port_gets_spare_room() -> None:
    port = PciFunctionSpec(bdf="00:04.0", id="1b36:000c", class_code=0x060400, kind="root_port", hotplug=True,
                           secondary=1, subordinate=1)
    kernel = machine([port], WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF)).boot()
    name = "pci 0000:00:04.0"
    to = "to [bus 01] add_size"
    assert kernel.class_lines("^pci .*bridge window") == [
        f"{name}: bridge window [io  0x1000-0x0fff] {to} 1000",
        f"{name}: bridge window [mem 0x00100000-0x000fffff 64bit pref] {to} 200000 add_align 100000",
        f"{name}: bridge window [mem 0x00100000-0x000fffff] {to} 200000 add_align 100000",
        f"{name}: bridge window [mem 0xc0000000-0xc01fffff]: assigned",
        f"{name}: bridge window [mem 0xc0200000-0xc03fffff 64bit pref]: assigned",
        f"{name}: bridge window [io  0x1000-0x1fff]: assigned",
        f"{name}:   bridge window [io  0x1000-0x1fff]",
        f"{name}:   bridge window [mem 0xc0000000-0xc01fffff]",
        f"{name}:   bridge window [mem 0xc0200000-0xc03fffff 64bit pref]",
    ]


def test_a_boot_displays_rom_register_is_not_looked_at_again() -> None:
    """UEFI firmware leaves all ones but for the size in it: no window holds that, and nobody needs one to."""
    bars = [BarSpec(0, "mem32", 0x100_0000, True)]
    functions = [
        PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000),
        PciFunctionSpec(bdf="00:01.0", id="1234:1111", class_code=0x030000, bars=bars, rom_size=0x10000),
        PciFunctionSpec(bdf="00:02.0", id="8086:10d3", class_code=0x020000, rom_size=0x40000),
    ]
    windows = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF)]
    bridges = [HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=windows)]
    kernel = SmallKernel(PciSpec(ecam_base=0xE000_0000, host_bridges=bridges, functions=functions))
    for device in (1, 2):
        kernel.topology.write(0, 0, device << 3, 0x30, 4, 0xFFFF_F800)
    kernel.boot()
    display = [line for line in kernel.lines if "0000:00:01.0" in line and ("ROM" in line)]
    assert display == [
        "pci 0000:00:01.0: ROM [mem 0xffff0000-0xffffffff pref]",
        "pci 0000:00:01.0: Video device with shadowed ROM at [mem 0x000c0000-0x000dffff]",
    ]
    assert any("0000:00:02.0: ROM" in line and line.endswith("can't claim; no compatible bridge window")
               for line in kernel.lines)  # fmt: skip
