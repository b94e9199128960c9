"""Devices that do not say all about themselves: the few quirks that show in a boot log.

Source: drivers/pci/quirks.c, arch/x86/pci/fixup.c, drivers/pci/probe.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.bars import COMMAND
from minikern.pci.enable import pci_disable_device, pci_enable_device
from minikern.state.pci import (
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_PCI_FIXED,
    IORESOURCE_ROM_SHADOW,
    ROM,
    PciDev,
    Resource,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

INTEL, NETLOGIC = 0x8086, 0x184E
USB_CONTROLLERS = {0x0C0300, 0x0C0310, 0x0C0320, 0x0C0330}  # UHCI, OHCI, EHCI, xHCI
CLASS_IDE, CLASS_VGA = 0x0101, 0x0300
IDE_PORTS = ((0, 0x1F0, 0x1F7), (1, 0x3F6, 0x3F6), (2, 0x170, 0x177), (3, 0x376, 0x376))
VGA_SHADOW = (0xC0000, 0xDFFFF)

ICH4_LPC = {0x2410, 0x2420, 0x2440, 0x244C, 0x2480, 0x248C, 0x24C0, 0x24CC, 0x24D0, 0x25A1}
ICH6_LPC = {0x2640, 0x2641, 0x2642}
ICH7_LPC = {0x27B0, 0x27B8, 0x27B9, 0x27BD, 0x2670, 0x2810, 0x2811, 0x2812, 0x2814, 0x2815,
            0x2912, 0x2914, 0x2916, 0x2917, 0x2918, 0x2919, 0x3A14, 0x3A16, 0x3A18, 0x3A1A}
GENERIC_DECODES = (0x84, 0x88, 0x8C, 0x90)
NATOMA, PIIX3, PIIX3_CONTROL, PASSIVE_RELEASE = 0x1237, 0x7000, 0x82, 0x02
PIIX4_ACPI = 0x7113
UNTRANSLATED_GRAPHICS = {0x2A40, 0x2E00, 0x2E10, 0x2E20, 0x2E30, 0x2E40, 0x2E90} | {
    0x1600 | level << 4 | low for level in range(4) for low in (0x2, 0x6, 0xA, 0xB, 0xD, 0xE)
}
"""Graphics that fail under an IOMMU: G4x, GM45, Broadwell. Source: intel/iommu.c:quirk_iommu_igfx() @ v6.12"""


def legacy_ide(k: Kernel, dev: PciDev) -> None:
    """An IDE controller in compatibility mode uses the ISA ports whatever its BARs say."""
    if dev.class_code >> 8 != CLASS_IDE:
        return
    interface = dev.read(0x09, 1)
    for slot, start, end in IDE_PORTS:
        if interface & (1 if slot < 2 else 4):
            continue
        dev.resources[slot] = Resource(start, end, IORESOURCE_IO)
        if k.behaviour.pci_reg_lines == "bar":
            k.printk(f"pci {dev.name}: BAR {slot} {dev.resources[slot]}: legacy IDE quirk")
        else:
            k.printk(f"pci {dev.name}: legacy IDE quirk: reg {0x10 + 4 * slot:#x}: {dev.resources[slot]}")


def fixup_header(k: Kernel, dev: PciDev) -> None:
    """Claim port ranges that chipset functions decode without a BAR; note a boot display's shadowed ROM."""
    if dev.vendor == INTEL and dev.device == PIIX4_ACPI:
        _io_region(k, dev, 0x40, 64, "PIIX4 ACPI")
        _io_region(k, dev, 0x90, 16, "PIIX4 SMB")
    elif dev.vendor == INTEL and dev.device in ICH4_LPC:
        _lpc(k, dev, 0x58, "ICH4")
    elif dev.vendor == INTEL and dev.device in ICH6_LPC | ICH7_LPC:
        _lpc(k, dev, 0x48, "ICH6")
        for number, register in enumerate(GENERIC_DECODES if dev.device in ICH7_LPC else (), 1):
            _generic_decode(k, dev, number, register)
    if dev.vendor == INTEL and dev.device in UNTRANSLATED_GRAPHICS:
        k.printk(f"pci {dev.name}: DMAR: Disabling IOMMU for graphics on this chipset")
        k.pci.map_graphics = False
    if dev.class_code >> 8 == CLASS_VGA:
        _shadowed_rom(k, dev)


