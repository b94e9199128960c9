"""The driver of PCI Express ports: which services each port offers, and the interrupts they signal with.

Source: drivers/pci/pcie/portdrv.c @ v6.12; before 6.3 drivers/pci/pcie/portdrv_core.c
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, setup_param
from minikern.pci.caps import (
    EXP_FLAGS,
    EXP_LNKCAP,
    EXP_LNKCAP2,
    EXT_AER,
    EXT_DPC,
    pci_find_ext_capability,
)
from minikern.pci.enable import pci_enable_device, pci_set_master
from minikern.pci.irq import pci_alloc_irq_vectors, pci_free_irq_vectors
from minikern.pci.osc import AER as AER_CONTROL
from minikern.pci.osc import HOTPLUG as HOTPLUG_CONTROL
from minikern.pci.osc import PME as PME_CONTROL
from minikern.pci.port_services import Port, Service, probe_service
from minikern.state.pci import TYPE_DOWNSTREAM, TYPE_RC_EC, TYPE_ROOT_PORT, TYPE_UPSTREAM, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CLASSES, CLASS_EVENT_COLLECTOR = (0x060400, 0x060401), 0x080700
ROOT_STATUS, DPC_CAPABILITY = 0x30, 0x04  # registers of AER and DPC
MAX_MESSAGES = 32
BANDWIDTH_NOTIFICATION = 1 << 21  # of the link capabilities
INITCALLS = (Service.AER, Service.PME, Service.DPC, Service.HP)
"""The order of the link, where each service's driver is an initcall. Source: drivers/pci/pcie/Makefile @ v4.15"""


def pcie_portdrv_init(k: Kernel) -> None:
    """Find the ports, and give each service a driver. Source: portdrv.c:pcie_portdrv_init() @ v6.12"""
    if k.pci.access is None or k.pci.options.ports == "compat" or not k.config.get("CONFIG_PCIEPORTBUS", True):
        return
    pcie_portdrv_bind(k, list(k.pci.devices))
    k.pci.access.forget()  # their time is part of what all drivers take


def pcie_portdrv_bind(k: Kernel, devices: list[PciDev]) -> None:
    """The driver meets devices: those that are ports get their services."""
    ports = [port for dev in devices if (port := _pcie_portdrv_probe(k, dev)) is not None]
    if not k.behaviour.port_services_by_port:
        for service in INITCALLS:
            for port in ports:
                probe_service(k, port, service)


def _pcie_portdrv_probe(k: Kernel, dev: PciDev) -> Port | None:
    """The port's services, None if it has none. Source: portdrv.c:pcie_portdrv_probe() @ v6.12"""
    collector = dev.class_code >> 8 == CLASS_EVENT_COLLECTOR >> 8 and k.behaviour.port_event_collectors
    if not dev.is_pcie or not (dev.class_code in CLASSES or collector):
        return None
    types = (TYPE_ROOT_PORT, TYPE_UPSTREAM, TYPE_DOWNSTREAM, *([TYPE_RC_EC] if collector else []))
    if dev.pcie_type not in types:
        return None
    told = k.release.facts.port_irqs
    if told is not None and dev.name not in told:
        return None  # the log has no line of it
    dev.driver = "pcieport"
    if not pci_enable_device(k, dev):
        dev.driver = "pci"
        return None
    services = get_port_device_capability(k, dev)
    if not services:
        return None
    pci_set_master(dev)
    port = Port(dev, services, _pcie_init_service_irqs(k, dev, services))
    if told is not None:
        port.irqs = dict.fromkeys(Service, told[dev.name]) if port.irqs and told[dev.name] else {}
    if not port.irqs:
        port.services &= Service.HP  # it can be polled
    if k.behaviour.port_services_by_port:
        for service in Service:
            probe_service(k, port, service)
    return port


