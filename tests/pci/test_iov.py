"""Room for virtual functions, and links that hold a device down."""

from __future__ import annotations

import pytest

from hw.pci.build import build_config
from hw.pci.config import SRIOV
from hw.pci.spec import BarSpec, HostBridgeSpec, LinkSpec, PciFunctionSpec, PciSpec, VirtualFunctions, WindowSpec
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.pci.small import SmallKernel
from tests.support import SHARED

WINDOWS = [WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF)]
CASE = SHARED / "cases" / "pci-kexec" / "sriov"


def port(**fields: object) -> PciFunctionSpec:
    return PciFunctionSpec(
        bdf="00:01.0", id="8086:0001", class_code=0x060400, kind="root_port", secondary=1, subordinate=1,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def adapter(**fields: object) -> PciFunctionSpec:
    return PciFunctionSpec(bdf="01:00.0", id="8086:0002", class_code=0x020000, kind="endpoint", **fields)  # type: ignore[arg-type]


def booted(*functions: PciFunctionSpec, **behaviour: object) -> SmallKernel:
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[host], functions=list(functions))
    return SmallKernel(spec, **behaviour).boot()


def test_room_for_all_functions_is_named_in_both_wordings() -> None:
    virtual = VirtualFunctions(8, [BarSpec(0, "mem64", 0x4000, True, 0xC010_0000), BarSpec(3, "mem32", 0x1000)], 0x160)
    bridge = port(assigned=True, command=7, windows=[WindowSpec("mem", 0xC000_0000, 0xC01F_FFFF)])
    card = adapter(assigned=True, command=2, virtual=virtual)
    new = booted(bridge, card).class_lines(" VF BAR")
    assert new[:4] == [
        "pci 0000:01:00.0: VF BAR 0 [mem 0xc0100000-0xc0103fff 64bit pref]",
        "pci 0000:01:00.0: VF BAR 0 [mem 0xc0100000-0xc011ffff 64bit pref]: contains BAR 0 for 8 VFs",
        "pci 0000:01:00.0: VF BAR 3 [mem 0x00000000-0x00000fff]",
        "pci 0000:01:00.0: VF BAR 3 [mem 0x00000000-0x00007fff]: contains BAR 3 for 8 VFs",
    ]
    assert new[4] == "pci 0000:01:00.0: VF BAR 3 [mem 0xc0000000-0xc0007fff]: assigned"
    old = booted(bridge, card, pci_reg_lines="reg").class_lines("01:00.0: (?!.8086)")
    assert old == [
        "pci 0000:01:00.0: reg 0x184: [mem 0xc0100000-0xc0103fff 64bit pref]",
        "pci 0000:01:00.0: VF(n) BAR0 space: [mem 0xc0100000-0xc011ffff 64bit pref] (contains BAR0 for 8 VFs)",
        "pci 0000:01:00.0: reg 0x190: [mem 0x00000000-0x00000fff]",
        "pci 0000:01:00.0: VF(n) BAR3 space: [mem 0x00000000-0x00007fff] (contains BAR3 for 8 VFs)",
        "pci 0000:01:00.0: BAR 10: assigned [mem 0xc0000000-0xc0007fff]",
    ]


def test_a_capability_can_lie_where_it_must() -> None:
    spec = adapter(virtual=VirtualFunctions(4, [BarSpec(0, "mem32", 0x1000)], 0x160), capabilities=["acs"])
    space = build_config(spec, False)
    assert space.ext_capabilities() == [(0x0D, 0x100), (0x10, 0x160)]
    alone = build_config(adapter(virtual=VirtualFunctions(4, [], 0x160)), False)
    assert dict(alone.ext_capabilities())[0x10] == 0x160 and alone.get(SRIOV, "total_vfs", 0x160) == 4
    crowded = build_config(adapter(virtual=VirtualFunctions(4, [], 0x104), capabilities=["aer"]), False)
    assert dict(crowded.ext_capabilities())[0x10] > 0x147, "it can not lie over another"


@pytest.mark.parametrize(
    ("own", "limit", "text"),
    [
        (LinkSpec(2, 2, 2, 1), LinkSpec(2, 1, 2, 1),
         "4.000 Gb/s available PCIe bandwidth, limited by 5.0 GT/s PCIe x1 link at 0000:00:01.0"
         " (capable of 8.000 Gb/s with 5.0 GT/s PCIe x2 link)"),
        (LinkSpec(4, 4, 3, 4), LinkSpec(3, 4, 3, 4),
         "31.504 Gb/s available PCIe bandwidth, limited by 8.0 GT/s PCIe x4 link at 0000:00:01.0"
         " (capable of 63.012 Gb/s with 16.0 GT/s PCIe x4 link)"),
        (LinkSpec(3, 8, 3, 8), LinkSpec(3, 8, 3, 8), ""),
        (LinkSpec(5, 16, 5, 16), LinkSpec(6, 16, 6, 16), ""),
    ],
)  # fmt: skip
def test_links_that_are_slower_than_the_device(own: LinkSpec, limit: LinkSpec, text: str) -> None:
    found = booted(port(link=limit), adapter(link=own)).class_lines("available PCIe")
    assert found == ([f"pci 0000:01:00.0: {text}"] if text else [])


def test_older_kernels_write_whole_speeds_without_a_point() -> None:
    found = booted(port(link=LinkSpec(1, 4, 1, 4)), adapter(link=LinkSpec(3, 4, 1, 4)), pci_link_speed="plain")
    assert found.class_lines("available PCIe") == [
        "pci 0000:01:00.0: 8.000 Gb/s available PCIe bandwidth, limited by 2.5 GT/s x4 link at 0000:00:01.0"
        " (capable of 31.504 Gb/s with 8 GT/s x4 link)"
    ]


def test_a_captured_adapter_shows_its_virtual_functions() -> None:
    if not CASE.is_dir():
        pytest.skip("no shared/cases beside the checkout")
    log = boot(load_machine(str(CASE))).kernel.log
    lines = [line.text for line in log.lines if "00:06.0: VF" in line.text]
    assert lines[:2] == [
        "pci 0000:00:06.0: VF BAR 0 [mem 0xfd000000-0xfd00ffff 64bit pref]",
        "pci 0000:00:06.0: VF BAR 0 [mem 0xfd000000-0xfd3fffff 64bit pref]: contains BAR 0 for 64 VFs",
    ]