def _lpc(k: Kernel, dev: PciDev, gpio: int, name: str) -> None:
    if dev.read(0x44, 1) & (0x80 if name == "ICH6" else 0x10):
        _io_region(k, dev, 0x40, 128, f"{name} ACPI/GPIO/TCO")
    if dev.read(gpio + 4, 1) & 0x10:
        _io_region(k, dev, gpio, 64, f"{name} GPIO")


def _generic_decode(k: Kernel, dev: PciDev, number: int, register: int) -> None:
    """Ports that go to the LPC bus. Source: drivers/pci/quirks.c:ich7_lpc_generic_decode() @ v6.12"""
    value = dev.read(register, 4)
    if value & 1:
        base, mask = value & 0xFFFC, value >> 16 & 0xFC | 3
        k.printk(f"pci {dev.name}: ICH7 LPC Generic IO decode {number} PIO at {base:04x} (mask {mask:04x})")


def _io_region(k: Kernel, dev: PciDev, register: int, size: int, name: str) -> None:
    base = dev.read(register, 2) & ~(size - 1) & 0xFFFF
    if base:
        k.printk(f"pci {dev.name}: quirk: {Resource(base, base + size - 1, IORESOURCE_IO)} claimed by {name}")


def _shadowed_rom(k: Kernel, dev: PciDev) -> None:
    """The display the firmware used has its ROM copied to 0xC0000. Source: arch/x86/pci/fixup.c:pci_fixup_video()"""
    bus = dev.bus
    while bus.self_dev is not None:
        bridge = bus.self_dev
        if bridge.is_bridge and not bridge.read(0x3E, 2) & 0x08:  # VGA not routed below this bridge
            return
        bus = bridge.bus
    if dev.read(COMMAND, 2) & 3:
        shadow = Resource(*VGA_SHADOW, IORESOURCE_MEM | IORESOURCE_ROM_SHADOW | IORESOURCE_PCI_FIXED)
        dev.resources[ROM] = shadow  # the ROM itself is not looked at again
        k.printk(f"pci {dev.name}: Video device with shadowed ROM at {shadow}")


def fixup_final(k: Kernel, dev: PciDev) -> None:
    """What the 440FX host bridge and its ISA bridge need. Take USB from the firmware.

    Source: drivers/pci/quirks.c:quirk_passive_release(), quirk_natoma() @ v6.12
    """
    if dev.class_code in USB_CONTROLLERS and dev.vendor != NETLOGIC:
        quirk_usb_early_handoff(k, dev)
    if dev.vendor != INTEL or dev.device != NATOMA:
        return
    for bridge in k.pci.devices:
        if (bridge.vendor, bridge.device) == (INTEL, PIIX3) and not bridge.read(PIIX3_CONTROL, 1) & PASSIVE_RELEASE:
            k.printk(f"pci {bridge.name}: PIIX3: Enabling Passive Release")
            bridge.write(PIIX3_CONTROL, 1, bridge.read(PIIX3_CONTROL, 1) | PASSIVE_RELEASE)
    k.printk(f"pci {dev.name}: Limiting direct PCI/PCI transfers")


def quirk_usb_early_handoff(k: Kernel, dev: PciDev) -> None:
    """Take USB controllers from the firmware, long before their drivers are there.

    Source: drivers/usb/host/pci-quirks.c:quirk_usb_early_handoff() @ v6.12
    """
    if pci_enable_device(k, dev):
        pci_disable_device(k, dev)
    else:
        k.printk(f"pci {dev.name}: Can't enable PCI device, BIOS handoff failed.", Level.ERR)


def vga_arb_init(k: Kernel) -> None:
    """List the displays; the first that decodes is the boot display. Source: drivers/pci/vgaarb.c @ v6.12"""
    boot_known = False
    for dev in k.pci.devices:
        if dev.class_code >> 8 != CLASS_VGA:
            continue
        command = dev.read(COMMAND, 2) & 3
        bus, routed = dev.bus, True
        while bus.self_dev is not None:
            routed = routed and bool(bus.self_dev.read(0x3E, 2) & 0x08)
            bus = bus.self_dev.bus
        owns = _decoded(command) if routed else "none"
        if owns != "none" and not boot_known:
            boot_known = True
            k.printk(f"pci {dev.name}: vgaarb: setting as boot VGA device")
        k.printk(f"pci {dev.name}: vgaarb: bridge control possible")
        k.printk(f"pci {dev.name}: vgaarb: VGA device added: decodes=io+mem,owns={owns},locks=none")
    k.printk("vgaarb: loaded")


def _decoded(command: int) -> str:
    return {0: "none", 1: "io", 2: "mem", 3: "io+mem"}[command]
