"""``pci=`` and ``pcie_ports=``, word by word."""

from __future__ import annotations

import pytest

from hw.pci.spec import BarSpec, LinkSpec, PciFunctionSpec, WindowSpec
from minikern.pci.dev_match import NoDeviceError, dev_str_match, list_match
from tests.pci.small import SmallKernel
from tests.pci.test_iommu import ON, grouped, machine

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)


def tree(hotplug: bool = True) -> list[PciFunctionSpec]:
    """A switch with two slots behind a root port; in the first a network adapter."""
    memory = [BarSpec(0, "mem32", 0x1000), BarSpec(2, "io", 0x20)]
    port = {"kind": "downstream", "class_code": 0x060400, "hotplug": hotplug, "capabilities": ["acs"]}
    return [
        HOST,
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", class_code=0x060400, secondary=1,
                        subordinate=4, capabilities=["acs"]),
        PciFunctionSpec(bdf="01:00.0", id="104c:8232", kind="upstream", class_code=0x060400, secondary=2,
                        subordinate=4),
        PciFunctionSpec(bdf="02:00.0", id="104c:8233", secondary=3, subordinate=3, **port),  # type: ignore[arg-type]
        PciFunctionSpec(bdf="02:01.0", id="104c:8233", secondary=4, subordinate=4, **port),  # type: ignore[arg-type]
        PciFunctionSpec(bdf="03:00.0", id="8086:10d3", kind="endpoint", class_code=0x020000, bars=memory,
                        subsystem="8086:a01f"),
    ]


def booted(append: str, **behaviour: object) -> SmallKernel:
    spec = machine(tree())
    spec.host_bridges[0].windows = [WindowSpec("io", 0x1000, 0xFFFF), window(0xC000_0000, 0xDFFF_FFFF)]
    return SmallKernel(spec, f"{ON} {append}", **behaviour).boot()  # type: ignore[arg-type]


def test_unknown_words_are_told() -> None:
    lines = booted("pci=bogus,noats,hpmem=3").class_lines("^PCIe?: (Unknown|ATS)")
    assert lines == ["PCI: Unknown option `bogus'", "PCIe: ATS is disabled", "PCI: Unknown option `hpmem=3'"]


def test_firmware_keeps_the_ports() -> None:
    osc = r"^acpi PNP0A08:00: (PCIe|_OSC)"
    assert booted("pcie_ports=compat").class_lines(osc)[1:] == [
        "acpi PNP0A08:00: PCIe port services disabled; not requesting _OSC control"
    ]
    assert booted("pci=noaer").class_lines(osc)[-1].endswith("OS now controls [PCIeHotplug PME PCIeCapability LTR]")
    assert booted("pcie_ports=native").class_lines(osc) == booted("").class_lines(osc)


def test_room_for_hot_plug() -> None:
    pattern = r"02:01\.0: bridge window .* add_size"
    assert [line.split("add_size ")[1] for line in booted("").class_lines(pattern)] == [
        "1000", "200000 add_align 100000", "200000 add_align 100000"
    ]  # fmt: skip
    sizes = booted("pci=hpmemsize=64M,hpiosize=8K").class_lines(pattern)
    assert [line.split("add_size ")[1].split()[0] for line in sizes] == ["2000", "4000000", "4000000"]
    one = booted("pci=hpmmiosize=4M,hpmmioprefsize=8M").class_lines(pattern)
    assert [line.split("add_size ")[1].split()[0] for line in one] == ["1000", "800000", "400000"]


def test_reallocation_asks_for_all_at_once() -> None:
    kernel = booted("pci=realloc")
    lines = kernel.class_lines("^pci_bus 0000:00: (max|No)|add_size")
    assert lines[0] == "pci_bus 0000:00: max bus depth: 3 pci_try_num: 4"
    assert lines[1:] == [f"pci_bus 0000:00: No. {number} try to assign unassigned res" for number in (2, 3, 4)]
    empty = next(dev for dev in kernel.pci.devices if dev.name == "0000:02:01.0")
    assert all(one.parent is not None for one in empty.resources if one.flags)
    assert booted("pci=realloc=off").class_lines("max bus depth") == []


