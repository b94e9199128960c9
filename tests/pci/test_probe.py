from __future__ import annotations

import struct
from typing import Any

import pytest

from hw.acpi.layout import TableIds, sdt
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from tests.pci.small import SmallKernel

RANGES = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xCFFF_FFFF)]


def machine(*functions: PciFunctionSpec, ecam: bool = True) -> PciSpec:
    return PciSpec(
        ecam_base=0xE000_0000 if ecam else None,
        host_bridges=[HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=RANGES)],
        functions=[PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000), *functions],
    )


def names(kernel: SmallKernel) -> list[str]:
    return [dev.name.removeprefix("0000:") for dev in kernel.pci.devices]


def test_gaps_between_functions_are_tolerated() -> None:
    spec = machine(*(PciFunctionSpec(bdf=f"00:03.{fn}", id="8086:1111") for fn in (0, 2, 7)))
    assert names(SmallKernel(spec).boot()) == ["00:00.0", "00:03.0", "00:03.2", "00:03.7"]


def test_no_function_0_no_slot() -> None:
    spec = machine(PciFunctionSpec(bdf="00:03.1", id="8086:1111"))
    assert names(SmallKernel(spec).boot()) == ["00:00.0"]


@pytest.mark.parametrize(("word", "found"), [("", []), ("pci=pcie_scan_all", ["01:04.0"])])
def test_only_device_0_below_a_root_port(word: str, found: list[str]) -> None:
    spec = machine(
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=1, subordinate=1),
        PciFunctionSpec(bdf="01:00.0", id="8086:0001", kind="endpoint"),
        PciFunctionSpec(bdf="01:04.0", id="8086:0002", kind="endpoint"),
    )
    assert names(SmallKernel(spec, word).boot())[3:] == found


@pytest.mark.parametrize(("word", "found"), [("", ["01:00.0", "01:00.1"]), ("pci=noari", ["01:00.0", "01:00.1"])])
def test_ari_chain(word: str, found: list[str]) -> None:
    spec = machine(
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=1, subordinate=1),
        PciFunctionSpec(bdf="01:00.0", id="8086:0001", kind="endpoint", capabilities=["ari"]),
        PciFunctionSpec(bdf="01:00.1", id="8086:0001", kind="endpoint", capabilities=["ari"]),
    )
    kernel = SmallKernel(spec, word).boot()
    assert names(kernel)[2:] == found
    assert kernel.pci.devices[1].ari_enabled == (word == "")


def unnumbered(spec: PciSpec) -> SmallKernel:
    """A machine whose firmware left the bridges at reset."""
    kernel = SmallKernel(spec)
    functions = list(kernel.topology.functions())
    for function in functions:
        if function.config.is_bridge:
            function.config.put(0x18, 3, 0)
    address = functions[0].address
    bridges = [function.address for function in functions if function.config.is_bridge]
    for at in bridges[:1]:  # a write through the bridge's registers makes the routes be found anew
        kernel.topology.write(at.segment, at.bus, at.devfn, 0x18, 1, 0)
    assert address.devfn == 0
    return kernel


def test_bridges_without_numbers_get_some() -> None:
    spec = machine(
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=0x10, subordinate=0x12),
        PciFunctionSpec(bdf="10:00.0", id="104c:8232", kind="upstream", secondary=0x11, subordinate=0x12),
        PciFunctionSpec(bdf="11:00.0", id="104c:8233", kind="downstream", secondary=0x12, subordinate=0x12),
        PciFunctionSpec(bdf="12:00.0", id="8086:0001", kind="endpoint", bars=[BarSpec(0, "mem32", 4096)]),
    )
    kernel = unnumbered(spec).boot()
    assert names(kernel) == ["00:00.0", "00:01.0", "01:00.0", "02:00.0", "03:00.0"]
    assert "pci 0000:00:01.0: bridge configuration invalid ([bus 00-00]), reconfiguring" in kernel.lines
    assert "pci_bus 0000:01: busn_res: [bus 01-ff] end is updated to 03" in kernel.lines
    assert kernel.pci.devices[1].read(0x18, 4) & 0xFFFFFF == 0x030100


def test_bridge_lines_of_newer_releases() -> None:
    spec = machine(
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", class_code=0x060400, kind="root_port", secondary=1,
                        subordinate=1, pme=["D0", "D3hot"]),
        PciFunctionSpec(bdf="01:00.0", id="8086:0001", kind="endpoint", bars=[BarSpec(0, "mem32", 4096)]),
    )
    new = SmallKernel(spec).boot().class_lines("^pci 0000:00:01.0")
    assert new[:6] == [
        "pci 0000:00:01.0: [8086:347a] type 01 class 0x060400 PCIe Root Port",
        "pci 0000:00:01.0: PCI bridge to [bus 01]",
        "pci 0000:00:01.0:   bridge window [mem 0xc0000000-0xc00fffff]",
        "pci 0000:00:01.0: PME# supported from D0 D3hot",
        "pci 0000:00:01.0: PCI bridge to [bus 01]",
        "pci 0000:00:01.0: PCI bridge to [bus 01]",
    ]
    old = SmallKernel(spec, pci_device_type_text=False, pci_bridge_lines_early=False, pci_reg_lines="reg").boot()
    assert old.class_lines("^pci 0000:00:01.0")[:4] == [
        "pci 0000:00:01.0: [8086:347a] type 01 class 0x060400",
        "pci 0000:00:01.0: PME# supported from D0 D3hot",
        "pci 0000:00:01.0: PCI bridge to [bus 01]",
        "pci 0000:00:01.0:   bridge window [mem 0xc0000000-0xc00fffff]",
    ]
    assert "pci 0000:01:00.0: reg 0x10: [mem 0xc0000000-0xc0000fff]" in old.lines


