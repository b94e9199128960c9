"""_OSC of a PCI host bridge: which PCI Express features the kernel may run itself.

Source: drivers/acpi/pci_root.c:negotiate_os_control(), drivers/acpi/bus.c:acpi_run_osc() @ v6.12; PCI Firmware
Specification 3.3, 4.5.1
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, setup_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import PciRoot
    from minikern.state.pci_access import ConfigAccess

UUID = bytes.fromhex("5b4ddb33f71f1c4096577441c03dd766")  # 33DB4D5B-1FF7-401C-9657-7441C03DD766
QUERY, ERRORS = 1, 0x0E
PCIE_HOST = "PNP0A08"

EXT_CONFIG, ASPM, CLOCK_PM, SEGMENTS, MSI, EDR, HPX_TYPE_3 = 0x01, 0x02, 0x04, 0x08, 0x10, 0x80, 0x100
SUPPORT = {
    EXT_CONFIG: "ExtendedConfig",
    ASPM: "ASPM",
    CLOCK_PM: "ClockPM",
    SEGMENTS: "Segments",
    MSI: "MSI",
    EDR: "EDR",
    HPX_TYPE_3: "HPX-Type3",
}
HOTPLUG, PME, AER, PCIE_CAPABILITY, DPC = 0x01, 0x04, 0x08, 0x10, 0x80
CONTROL = {
    HOTPLUG: "PCIeHotplug",
    0x02: "SHPCHotplug",
    PME: "PME",
    AER: "AER",
    PCIE_CAPABILITY: "PCIeCapability",
    0x20: "LTR",
    DPC: "DPC",
}
WANTED = 0x3F
BUILT_IN = {HOTPLUG: "CONFIG_HOTPLUG_PCI_PCIE", 0x02: "CONFIG_HOTPLUG_PCI_SHPC", AER: "CONFIG_PCIEAER"}
REQUIRED = EXT_CONFIG | ASPM | CLOCK_PM | MSI
MAX_ROUNDS = 8  # each round gives up at least one of the bits wanted


def negotiate_os_control(k: Kernel, access: ConfigAccess, root: PciRoot, device: str) -> None:
    """Ask the firmware for control, feature by feature, and log the outcome under the name ``device``."""
    if root.hid != PCIE_HOST and not root.osc and k.behaviour.osc_skipped:
        return  # neither PCI Express nor asked by the firmware; Source: negotiate_os_control() @ v7.2
    support = _support(k, access, root)
    k.printk(f"{device}: _OSC: OS supports [{_names(SUPPORT, support)}]")
    if k.pci.options.ports == "compat":
        k.printk(f"{device}: PCIe port services disabled; not requesting _OSC control")
        return
    if support & REQUIRED != REQUIRED:
        k.printk(f"{device}: _OSC: not requesting OS control; OS requires [{_names(SUPPORT, REQUIRED)}]")
        return
    if not root.osc:
        if root.hid == PCIE_HOST:
            k.printk(f"{device}: _OSC: platform retains control of PCIe features (AE_NOT_FOUND)")
        return
    wanted = _wanted(k) | (DPC if support & EDR else 0)
    for _ in range(MAX_ROUNDS):
        offered = _run_osc(k, root, QUERY, support, wanted)
        if offered is None or offered & wanted == wanted:
            break
        k.printk(f"{device}: _OSC: platform does not support [{_names(CONTROL, wanted & ~offered)}]")
        wanted &= offered
    if not wanted & PCIE_CAPABILITY:
        missing = _names(CONTROL, PCIE_CAPABILITY)
        k.printk(f"{device}: _OSC: not requesting control; platform does not support [{missing}]")
        return
    root.osc_control = _run_osc(k, root, 0, support, wanted)
    if root.osc_control is None:
        k.printk(f"{device}: _OSC: platform retains control of PCIe features (AE_ERROR)")
        return
    k.printk(f"{device}: _OSC: OS now controls [{_names(CONTROL, root.osc_control)}]")
    if k.acpi.fadt is not None and k.acpi.fadt.no_aspm:
        k.printk(f"{device}: FADT indicates ASPM is unsupported, using BIOS configuration")


def pcie_aspm_disable(k: Kernel, text: str) -> bool:
    """``pcie_aspm=``. Source: drivers/pci/pcie/aspm.c:pcie_aspm_disable() @ v6.12"""
    if text == "off":
        k.printk("PCIe ASPM is disabled")
    elif text == "force":
        k.printk("PCIe ASPM is forcibly enabled")
    return True


def _support(k: Kernel, access: ConfigAccess, root: PciRoot) -> int:
    support = ASPM | CLOCK_PM | SEGMENTS | MSI | HPX_TYPE_3
    if access.covers(root.segment, root.bus_start):
        support |= EXT_CONFIG
    if k.config.enabled("CONFIG_PCIE_EDR"):
        support |= EDR
    if "off" in k.cmdline.getall("pcie_aspm"):
        support &= ~(ASPM | CLOCK_PM)
    if not k.pci.options.msi:
        support &= ~MSI
    return support


def _wanted(k: Kernel) -> int:
    # Only what there are drivers for. Source: drivers/acpi/pci_root.c:calculate_control() @ v6.12
    missing = sum(bit for bit, option in BUILT_IN.items() if not k.config.get(option, True))
    return WANTED & ~(missing | (0 if k.pci.options.aer and k.pci.options.msi else AER))


def _run_osc(k: Kernel, root: PciRoot, query: int, support: int, control: int) -> int | None:
    """The control bits the method leaves set, None if it fails or answers with too little."""
    node = k.acpi.namespace.find(root.path) if k.acpi.namespace is not None else None
    if node is None or k.acpi.interpreter is None:
        return None
    request = bytearray(struct.pack("<III", query, support, control))
    answer = k.acpi.interpreter.evaluate(node, "_OSC", args=[bytearray(UUID), 1, 3, request])
    if not isinstance(answer, (bytes, bytearray)) or len(answer) < 12:
        return None
    status, _, granted = struct.unpack_from("<III", answer)
    if status & ERRORS and not query:
        return None
    return int(granted) & control


def _names(table: dict[int, str], bits: int) -> str:
    return " ".join(name for bit, name in table.items() if bits & bit)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("pcie_aspm=", pcie_aspm_disable, read_by=negotiate_os_control, words=Words(("off",), ("force",), "")),
)
