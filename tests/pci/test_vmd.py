"""Domains behind volume management devices; lines as public logs of laptops and servers with such devices show them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hw.errors import InputError
from hw.pci.build import build_config
from hw.pci.lspci import describe, format_lspci
from hw.pci.spec import (
    Address,
    BarSpec,
    HostBridgeSpec,
    PciFunctionSpec,
    PciSpec,
    RegisterSpec,
    VmdSpec,
    WindowSpec,
    check_pci,
)
from minikern.describe.beside import Beside, lay_over
from minikern.describe.presets import load_machine
from minikern.describe.vmd import domains_of_vmd
from minikern.lab.run import boot
from tests.pci.small import SmallKernel

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:4601", class_code=0x060000)
BARS = [
    BarSpec(0, "mem64", 32 << 20, address=0x40_0000_0000), BarSpec(2, "mem32", 32 << 20, address=0xA200_0000),
    BarSpec(4, "mem64", 1 << 20, address=0x40_0210_0000),
]  # fmt: skip
VMD = PciFunctionSpec(
    bdf="00:0e.0", id="8086:467f", class_code=0x010400, kind="rciep", bars=BARS, assigned=True, command=2,
    registers=[RegisterSpec(0x40, 1), RegisterSpec(0x44, 0x200)],
)  # fmt: skip
PORT = PciFunctionSpec(
    bdf="10000:e0:06.0", id="8086:464d", class_code=0x060400, kind="root_port", secondary=0xE1, subordinate=0xE1,
    assigned=True, command=7, interrupt_pin=4, capabilities=["msi"],
)  # fmt: skip
DISK = PciFunctionSpec(
    bdf="10000:e1:00.0", id="144d:a80a", class_code=0x010802, kind="endpoint", assigned=True, command=2,
    bars=[BarSpec(0, "mem64", 0x4000, address=0xA200_0000)],
)  # fmt: skip
WINDOWS = [WindowSpec("mem", 0xA000_0000, 0xAFFF_FFFF), WindowSpec("mem", 0x40_0000_0000, 0x7F_FFFF_FFFF)]


def machine(*functions: PciFunctionSpec, vmd: list[VmdSpec] | None = None) -> PciSpec:
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    behind = [VmdSpec("00:0e.0", first_bus=0xE0, last_bus=0xFF)] if vmd is None else vmd
    return PciSpec(ecam_base=0xE000_0000, host_bridges=[host], functions=[HOST, *functions], vmd=behind)


def test_a_domain_is_scanned_through_the_devices_first_register() -> None:
    k = SmallKernel(machine(VMD, PORT, DISK)).boot()
    assert k.class_lines("vmd|10000:") == [
        "vmd 0000:00:0e.0: PCI host bridge to bus 10000:e0",
        "pci_bus 10000:e0: root bus resource [bus e0-ff]",
        "pci_bus 10000:e0: root bus resource [mem 0xa2000000-0xa3ffffff]",
        "pci_bus 10000:e0: root bus resource [mem 0x4002102000-0x40021fffff 64bit]",
        "pci 10000:e0:06.0: [8086:464d] type 01 class 0x060400 PCIe Root Port",
        "pci 10000:e0:06.0: PCI bridge to [bus e1]",
        "pci 10000:e1:00.0: [144d:a80a] type 00 class 0x010802 PCIe Endpoint",
        "pci 10000:e1:00.0: BAR 0 [mem 0xa2000000-0xa2003fff 64bit]",
        "pci 10000:e0:06.0: PCI bridge to [bus e1]",
        "pci 10000:e0:06.0: bridge window [mem 0xa2000000-0xa20fffff]: assigned",
        "pci 10000:e1:00.0: BAR 0 [mem 0xa2000000-0xa2003fff 64bit]: assigned",
        "pci 10000:e0:06.0: PCI bridge to [bus e1]",
        "pci 10000:e0:06.0:   bridge window [mem 0xa2000000-0xa20fffff]",
        "pcieport 10000:e0:06.0: can't derive routing for PCI INT D",
        "pcieport 10000:e0:06.0: PCI INT D: no GSI",
        "pcieport 10000:e0:06.0: PME: Signaling with IRQ 24",
        "vmd 0000:00:0e.0: Bound to PCI domain 10000",
    ]


def test_devices_share_the_group_of_the_one_they_are_behind() -> None:
    from tests.pci.test_iommu import ON
    from tests.pci.test_iommu import machine as translated

    spec = machine(VMD, PORT, DISK)
    spec.drhd = translated([]).drhd
    k = SmallKernel(spec, ON).boot()
    groups = {dev.name: dev.iommu_group for dev in k.pci.devices}
    assert groups["10000:e0:06.0"] == groups["10000:e1:00.0"] == groups["0000:00:0e.0"] is not None
    assert len(k.class_lines("10000:.*Adding to iommu group 1$")) == 2


def test_an_empty_domain_is_bound_too_and_two_have_two_numbers() -> None:
    second = msgspec.structs.replace(VMD, bdf="00:0f.0", registers=[], bars=[
        msgspec.structs.replace(bar, address=bar.address + (0x400_0000 if bar.index == 2 else 0x1000_0000))
        for bar in BARS
    ])  # fmt: skip
    both = [VmdSpec("00:0e.0", first_bus=0xE0, last_bus=0xFF), VmdSpec("00:0f.0", 0x1_0001, 0, 0x1F)]
    k = SmallKernel(machine(VMD, second, vmd=both)).boot()
    assert k.class_lines("Bound|host bridge to bus 1") == [
        "vmd 0000:00:0e.0: PCI host bridge to bus 10000:e0",
        "vmd 0000:00:0e.0: Bound to PCI domain 10000",
        "vmd 0000:00:0f.0: PCI host bridge to bus 10001:00",
        "vmd 0000:00:0f.0: Bound to PCI domain 10001",
    ]


def test_who_cannot_have_a_domain() -> None:
    setting = msgspec.structs.replace(VMD, registers=[RegisterSpec(0x40, 1), RegisterSpec(0x44, 0x300)])
    assert SmallKernel(machine(setting)).boot().class_lines("vmd") == [
        "vmd 0000:00:0e.0: Unknown Bus Offset Setting (3)"
    ]
    small = msgspec.structs.replace(VMD, bars=[BarSpec(0, "mem64", 0x1000, address=0x40_0000_0000)])
    assert not SmallKernel(machine(small, vmd=[])).boot().class_lines("vmd")
    assert not SmallKernel(machine(VMD, PORT, DISK), config={"CONFIG_VMD": False}).boot().class_lines("vmd|10000:")


def test_a_servers_device_keeps_a_shadow_and_lets_interrupts_pass() -> None:
    server = msgspec.structs.replace(VMD, id="8086:28c0", registers=[])
    k = SmallKernel(machine(server, vmd=[VmdSpec("00:0e.0")])).boot()
    assert k.class_lines("10000:00: root bus")[2].endswith("[mem 0x4002102010-0x40021fffff 64bit]")
    assert k.pci.interrupts.taken == set()
    client = msgspec.structs.replace(VMD, capabilities=["msix"])
    assert len(SmallKernel(machine(client)).boot().pci.interrupts.taken) == 32


def test_descriptions_name_a_function_and_buses() -> None:
    for wrong in (VmdSpec("00:0d.0"), VmdSpec("00:0e.0", first_bus=5, last_bus=4)):
        with pytest.raises(InputError, match=r"pci.vmd: 00:0[de]\.0: expected a function, and last_bus"):
            check_pci(machine(VMD, vmd=[wrong]), "here")


def test_domains_of_a_dump_belong_to_its_endpoints(tmp_path: Path) -> None:
    dump = format_lspci(
        describe(msgspec.structs.replace(one).address(), build_config(one, False)) for one in (HOST, VMD, PORT, DISK)
    )
    (tmp_path / "lspci.txt").write_text(dump)
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(tmp_path / "lspci.txt")))
    assert spec.pci.vmd == [VmdSpec("0000:00:0e.0", 0x1_0000, 0xE0, 0xFF)]
    assert any("PCI domains 10000 in the order of Intel's VMD endpoints" in note for note in spec.notes)
    done = boot(spec)
    assert [dev.name for dev in done.kernel.pci.devices][-2:] == ["10000:e0:06.0", "10000:e1:00.0"]
    assert any("Bound to PCI domain 10000" in line.text for line in done.kernel.log.lines)


def test_a_domain_without_an_endpoint_is_told_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "lspci.txt").write_text(
        "00:00.0 Class 0600: 8086:4601\n\n10000:e0:06.0 Class 0604: 8086:464d\n"
        "\tBus: primary=e0, secondary=e1, subordinate=e1, sec-latency=0\n"
    )
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(tmp_path / "lspci.txt")))
    assert any("none of 1 functions in PCI domains 10000" in note for note in spec.notes)
    assert {dev.name for dev in boot(spec).kernel.pci.devices} == {"0000:00:00.0"}


def test_the_last_buses_of_a_large_domain_need_a_large_window() -> None:
    far = msgspec.structs.replace(DISK, bdf="10000:30:00.0")
    port = msgspec.structs.replace(PORT, bdf="10000:00:06.0", secondary=0x30, subordinate=0x30)
    server = msgspec.structs.replace(VMD, id="8086:28c0", registers=[])
    spec = machine(server, port, far, vmd=[])
    spec.host_bridges.append(HostBridgeSpec(0, 0xFF, 0x1_0000))
    domains_of_vmd(spec)
    assert spec.vmd == [VmdSpec("0000:00:0e.0", 0x1_0000, 0, 0x3F)]
    assert [one.segment for one in spec.host_bridges] == [0]
    assert Address(0x1_0000, 0x30, 0) == far.address()