def test_extended_tags_are_enabled() -> None:
    spec = machine(PciFunctionSpec(bdf="00:02.0", id="8086:0001", kind="rciep", ext_tag=True))
    kernel = SmallKernel(spec).boot()
    assert "pci 0000:00:02.0: enabling Extended Tags" in kernel.lines
    assert kernel.pci.devices[1].read(kernel.pci.devices[1].pcie_cap + 8, 2) & 0x100


def test_device_that_asks_for_time() -> None:
    kernel: Any = SmallKernel(machine(PciFunctionSpec(bdf="00:02.0", id="0001:0000", kind="rciep")))
    function = next(f for f in kernel.topology.functions() if f.address.devfn == 0x10)
    real, asked = function.config.read, 0

    def read(offset: int, size: int) -> int:
        nonlocal asked
        if offset == 0 and size == 4:
            asked += 1
            return 0x1234_8086 if asked > 3 else 0xFFFF_0001
        return int(real(offset, size))

    function.config.read = read
    kernel.boot()
    assert kernel.charged["pci_retry_ms"] == 1 + 2 + 4
    assert names(kernel) == ["00:00.0", "00:02.0"]


def test_device_that_never_gets_ready() -> None:
    kernel = SmallKernel(machine(PciFunctionSpec(bdf="00:02.0", id="0001:0000", kind="rciep"))).boot()
    assert kernel.lines.count("pci 0000:00:02.0: not ready after 65535ms; giving up") == 1
    assert names(kernel) == ["00:00.0"]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("pci:8086:1111", ["00:03.0", "00:03.2"]),
        ("00:03.1", ["00:03.1"]),
        ("0000:00:03.2;pci:8086:29c0", ["00:00.0", "00:03.2"]),
        ("pci:8086:0", ["00:00.0", "00:03.0", "00:03.1", "00:03.2"]),
        ("", []),
    ],
)
def test_probe_only(spec: str, found: list[str]) -> None:
    functions = [PciFunctionSpec(bdf=f"00:03.{fn}", id=f"8086:{'2222' if fn == 1 else '1111'}") for fn in range(3)]
    kernel = SmallKernel(machine(*functions), f"pci=probe_only={spec}").boot()
    assert names(kernel) == found
    assert kernel.pci.skipped == 4 - len(found)


def test_unreadable_probe_only_is_named() -> None:
    kernel = SmallKernel(machine(), "pci=probe_only=nonsense").boot()
    assert "PCI: Can't parse probe_only parameter: nonsense" in kernel.lines


def test_pci_off() -> None:
    kernel = SmallKernel(machine(), "pci=off").boot()
    assert kernel.pci.devices == [] and kernel.class_lines("configuration type") == []
    assert kernel.class_lines("^PCI: (Fatal|System)|MMCONFIG is") == [
        "PCI: Fatal: No config space access function found",
        "acpi PNP0A08:00: MMCONFIG is disabled, can't access extended configuration space under this bridge",
        "PCI: System does not support PCI",
    ]


def test_nommconf_keeps_to_256_bytes() -> None:
    spec = machine(PciFunctionSpec(bdf="00:02.0", id="8086:0001", kind="rciep", capabilities=["acs"]))
    assert SmallKernel(spec).boot().pci.devices[1].cfg_size == 4096
    kernel = SmallKernel(spec, "pci=nommconf").boot()
    assert kernel.pci.devices[1].cfg_size == 256 and not kernel.class_lines("^PCI: ECAM")


def test_ecam_outside_reserved_memory_is_not_used_early() -> None:
    spec = machine()
    spec.ecam_base = None
    entry = struct.pack("<QQHBBI", 0, 0xB000_0000, 0, 0, 0xFF, 0)  # of which the firmware says nothing else
    kernel = SmallKernel(spec, tables={"MCFG": sdt("MCFG", 1, entry, TableIds())}).boot()
    window = "[mem 0xb0000000-0xbfffffff]"
    unused = f"PCI: not using ECAM ({window} not reserved)"
    assert f"PCI: [Firmware Info]: ECAM {window} not reserved in ACPI motherboard resources" in kernel.lines
    assert kernel.pci.ecam == [] and kernel.lines.count(unused) == 2


def test_no_pci_hardware() -> None:
    kernel = SmallKernel(PciSpec()).boot()
    assert "PCI: Fatal: No config space access function found" in kernel.lines
    assert kernel.pci.devices == []


def test_damaged_bridges_end_the_scan() -> None:
    """Bridges that point at themselves, at each other, or backwards are renumbered, never followed forever."""
    for secondary, subordinate in ((0, 0), (0, 255), (1, 0), (255, 255), (2, 255)):
        spec = machine(
            PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=1, subordinate=1),
            PciFunctionSpec(bdf="01:00.0", id="104c:8232", kind="upstream", secondary=2, subordinate=2),
            PciFunctionSpec(bdf="02:00.0", id="104c:8233", kind="downstream", secondary=3, subordinate=3),
        )
        kernel = SmallKernel(spec)
        for function in list(kernel.topology.functions())[1:]:
            function.config.put(0x19, 1, secondary)
            function.config.put(0x1A, 1, subordinate)
        kernel.topology.write(0, 0, 8, 0x18, 1, 0)
        kernel.boot()
        assert len(kernel.pci.devices) <= 4