def test_a_window_that_is_too_small_is_let_go() -> None:
    """The device wants more than the firmware gave the port: only a second try finds the room."""
    port = PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", class_code=0x060400, secondary=1,
                           subordinate=1, assigned=True, command=7)
    port.windows = [window(0xC000_0000, 0xC00F_FFFF)]
    disk = PciFunctionSpec(bdf="01:00.0", id="144d:a808", kind="endpoint", class_code=0x010802,
                           bars=[BarSpec(0, "mem32", 0x40_0000)], assigned=True)
    spec = machine([HOST, port, disk])
    spec.host_bridges[0].windows = [window(0xC000_0000, 0xDFFF_FFFF)]
    asked = SmallKernel(spec, "pci=realloc").boot().class_lines("released|No. 2|01:00.0: BAR 0 .*: assigned")
    assert asked == [
        "pci_bus 0000:00: No. 2 try to assign unassigned res",
        "pci 0000:00:01.0: resource 14 [mem 0xc0000000-0xc00fffff] released",
        "pci 0000:01:00.0: BAR 0 [mem 0xc0000000-0xc03fffff]: assigned",
    ]
    told = SmallKernel(spec).boot().class_lines("^pci.*(realloc|01:00.0: BAR 0 .*: assigned)")
    assert told == ["pci_bus 0000:00: Some PCI device resources are unassigned, try booting with pci=realloc"]


def window(start: int, end: int) -> WindowSpec:
    return WindowSpec("mem", start, end)


def test_addresses_are_taken_away_for_a_larger_alignment() -> None:
    kernel = booted("pci=resource_alignment=20@03:00.0")
    lines = kernel.class_lines("03:00.0: BAR 0")
    assert lines[1:] == [
        f"pci 0000:03:00.0: BAR 0 {lines[0].split('BAR 0 ')[1]}: requesting alignment to 0x100000",
        lines[-1],
    ]
    assert lines[-1].endswith(": assigned") and "[mem 0x" in lines[-1]
    resource = kernel.pci.devices[-1].resources[0]
    assert (resource.size, resource.start % 0x10_0000) == (0x10_0000, 0)
    assert booted("pci=resource_alignment=00:00.0").class_lines("reassign resources to host") == [
        "pci 0000:00:00.0: Can't reassign resources to host bridge"
    ]
    assert booted("pci=resource_alignment=x").class_lines("parse")[0] == (
        "PCI: Can't parse resource_alignment parameter: x"
    )
    assert booted("pci=resource_alignment=70@09:00.0").class_lines("PCI: .*order")[0].endswith("(order 70)")


def test_isolation_is_taken_away() -> None:
    apart = grouped(booted(""))
    assert apart["03:00.0"] != apart["02:00.0"]
    old = booted("pci=disable_acs_redir=pci:104c:8233", pci_config_acs=False)
    assert old.class_lines("redirect") == [
        "pci 0000:02:00.0: disabled ACS redirect", "pci 0000:02:01.0: disabled ACS redirect"
    ]  # fmt: skip
    together = grouped(old)
    assert together["03:00.0"] == together["02:00.0"] != together["02:01.0"]
    new = booted("pci=disable_acs_redir=pci:104c:8233")
    assert new.class_lines("Configured ACS")[0] == "pci 0000:02:00.0: Configured ACS to 0x0011"
    assert grouped(new) == together
    without = booted("pci=disable_acs_redir=00:00.0", pci_config_acs=False)
    assert without.class_lines("cannot disable")
    bad = booted("pci=disable_acs_redir=nonsense", pci_config_acs=False)
    assert bad.class_lines("parse") == ["PCI: Can't parse disable_acs_redir parameter: nonsense"]


def test_flags_are_set_one_by_one() -> None:
    kernel = booted("pci=config_acs=0x1@02:00.0")
    assert kernel.class_lines("Configured") == ["pci 0000:02:00.0: Configured ACS to 0x0001"]
    assert booted("pci=config_acs=0x1@02:00.0", pci_config_acs=False).class_lines("Unknown option")
    assert booted("pci=config_acs=02:00.0").class_lines("Flags missing")
    assert booted("pci=config_acs=12@02:00.0").class_lines("Invalid ACS flags... Ignoring")
    assert booted("pci=config_acs=11111111@02:00.0").class_lines("Invalid ACS flags specified")


