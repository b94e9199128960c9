"""``pci=disable_acs_redir=`` and ``pci=config_acs=``: access control of chosen devices set otherwise.

Source: drivers/pci/pci.c:pci_disable_acs_redir() @ v6.1, __pci_config_acs() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level
from minikern.pci.dev_match import SEPARATORS, NoDeviceError, dev_str_match, list_match
from minikern.pci.device_quirks import DOUBLE_WORD_CTRL, port_rule
from minikern.state.pci import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CTRL = 6
REDIRECTS = 0x04 | 0x08 | 0x20  # requests, completions, egress control
ALL_FLAGS = 0x7F


def apply_command_line(k: Kernel, dev: PciDev, firmware: int) -> None:
    """Do to one device what the words say of it, with the lines, whether or not there is an IOMMU.

    ``firmware`` is the control register as it was before the kernel wrote to it.
    """
    options = k.pci.options
    if options.disable_acs_redir and _named(k, dev, options.disable_acs_redir):
        _disable_redirect(k, dev)
    if options.config_acs and dev.acs_cap:
        _configure(k, dev, options.config_acs, firmware)


def _named(k: Kernel, dev: PciDev, text: str) -> bool:
    try:
        return list_match(dev, text)
    except NoDeviceError:
        word = "ACS command line" if k.behaviour.pci_config_acs else "disable_acs_redir"
        tail = "" if k.behaviour.pci_config_acs else f": {text}"
        _once(k, f"PCI: Can't parse {word} parameter{tail}")
        return False


def _once(k: Kernel, text: str) -> None:
    if text not in k.pci.said:
        k.pci.said.add(text)
        k.printk(text)


def _disable_redirect(k: Kernel, dev: PciDev) -> None:
    """Let peers reach the device directly. Source: drivers/pci/pci.c:pci_disable_acs_redir() @ v6.1"""
    if dev.acs_cap and port_rule(dev, "pch-double-words"):
        control = dev.read(dev.acs_cap + DOUBLE_WORD_CTRL, 4)
        dev.write(dev.acs_cap + DOUBLE_WORD_CTRL, 4, control & ~REDIRECTS)
        k.printk(f"pci {dev.name}: Intel SPT PCH root port workaround: disabled ACS redirect")
    elif dev.acs_cap:
        control = dev.read(dev.acs_cap + CTRL, 2) & ~REDIRECTS
        dev.write(dev.acs_cap + CTRL, 2, control)
        told = f"Configured ACS to {control:#06x}" if k.behaviour.pci_config_acs else "disabled ACS redirect"
        k.printk(f"pci {dev.name}: {told}")
    elif not k.behaviour.pci_config_acs:
        text = "cannot disable ACS redirect for this hardware as it does not have ACS capabilities"
        k.printk(f"pci {dev.name}: {text}", Level.WARNING)


def _configure(k: Kernel, dev: PciDev, text: str, firmware: int) -> None:
    """Set single flags. ``text`` is ``<flags>@<device>;...``, a flag ``0``, ``1`` or ``x``, the last one bit 0.

    Source: drivers/pci/pci.c:__pci_config_acs() @ v6.14
    """
    while text:
        flags, at, rest = text.partition("@")
        if not at:
            k.printk(f"pci {dev.name}: ACS Flags missing", Level.ERR)
            return
        if set(flags) - set("01xX"):
            k.printk(f"pci {dev.name}: Invalid ACS flags... Ignoring", Level.ERR)
            return
        mask = sum(1 << bit for bit, flag in enumerate(reversed(flags)) if flag in "01")
        wanted = sum(1 << bit for bit, flag in enumerate(reversed(flags)) if flag == "1")
        if mask & ~ALL_FLAGS:
            k.printk(f"pci {dev.name}: Invalid ACS flags specified", Level.ERR)
            return
        try:
            found, text = dev_str_match(dev, rest)
        except NoDeviceError:
            _once(k, "PCI: Can't parse ACS command line parameter")
            return
        if found:
            control = firmware & ~mask | wanted
            dev.write(dev.acs_cap + CTRL, 2, control)
            k.printk(f"pci {dev.name}: Configured ACS to {control:#06x}")
            return
        if not text or text[0] not in SEPARATORS:
            return
        text = text[1:]
