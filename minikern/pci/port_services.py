"""The drivers of a port's services: power management events, errors, containment, hot-plug.

Source: drivers/pci/pcie/{pme,aer,dpc}.c, drivers/pci/hotplug/{pciehp_core,pciehp_hpc}.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, auto
from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.acpiphp import free_slot_name
from minikern.pci.caps import EXP_LNKCAP, EXP_SLTCAP, EXP_SLTCAP2, EXT_DPC, pci_find_ext_capability
from minikern.state.pci import DPC_WORDS, SLOT_WORDS, TYPE_RC_EC, TYPE_ROOT_PORT, PciDev, Slot

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


class Service(Flag):
    """In the order of their numbers. Source: drivers/pci/pcie/portdrv.h @ v6.12"""

    PME = auto()
    AER = auto()
    HP = auto()
    DPC = auto()
    BANDWIDTH = auto()


@dataclass
class Port:
    """A port, what it offers, and the interrupt of each service."""

    dev: PciDev
    services: Service
    irqs: dict[Service, int] = field(default_factory=dict)


NUMBERS = {Service.PME: 1, Service.AER: 2, Service.HP: 4, Service.DPC: 8}
NAMES = {Service.PME: "PME", Service.AER: "AER", Service.HP: "pciehp", Service.DPC: "DPC"}
DRIVERS = {Service.PME: "pcie_pme", Service.AER: "aer", Service.HP: "pciehp", Service.DPC: "dpc"}
SLOT_NUMBER_SHIFT, INBAND_DISABLE, LINK_ACTIVE_REPORTING = 19, 0x01, 1 << 20
HOT_PLUG_CAPABLE, NO_COMMAND_COMPLETED = 0x40, 0x4_0000
INTEL = 0x8086
DPC_CAPABILITY, LOG_SIZES = 0x04, range(4, 10)
DPC_LINK_ACTIVE = "DL_ActiveErr"  # stands behind the size of the log


def probe_service(k: Kernel, port: Port, service: Service) -> None:
    """One service's driver meets a port; nothing if the port does not offer it."""
    if service & port.services and service in PROBES:
        PROBES[service](k, port)


def _say(k: Kernel, port: Port, service: Service, text: str, level: Level = Level.INFO) -> None:
    """A line in the manner of the release: the port's with the service's name, or of the service's own device.

    Its name has the port's type and the service's number. Source: portdrv.h:get_descriptor_id() @ v4.15
    """
    if k.behaviour.port_service_lines == "prefixed":
        k.printk(f"pcieport {port.dev.name}: {NAMES[service]}: {text}", level)
    elif _by_port(k, service):
        k.printk(f"pcieport {port.dev.name}: {text}", level)
    else:
        number = max(port.dev.pcie_type - TYPE_ROOT_PORT, 0) << 8 | NUMBERS[service]
        k.printk(f"{DRIVERS[service]} {port.dev.name}:pcie{number:03x}: {text}", level)


def _by_port(k: Kernel, service: Service) -> bool:
    return service is Service.PME or (service is Service.AER and k.behaviour.port_service_lines == "port")


def _pme_probe(k: Kernel, port: Port) -> None:
    """Source: drivers/pci/pcie/pme.c:pcie_pme_probe() @ v6.12"""
    word = "" if k.behaviour.port_service_lines == "prefixed" else "PME "
    _say(k, port, Service.PME, f"Signaling {word}with IRQ {port.irqs[Service.PME]}")


def _aer_probe(k: Kernel, port: Port) -> None:
    """Only where errors arrive. Source: drivers/pci/pcie/aer.c:aer_probe() @ v6.12"""
    if port.dev.pcie_type in (TYPE_ROOT_PORT, TYPE_RC_EC):
        word = "" if k.behaviour.port_service_lines == "prefixed" else "AER "
        _say(k, port, Service.AER, f"{word}enabled with IRQ {port.irqs[Service.AER]}")


def _dpc_probe(k: Kernel, port: Port) -> None:
    """Source: drivers/pci/pcie/dpc.c:dpc_probe() @ v6.12"""
    if not k.config.get("CONFIG_PCIE_DPC", True):
        return
    at = pci_find_ext_capability(port.dev, EXT_DPC)
    cap = port.dev.read(at + DPC_CAPABILITY, 2)
    if k.behaviour.dpc_irq_line:
        _say(k, port, Service.DPC, f"enabled with IRQ {port.irqs[Service.DPC]}")
    word = "" if k.behaviour.port_service_lines == "prefixed" else "DPC "
    flags = " ".join(f"{name}{'+' if cap & bit else '-'}" for name, bit in DPC_WORDS.items() if name != DPC_LINK_ACTIVE)
    size = dpc_log_size(cap) if cap & DPC_WORDS["RPExt"] else 0
    active = "+" if cap & DPC_WORDS[DPC_LINK_ACTIVE] else "-"
    text = f"Int Msg #{cap & 0x1F}, {flags} RP PIO Log {size}, {DPC_LINK_ACTIVE}{active}"
    _say(k, port, Service.DPC, f"{word}error containment capabilities: {text}")


def dpc_log_size(cap: int) -> int:
    """Double words of a root port's error log, 0 if the register holds what cannot be."""
    size = cap >> 8 & 0xF
    return size if size in LOG_SIZES else 0


def _pciehp_probe(k: Kernel, port: Port) -> None:
    """Source: drivers/pci/hotplug/pciehp_core.c:pciehp_probe(), pciehp_hpc.c:pcie_init() @ v6.12"""
    dev = port.dev
    if not k.config.get("CONFIG_HOTPLUG_PCI_PCIE", True):
        return
    if dev.subordinate is None:
        text = "Hotplug bridge without secondary bus, ignoring"
        _say(k, port, Service.HP, text, Level.ERR)
        return
    cap = dev.read(dev.pcie_cap + EXP_SLTCAP, 4)
    number = cap >> SLOT_NUMBER_SHIFT
    flags = [f"{name}{'+' if cap & bit else '-'}" for name, bit in SLOT_WORDS.items()]
    if k.behaviour.slot_inband_field:
        flags.append(f"IbPresDis{'+' if dev.read(dev.pcie_cap + EXP_SLTCAP2, 4) & INBAND_DISABLE else '-'}")
    active = dev.read(dev.pcie_cap + EXP_LNKCAP, 4) & LINK_ACTIVE_REPORTING
    flags.append(f"LLActRep{'+' if active else '-'}")
    erratum = " (with Cmd Compl erratum)" if k.behaviour.slot_command_erratum and _broken(dev, cap) else ""
    _say(k, port, Service.HP, f"Slot #{number} {' '.join(flags)}{erratum}")
    _register_slot(k, port, number)


def _broken(dev: PciDev, cap: int) -> bool:
    """Intel's ports tell of a command's end only if it changed something. Source: pciehp_hpc.c:quirk_cmd_compl()"""
    return dev.vendor == INTEL and bool(cap & HOT_PLUG_CAPABLE) and not cap & NO_COMMAND_COMPLETED


def _register_slot(k: Kernel, port: Port, number: int) -> None:
    bus = port.dev.subordinate
    assert bus is not None
    place = (bus.segment, bus.number, 0)
    slot = k.pci.slots.get(place)
    if slot is not None and slot.hotplug:
        text = "Slot already registered by another hotplug driver"
        _say(k, port, Service.HP, text, Level.WARNING)
        return
    k.pci.slots[place] = Slot(free_slot_name(k, number), hotplug=True)


PROBES = {Service.PME: _pme_probe, Service.AER: _aer_probe, Service.HP: _pciehp_probe, Service.DPC: _dpc_probe}