def test_what_the_firmware_left_out_stays_out() -> None:
    def lost(append: str) -> list[str]:
        one = PciFunctionSpec(bdf="00:02.0", id="8086:0001", class_code=0x020000, bars=[BarSpec(0, "mem32", 0x1000)],
                              rom_size=0x1_0000, assigned=True)
        spec = machine([HOST, one])
        spec.host_bridges[0].windows = [window(0xC000_0000, 0xDFFF_FFFF)]
        return [line.split(" ")[2] for line in SmallKernel(spec, append).boot().class_lines(": assigned")]

    assert lost("") == ["ROM", "BAR"]
    assert lost("pci=nobar") == ["ROM"]
    assert lost("pci=norom") == ["BAR"]


def test_configuration_space_is_dumped_early() -> None:
    lines = booted("pci=earlydump").lines
    at = lines.index("pci 0000:01:00.0: config space:")
    assert lines[at - 1].startswith("pci 0000:01:00.0: [104c:8232]")
    assert lines[at + 1].startswith("00000000: 4c 10 32 82") and lines[at + 16].startswith("000000f0: ")


def test_payloads() -> None:
    lines = booted("pci=pcie_bus_safe").class_lines("Max Payload")
    assert lines[0] == "pci 0000:00:01.0: Max Payload Size set to  128/ 256 (was  128), Max Read Rq  512"
    assert len(lines) == 5
    perf = booted("pci=pcie_bus_perf").class_lines("Max Payload")
    assert perf[3] == "pci 0000:03:00.0: Max Payload Size set to  256/ 256 (was  128), Max Read Rq  256"
    assert not booted("").class_lines("Max Payload")


def test_buses_are_kept_for_what_is_plugged_in() -> None:
    lines = booted("pci=assign-busses,hpbussize=4").class_lines("is updated to")
    assert lines[:2] == [
        "pci_bus 0000:03: busn_res: [bus 03-ff] end is updated to 06",
        "pci_bus 0000:07: busn_res: [bus 07-ff] end is updated to 0a",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("03:00.0", True), ("0000:03:00.0", True), ("1:03:00.0", False), ("02:00.0/00.0", True),
        ("00:01.0/00.0/00.0/00.0", True), ("02:01.0/00.0", False), ("pci:8086:10d3", True), ("pci:0:10d3", True),
        ("pci:8086:10d3:8086:a01f", True), ("pci:8086:10d3:8086:1", False), ("00:00.0;03:00.0", True),
        ("pci:1:2,03:00.0", True),
    ],
)  # fmt: skip
def test_devices_by_name(text: str, found: bool) -> None:
    assert list_match(booted("").pci.devices[-1], text) is found


@pytest.mark.parametrize("text", ["", "x", "03:00", "03:00.0x", "pci:", "pci:8086", "03:00.0/x"])
def test_no_devices(text: str) -> None:
    with pytest.raises(NoDeviceError):
        dev_str_match(booted("").pci.devices[-1], text)


def test_links_are_told_whatever_the_payload() -> None:
    functions = tree()
    functions[-1].link = LinkSpec(3, 8, 1, 4)
    lines = SmallKernel(machine(functions), "pci=pcie_bus_tune_off").boot().class_lines("bandwidth")
    assert len(lines) == 1


def test_words_of_the_iommus_are_answered() -> None:
    told = SmallKernel(machine(tree()), "intel_iommu=sm_on,foo,strict").boot().class_lines("^DMAR: .*(scal|opt|strict)")
    assert told == [
        "DMAR: Enable scalable mode if hardware supports",
        "DMAR: Unknown option - 'foo,strict'",
        "DMAR: intel_iommu=strict deprecated; use iommu.strict=1 instead",
    ]
    kernel = SmallKernel(machine(tree()), "amd_iommu=fullflush,off,foo").boot()
    assert kernel.class_lines("AMD-Vi: (amd_iommu=|Unknown)") == [
        "AMD-Vi: amd_iommu=fullflush deprecated; use iommu.strict=1 instead", "AMD-Vi: Unknown option - 'foo'"
    ]  # fmt: skip
