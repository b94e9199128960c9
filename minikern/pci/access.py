"""Configuration access: mechanism 1 through ports, ECAM through memory, and which is used when.

Source: arch/x86/pci/{init.c,direct.c,mmconfig-shared.c,common.c} @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.pci.ecam import pci_mmcfg_init
from minikern.state.pci_access import ADDRESS_PORT, ENABLE, ConfigAccess
from minikern.state.pci_options import Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CLASS_HOST, CLASS_VGA = 0x0600, 0x0300
SANE_VENDORS = (0x8086, 0x0E11)  # Intel and Compaq: early chipsets of theirs lack proper class codes


def pci_arch_init(k: Kernel) -> None:
    """Find out how configuration space is reached. ``k.acpi.mcfg`` gives the ECAM windows (may be empty).

    Source: arch/x86/pci/init.c:pci_arch_init() @ v6.12
    """
    options = k.pci.options
    cpu = k.machine.boot_cpu
    access = ConfigAccess(cpu, False)
    k.pci.access = access
    access.conf1 = bool(options.probe & Probe.CONF1) and _probe_conf1(cpu, access)
    if options.probe & Probe.MMCONF:
        access.regions = pci_mmcfg_init(k, access.conf1, early=True)
    if access.conf1:
        k.printk("PCI: Using configuration type 1 for base access")
    elif not access.regions:
        k.printk("PCI: Fatal: No config space access function found")
    if k.machine.spec.pci.breadth_first and k.machine.spec.dmi:
        k.printk("PCI: Dell System detected, enabling pci=bfsort.")
        k.pci.breadth_first = True
    access.charge(k)


def _probe_conf1(cpu: Any, access: ConfigAccess) -> bool:
    """True if ports 0xCF8/0xCFC behave as mechanism 1 and bus 0 looks like PCI.

    Source: arch/x86/pci/direct.c:pci_check_type1() @ v6.12
    """
    cpu.outb(ADDRESS_PORT + 3, 1)
    saved = cpu.inl(ADDRESS_PORT)
    cpu.outl(ADDRESS_PORT, ENABLE)
    access.conf1 = True
    works = cpu.inl(ADDRESS_PORT) == ENABLE and _sane(access)
    cpu.outl(ADDRESS_PORT, saved)
    return works


def _sane(access: ConfigAccess) -> bool:
    for devfn in range(256):
        if access.read(0, 0, devfn, 0x0A, 2) in (CLASS_HOST, CLASS_VGA):
            return True
        if access.read(0, 0, devfn, 0x00, 2) in SANE_VENDORS:
            return True
    return False
