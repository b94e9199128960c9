"""Hardware ids: what _HID and _CID give, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

PCI_ROOT_IDS = ("PNP0A03", "PNP0A08")


def hardware_id(value: Any) -> str:
    """Text of a _HID, _CID or _UID value: an EISA id when it is an integer. Source: ACPI 6.5 clause 6.1.5"""
    if isinstance(value, str):
        return value
    if not isinstance(value, int):
        return ""
    number = int.from_bytes((value & 0xFFFF_FFFF).to_bytes(4, "little"), "big")
    letters = "".join(chr((number >> shift & 0x1F) + 0x40) for shift in (26, 21, 16))
    return f"{letters}{number & 0xFFFF:04X}"


def hardware_ids(run: Interpreter, device: Node) -> list[str]:
    """_HID and _CID of a device, most specific first."""
    ids = []
    for name in ("_HID", "_CID"):
        if name not in device.children:
            continue
        value = run.evaluate(device, name)
        for item in value if isinstance(value, list) else [value]:
            text = hardware_id(item)
            if text:
                ids.append(text)
    return ids


def is_pci_root(run: Interpreter, device: Node) -> bool:
    """True for a device whose ids include PNP0A03 or PNP0A08."""
    return any(text in PCI_ROOT_IDS for text in hardware_ids(run, device))
