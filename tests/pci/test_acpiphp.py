"""Slots that the firmware's namespace lets a bus have: AML, loaded and run."""

from __future__ import annotations

from typing import Any

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.pci.spec import HostBridgeSpec, PciFunctionSpec, PciSpec
from minikern.pci.acpiphp import acpiphp_enumerate_slots
from tests.pci.small import SmallKernel

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
LINE = r"Slot|host bridge to"


def device(name: str, *inside: bytes, **values: int) -> bytes:
    return aml.device(name, [*(aml.name(f"_{key}", aml.integer(value)) for key, value in values.items()), *inside])


def port(bus: int, device: int, **fields: Any) -> PciFunctionSpec:
    return PciFunctionSpec(bdf=f"00:{device:02x}.0", id="8086:0001", kind="pci_bridge", class_code=0x060400,
                           secondary=bus, subordinate=bus, **fields)


def kernel(scopes: dict[str, list[bytes]], functions: list[PciFunctionSpec], append: str = "",
           osc: int = 0x1E) -> SmallKernel:  # fmt: skip
    body = b"".join(aml.scope(f"\\_SB_.PCI0{path}", terms) for path, terms in scopes.items())
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, osc=osc)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[HOST, *functions])
    return SmallKernel(spec, append, tables={"SSDT": sdt("SSDT", 2, body, TableIds())})


def test_slots_are_numbered_by_firmware_and_named_apart() -> None:
    on_root = [
        device("S18_", ADR=0x3_0000, EJ0=0, SUN=3), device("S19_", ADR=0x3_0001, EJ0=0, SUN=3),  # the same slot
        device("S20_", ADR=0x4_0000),
    ]  # fmt: skip
    behind = [
        [device("S00_", ADR=0, EJ0=0, SUN=0), device("S08_", ADR=0x1_0000, EJ0=0, SUN=3 + number)]
        for number in (0, 1)
    ]
    scopes = {"": on_root, ".BR28": behind[0], ".BR30": behind[1]}  # the firmware's nodes of the two bridges
    assert kernel(scopes, [port(1, 5), port(2, 6)]).boot().class_lines(LINE) == [
        "acpiphp: Slot [3] registered",
        "PCI host bridge to bus 0000:00",
        "acpiphp: Slot [0] registered",
        "acpiphp: Slot [3-2] registered",
        "acpiphp: Slot [0-2] registered",
        "acpiphp: Slot [4] registered",
    ]


def test_slots_of_the_native_driver_are_left_to_it() -> None:
    scopes = {".BR28": [device("SLOT", ADR=0, RMV=1)]}
    slotted = port(1, 5, hotplug=True, capabilities=["msi"])
    slotted.kind = "root_port"

    def lines(append: str = "", osc: int = 0x1E) -> list[str]:
        return kernel(scopes, [slotted], append, osc).boot().class_lines(LINE)[1:]

    native = [line.partition(" AttnBtn")[0] for line in lines(osc=0x1F)]
    assert lines() == ["acpiphp: Slot [1] registered"]
    assert native == ["pcieport 0000:00:05.0: pciehp: Slot #0"]
    assert [line.partition(" AttnBtn")[0] for line in lines("pcie_ports=native")] == native
    assert lines("acpiphp.disable=1") == []


def test_a_slot_is_registered_once() -> None:
    k = kernel({"": [device("S18_", ADR=0x3_0000, EJ0=0, SUN=3)]}, []).boot()
    acpiphp_enumerate_slots(k.kernel, k.pci.roots[0], "\\_SB_.PCI0")
    assert k.class_lines("acpiphp(_glue)?: Slot") == [
        "acpiphp: Slot [3] registered", "acpiphp_glue: Slot 3 already registered by another hotplug driver"
    ]  # fmt: skip
