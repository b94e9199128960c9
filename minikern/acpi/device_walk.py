"""Asking devices who they are and whether they are there, as ACPICA walks the namespace for its callers.

Source: drivers/acpi/acpica/nsxfeval.c:acpi_get_devices(), acpi_ns_get_device_callback() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.acpi.ids import hardware_id
from minikern.state.namespace import DEVICES, Kind, Namespace, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

STA_PRESENT, STA_ENABLED, STA_FUNCTIONING = 1 << 0, 1 << 1, 1 << 3  # Source: ACPI 6.5 clause 6.3.7
STA_DEFAULT = 0x0F
DEEPEST = 64
_DEVICE, _WITHOUT_DEVICES = frozenset({Kind.DEVICE}), frozenset({Kind.METHOD})


def status(run: Interpreter, device: Node) -> int:
    """_STA of a device; everything present when it has none.

    Source: drivers/acpi/utils.c:acpi_bus_get_status_handle() @ v6.12
    """
    value = run.evaluate(device, "_STA", STA_DEFAULT)
    return value if isinstance(value, int) else STA_DEFAULT


def is_there(flags: int) -> bool:
    """True for a device that is present, or works although it is not."""
    return bool(flags & (STA_PRESENT | STA_FUNCTIONING))


class Descent:
    """Devices of ``kinds``, each before what is below it: that is looked up when the next is asked for.

    Source: drivers/acpi/acpica/nswalk.c:acpi_ns_walk_namespace() @ v6.12
    """

    def __init__(self, namespace: Namespace, kinds: frozenset[Kind] = DEVICES) -> None:
        self._levels = [iter(list(namespace.root.children.values()))]
        self._plain = namespace.plain
        self._kinds = kinds
        self._passed_over = False

    def pass_over(self) -> None:
        """Leave out what is below the object given last."""
        self._passed_over = True

    def __iter__(self) -> Iterator[Node]:
        levels, kinds, plain = self._levels, self._kinds, self._plain
        while levels:
            for node in levels[-1]:
                if node.kind in kinds:
                    self._passed_over = False
                    yield node
                    if self._passed_over:
                        continue
                if not node.children or node in plain or node.kind in _WITHOUT_DEVICES:
                    continue
                if len(levels) <= DEEPEST:
                    levels.append(iter(list(node.children.values())))
                    break
            else:
                levels.pop()


def get_devices(run: Interpreter, wanted: str) -> Iterator[Node]:
    """Devices with that id that are there, in namespace order.

    Every device is asked for its _HID, and for its _CID where that is another one; only those that match are asked
    for their _STA, and what lies below one that is not there is not looked at.
    """
    devices = Descent(run.namespace, _DEVICE)
    for node in devices:
        if "_HID" in node.children and _has_id(run, node, wanted):
            if is_there(status(run, node)):
                yield node
            else:
                devices.pass_over()


def _has_id(run: Interpreter, node: Node, wanted: str) -> bool:
    if hardware_id(run.evaluate(node, "_HID")) == wanted:
        return True
    value = run.evaluate(node, "_CID")
    return wanted in (hardware_id(item) for item in (value if isinstance(value, list) else [value]))
