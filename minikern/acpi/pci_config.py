"""The PCI_Config address space: which function a region belongs to, and access to its registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.ids import is_pci_root
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region

CONFIG_ADDRESS, CONFIG_DATA = 0xCF8, 0xCFC
PCI_HEADER_TYPE, PCI_SECONDARY_BUS = 0x0E, 0x19


def pci_config_space(run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
    """One access to the configuration space of the region's own function."""
    place = pci_address(run, region.node)
    if value is None:
        return read_config(run, place, address, size)
    write_config(run, place, address, size, value)
    return 0


def pci_address(run: Interpreter, node: Node) -> int:
    """Configuration address (bus and devfn fields) of the device a region belongs to.

    Source: drivers/acpi/acpica/hwpci.c:acpi_hw_derive_pci_id() @ v6.12
    """
    chain: list[Node] = []
    scope: Node | None = node.parent
    while scope is not None:
        if scope.kind is Kind.DEVICE:
            if is_pci_root(run, scope):
                break
            if "_ADR" in scope.children:
                chain.append(scope)
        scope = scope.parent
    bus = _number(run, scope, "_BBN") & 0xFF if scope is not None and "_BBN" in scope.children else 0
    return _below_root(run, chain, bus)


def _below_root(run: Interpreter, chain: list[Node], bus: int) -> int:
    place = bus << 16
    for device in reversed(chain):
        adr = _number(run, device, "_ADR")
        place = bus << 16 | (adr >> 16 & 0x1F) << 11 | (adr & 7) << 8
        if device is not chain[0] and read_config(run, place, PCI_HEADER_TYPE, 1) & 0x7F in (1, 2):
            bus = read_config(run, place, PCI_SECONDARY_BUS, 1)
    return place


def _number(run: Interpreter, scope: Node, name: str) -> int:
    value = run.evaluate(scope, name, 0)
    return value if isinstance(value, int) else 0


def read_config(run: Interpreter, place: int, register: int, size: int) -> int:
    """Read by configuration mechanism 1."""
    cpu = run.k.machine.boot_cpu
    cpu.outl(CONFIG_ADDRESS, 1 << 31 | place | register & 0xFC)
    value = int(cpu.inl(CONFIG_DATA))
    return value >> 8 * (register & 3) & ((1 << 8 * size) - 1)


def write_config(run: Interpreter, place: int, register: int, size: int, value: int) -> None:
    """Write by configuration mechanism 1."""
    cpu = run.k.machine.boot_cpu
    cpu.outl(CONFIG_ADDRESS, 1 << 31 | place | register & 0xFC)
    port = {1: cpu.outb, 2: cpu.outw, 4: cpu.outl}.get(size)
    if port:
        port(CONFIG_DATA + (register & 3), value)
