"""Asking devices who they are and whether they are there, as ACPICA walks the namespace for its callers.

Source: drivers/acpi/acpica/nsxfeval.c:acpi_get_devices(), acpi_ns_get_device_callback() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.acpi.ids import hardware_id
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

STA_PRESENT, STA_ENABLED, STA_FUNCTIONING = 1 << 0, 1 << 1, 1 << 3  # Source: ACPI 6.5 clause 6.3.7
STA_DEFAULT = 0x0F
DEEPEST = 64


def status(run: Interpreter, device: Node) -> int:
    """_STA of a device; everything present when it has none.

    Source: drivers/acpi/utils.c:acpi_bus_get_status_handle() @ v6.12
    """
    value = run.evaluate(device, "_STA", STA_DEFAULT)
    return value if isinstance(value, int) else STA_DEFAULT


def is_there(flags: int) -> bool:
    """True for a device that is present, or works although it is not."""
    return bool(flags & (STA_PRESENT | STA_FUNCTIONING))


def get_devices(run: Interpreter, wanted: str) -> Iterator[Node]:
    """Devices with that id that are there, in namespace order.

    Every device is asked for its _HID, and for its _CID where that is another one; only those that match are asked
    for their _STA, and what lies below one that is not there is not looked at.
    """
    yield from _below(run, run.namespace.root, wanted, 0)


def _below(run: Interpreter, parent: Node, wanted: str, depth: int) -> Iterator[Node]:
    for node in list(parent.children.values()):
        if node.kind is Kind.DEVICE and "_HID" in node.children and _has_id(run, node, wanted):
            if not is_there(status(run, node)):
                continue
            yield node
        if node.children and node.kind is not Kind.METHOD and depth < DEEPEST:
            yield from _below(run, node, wanted, depth + 1)


def _has_id(run: Interpreter, node: Node, wanted: str) -> bool:
    if hardware_id(run.evaluate(node, "_HID")) == wanted:
        return True
    value = run.evaluate(node, "_CID")
    return wanted in (hardware_id(item) for item in (value if isinstance(value, list) else [value]))