def get_port_device_capability(k: Kernel, dev: PciDev) -> Service:
    """What the port can do and the firmware lets the kernel do. Source: portdrv.c @ v6.12"""
    native = k.pci.options.ports == "native"
    control = dev.bus.root.control
    root = dev.pcie_type in (TYPE_ROOT_PORT, TYPE_RC_EC)
    errors = k.pci.options.aer and k.pci.options.msi
    services = Service(0)
    if dev.is_hotplug_bridge and (native or control & HOTPLUG_CONTROL):
        services |= Service.HP
    reporting = errors and k.config.get("CONFIG_PCIEAER", True) and (root or k.behaviour.port_aer_everywhere)
    if reporting and (native or control & AER_CONTROL) and pci_find_ext_capability(dev, EXT_AER):
        services |= Service.AER
    if root and (native or control & PME_CONTROL):
        services |= Service.PME
    if errors and (services & Service.AER or k.pci.options.ports == "dpc-native"):
        services |= Service.DPC if pci_find_ext_capability(dev, EXT_DPC) else Service(0)
    if dev.pcie_type in (TYPE_ROOT_PORT, TYPE_DOWNSTREAM) and _bandwidth(k, dev):
        services |= Service.BANDWIDTH
    return services


def _bandwidth(k: Kernel, dev: PciDev) -> bool:
    """It tells when its link changes; newer releases want more than one speed of it, too."""
    kind = k.behaviour.port_bandwidth_service
    link = dev.read(dev.pcie_cap + EXP_LNKCAP, 4) if kind != "none" else 0
    if not link & BANDWIDTH_NOTIFICATION:
        return False
    speeds = dev.read(dev.pcie_cap + EXP_LNKCAP2, 4) >> 1 & 0x7F
    several = speeds.bit_count() > 1 if speeds else link & 0xF > 1
    return kind == "notification" or several


def _pcie_init_service_irqs(k: Kernel, dev: PciDev, services: Service) -> dict[Service, int]:
    """The interrupt of each service: messages, else the pin's; empty if there is neither."""
    pme_by_pin = services & Service.PME and "nomsi" in k.cmdline.getall("pcie_pme")
    if not pme_by_pin and (found := _pcie_port_enable_irq_vec(k, dev, services)):
        return found
    return dict.fromkeys(Service, dev.irq) if dev.irq else {}


def _pcie_port_enable_irq_vec(k: Kernel, dev: PciDev, services: Service) -> dict[Service, int]:
    """Take all vectors, look which are used, and take only as many."""
    got = pci_alloc_irq_vectors(k, dev, 1, MAX_MESSAGES)
    if got is None:
        return {}
    messages = _pcie_message_numbers(dev, services)
    needed = max(messages.values(), default=-1) + 1
    first, count = got
    if needed != count:
        pci_free_irq_vectors(k, dev, first)
        again = pci_alloc_irq_vectors(k, dev, needed, needed) if 0 < needed < count else None
        if again is None:
            return {}
        first = again[0]
    return {service: first + number for service, number in messages.items()}


def _pcie_message_numbers(dev: PciDev, services: Service) -> dict[Service, int]:
    """Which of the port's messages each service sends; hot-plug, PME and bandwidth share one."""
    found: dict[Service, int] = {}
    shared = services & (Service.PME | Service.HP | Service.BANDWIDTH)
    if shared:
        number = dev.read(dev.pcie_cap + EXP_FLAGS, 2) >> 9 & 0x1F
        found |= {service: number for service in Service if service & shared}
    if services & Service.AER:
        found[Service.AER] = dev.read(pci_find_ext_capability(dev, EXT_AER) + ROOT_STATUS, 4) >> 27
    if services & Service.DPC:
        found[Service.DPC] = dev.read(pci_find_ext_capability(dev, EXT_DPC) + DPC_CAPABILITY, 2) & 0x1F
    return found


def pcie_pme_setup(k: Kernel, text: str) -> bool:
    """``pcie_pme=``. Source: drivers/pci/pcie/pme.c:pcie_pme_setup() @ v6.12"""
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("pcie_pme=", pcie_pme_setup, read_by=_pcie_init_service_irqs, words=Words(("nomsi*",), (), "")),
)
