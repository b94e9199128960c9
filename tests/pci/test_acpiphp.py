"""Slots that the firmware's namespace lets a bus have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hw.pci.spec import PciFunctionSpec
from minikern.pci.acpiphp import acpiphp_enumerate_slots
from minikern.state.namespace import Kind, Node
from tests.pci.fakes import FakeKernel, Osc
from tests.pci.test_iommu import machine

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)


class Values(Osc):
    """An interpreter of named integers."""

    def evaluate(self, node: Any, name: str, default: Any = None, args: Any = None) -> Any:
        if name in node.children:
            return node.children[name].value
        return super().evaluate(node, name, args=args) if args else default


def device(parent: Node, name: str, **values: int) -> Node:
    node = parent.children[name] = Node(name, parent, Kind.DEVICE)
    for key, value in values.items():
        node.children[f"_{key}"] = Node(f"_{key}", node, Kind.INTEGER, value)
    return node


def port(bus: int, device: int, **fields: Any) -> PciFunctionSpec:
    return PciFunctionSpec(bdf=f"00:{device:02x}.0", id="8086:0001", kind="root_port", class_code=0x060400,
                           secondary=bus, subordinate=bus, **fields)


def booted(root: Node, functions: list[PciFunctionSpec], append: str = "", granted: int = 0x1E) -> list[str]:
    kernel = FakeKernel(machine([HOST, *functions]), append)
    kernel.acpi.namespace = SimpleNamespace(find=lambda path: root)
    kernel.acpi.interpreter = Values(granted)
    return [line for line in kernel.boot().lines if "Slot" in line or "host bridge to" in line]


def test_slots_are_numbered_by_firmware_and_named_apart() -> None:
    root = Node("PCI0", None, Kind.DEVICE)
    device(root, "S18_", ADR=0x3_0000, EJ0=0, SUN=3)
    device(root, "S19_", ADR=0x3_0001, EJ0=0, SUN=3)  # the same slot
    device(root, "S20_", ADR=0x4_0000)
    for number, bridge in enumerate((device(root, "S28_", ADR=0x5_0000), device(root, "S30_", ADR=0x6_0000))):
        device(bridge, "S00_", ADR=0, EJ0=0, SUN=0)
        device(bridge, "S08_", ADR=0x1_0000, EJ0=0, SUN=3 + number)
    assert booted(root, [port(1, 5), port(2, 6)]) == [
        "acpiphp: Slot [3] registered",
        "PCI host bridge to bus 0000:00",
        "acpiphp: Slot [0] registered",
        "acpiphp: Slot [3-2] registered",
        "acpiphp: Slot [0-2] registered",
        "acpiphp: Slot [4] registered",
    ]


def test_slots_of_the_native_driver_are_left_to_it() -> None:
    root = Node("PCI0", None, Kind.DEVICE)
    device(device(root, "RP1_", ADR=0x5_0000), "SLOT", ADR=0, RMV=1)
    slotted = [port(1, 5, hotplug=True)]
    assert booted(root, slotted)[1:] == ["acpiphp: Slot [1] registered"]
    assert booted(root, slotted, granted=0x1F)[1:] == []
    assert booted(root, slotted, "pcie_ports=native")[1:] == []
    assert booted(root, slotted, "acpiphp.disable=1")[1:] == []


def test_a_slot_is_registered_once() -> None:
    root = Node("PCI0", None, Kind.DEVICE)
    device(root, "S18_", ADR=0x3_0000, EJ0=0, SUN=3)
    kernel: Any = FakeKernel(machine([HOST]))
    kernel.acpi.namespace, kernel.acpi.interpreter = SimpleNamespace(find=lambda path: root), Values()
    bus = SimpleNamespace(segment=0, number=0, self_dev=None, is_root=True)
    acpiphp_enumerate_slots(kernel, bus, "PCI0")  # type: ignore[arg-type]
    acpiphp_enumerate_slots(kernel, bus, "PCI0")  # type: ignore[arg-type]
    assert kernel.lines == [
        "acpiphp: Slot [3] registered", "acpiphp_glue: Slot 3 already registered by another hotplug driver"
    ]  # fmt: skip
