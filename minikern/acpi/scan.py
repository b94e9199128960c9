"""The namespace scan: which devices are there, and what handlers do with them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from minikern.acpi import resources
from minikern.acpi.cmos import RTC_IDS, acpi_install_cmos_rtc
from minikern.acpi.device_walk import STA_ENABLED, Descent, is_there, status
from minikern.acpi.ec_driver import EC_ID
from minikern.acpi.ids import hardware_ids as hardware_ids
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.processor import acpi_processor_add, is_processor
from minikern.state.acpi import PciRoot
from minikern.state.namespace import DEVICES, Kind, Node

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

NEEDS_WITHOUT_ID = ("_ADR", "_PR0", "_PRW", "_CCA")  # address, power, wake-up, coherence
NEEDS = ("_UID", "_DEP", *NEEDS_WITHOUT_ID)
PCI_ROOT_ID, PCI_LINK_ID = "PNP0A03", "PNP0C0F"
ATTACHED = DEVICES - {Kind.POWER}
ASKED_WHEN_FOUND = frozenset({Kind.DEVICE, Kind.PROCESSOR, Kind.POWER})
"""A power resource is asked whether it is on. Source: drivers/acpi/scan.c, power.c @ v6.12"""


def ids_and_needs(run: Interpreter, device: Node) -> list[str]:
    """Ask a device what the scan asks of each, and return its ids.

    Source: drivers/acpi/acpica/nsxfname.c:acpi_get_object_info(); drivers/acpi/scan.c:acpi_init_device_object(),
    acpi_scan_check_dep() @ v6.12
    """
    ids = hardware_ids(run, device)
    for name in NEEDS if ids else NEEDS_WITHOUT_ID:
        if name in device.children:
            run.evaluate(device, name)
    return ids


def scanned_devices(k: Kernel, run: Interpreter) -> Iterator[Node]:
    """Everything the scan makes a device object for, in namespace order: what is not there, too, is asked once.

    Source: drivers/acpi/scan.c:acpi_bus_check_add(), acpi_scan_init_status() @ v6.12
    """
    for node in Descent(run.namespace):
        run.look_at(node)
        k.charge("acpi_device_scan")
        if node.kind in ASKED_WHEN_FOUND:
            status(run, node)
        if node.kind is Kind.POWER:
            k.charge("acpi_evaluate")  # its level and order
        else:
            yield node


def attached_devices(run: Interpreter) -> Iterator[Node]:
    """The devices that get a driver, in namespace order: each is asked once more whether it is there.

    Nothing below one that is not there is looked at.
    Source: drivers/acpi/scan.c:acpi_bus_attach() @ v6.12
    """
    devices = Descent(run.namespace, ATTACHED)
    for node in devices:
        if is_there(status(run, node)):
            yield node
        else:
            devices.pass_over()


def acpi_bus_scan(k: Kernel, scan_root: Callable[[PciRoot], None]) -> None:
    """Enumerate the namespace; PCI roots and interrupt links get their drivers as they come up.

    Devices are all found first and attached afterwards, in the same order.
    Source: drivers/acpi/scan.c:acpi_bus_scan(), acpi_bus_attach() @ v6.12
    """
    run = loaded_interpreter(k)
    instances: defaultdict[str, int] = defaultdict(int)
    found: dict[Node, tuple[list[str], int]] = {}
    for node in scanned_devices(k, run):
        ids = ids_and_needs(run, node)
        if ids or node.kind is Kind.PROCESSOR:
            name = ids[0] if ids else ""
            found[node] = ids, instances[name]
            instances[name] += 1
    for node in attached_devices(run):
        if node in found:
            _attach(k, run, node, *found[node], scan_root)


def _attach(
    k: Kernel, run: Interpreter, node: Node, ids: list[str], instance: int, scan_root: Callable[[PciRoot], None]
) -> None:
    """Source: drivers/acpi/scan.c:acpi_scan_attach_handler() @ v6.12"""
    no_roots, no_links = k.acpi_options.pci_disabled, k.acpi_options.noirq
    if PCI_ROOT_ID in ids:
        root = None if no_roots else acpi_pci_root_add(k, run, node, ids[0], instance)
        if root is not None:
            k.acpi.pci_roots.append(root)
            scan_root(root)
    elif PCI_LINK_ID in ids and not no_links:
        acpi_pci_link_add(k, run, node)
    elif is_processor(node, ids):
        acpi_processor_add(k, run, node)
    elif EC_ID in ids:
        k.acpi.ec_devices.append(node)
    elif not RTC_IDS.isdisjoint(ids):
        acpi_install_cmos_rtc(run)


def acpi_pci_root_add(k: Kernel, run: Interpreter, node: Node, hid: str, instance: int) -> PciRoot | None:
    """Describe one PCI root and log its line. Source: drivers/acpi/pci_root.c:acpi_pci_root_add() @ v6.12"""
    segment = run.evaluate(node, "_SEG", 0)
    crs = run.evaluate(node, "_CRS")
    template = bytes(crs) if isinstance(crs, bytearray) else b""
    name = f"{hid}:{instance:02x}"
    buses = resources.bus_range(template)
    if buses is None:
        k.printk(f"acpi {name}: [Firmware Bug]: no secondary bus range in _CRS")
        bbn = run.evaluate(node, "_BBN", 0)
        buses = (bbn & 0xFF if isinstance(bbn, int) else 0, 0xFF)
    pxm = run.evaluate(node, "_PXM")
    uid = run.evaluate(node, "_UID")
    root = PciRoot(
        segment=segment & 0xFFFF if isinstance(segment, int) else 0,
        bus_start=buses[0],
        bus_end=buses[1],
        name=node.name,
        hid=hid,
        uid="" if uid is None else str(uid),
        windows=resources.windows(template),
        path=node.path,
        instance=instance,
        pxm=pxm if isinstance(pxm, int) else None,
        osc="_OSC" in node.children,
    )
    span = f"{buses[0]:02x}" if buses[0] == buses[1] else f"{buses[0]:02x}-{buses[1]:02x}"
    k.printk(f"ACPI: PCI Root Bridge [{node.name}] (domain {root.segment:04x} [bus {span}])")
    return root


def acpi_pci_link_add(k: Kernel, run: Interpreter, node: Node) -> None:
    """Log an interrupt link's setting, then disable it until somebody needs it.

    Source: drivers/acpi/pci_link.c:acpi_pci_link_add() @ v6.12
    """
    prs = run.evaluate(node, "_PRS")
    if not isinstance(prs, bytearray):
        return
    crs = run.evaluate(node, "_CRS")
    irq = resources.first_interrupt(bytes(crs)) if isinstance(crs, bytearray) else 0
    enabled = bool(status(run, node) & STA_ENABLED)
    if k.behaviour.interrupt_link_line == "irqs":
        k.printk(_link_line(node.name, resources.interrupts(bytes(prs)), irq, enabled))
    else:
        k.printk(f"ACPI: PCI: Interrupt link {node.name} configured for IRQ {irq}")
        if not enabled:
            k.printk(f"ACPI: PCI: Interrupt link {node.name} disabled")
    run.evaluate(node, "_DIS")


def _link_line(name: str, possible: list[int], active: int, enabled: bool) -> str:
    """Source: drivers/acpi/pci_link.c:acpi_pci_link_add() @ v5.10"""
    usable = [number for number in possible if number]
    listed = "".join(f" *{number}" if number == active else f" {number}" for number in usable)
    other = "" if active in usable else f" *{active}"
    return f"ACPI: PCI Interrupt Link [{name}] (IRQs{listed}){other}{'' if enabled else ', disabled.'}"
