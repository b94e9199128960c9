"""``pci=``: what the command line says of the bus, word by word.

Source: drivers/pci/pci.c:pci_setup(), arch/x86/pci/common.c:pcibios_setup() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import strtoull
from minikern.core.moduleparam import Parameter, Words, early_param
from minikern.core.printk import Level
from minikern.state.pci_options import Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


SETS = {
    "assign-busses": Probe.ASSIGN_ALL_BUSSES,
    "nocrs": Probe.ROOT_NO_CRS,
    "use_e820": Probe.USE_E820,
    "no_e820": Probe.NO_E820,
}
PCI_WORDS = Words(
    ("off", "conf1", "nommconf", "noacpi", "lastbus=*", *SETS, "bfsort", "nobfsort", "nomsi", "noats*", "noari*",
     "pcie_scan_all*", "probe_only=*"),
    ("conf2", "check_enable_amd_mmconf", "noearly", "usepirqmask", "irqmask=*", "rom", "norom",
     "nobar", "use_crs", "big_root_window", "routeirq", "skip_isa_align", "noioapicquirk", "ioapicreroute",
     "noioapicreroute", "noaer", "earlydump", "realloc*", "nodomains", "cbiosize=*", "cbmemsize=*",
     "resource_alignment=*", "ecrc=*", "hpiosize=*", "hpmmiosize=*", "hpmmioprefsize=*", "hpmemsize=*", "hpbussize=*",
     "pcie_bus_tune_off*", "pcie_bus_safe*", "pcie_bus_perf*", "pcie_bus_peer2peer*", "disable_acs_redir=*",
     "config_acs=*"),
)  # fmt: skip


def pci_setup(k: Kernel, value: str | None) -> bool:
    """Act on the words of one ``pci=``, in their order. Source: drivers/pci/pci.c:pci_setup() @ v6.12"""
    for word in PCI_WORDS.split(value or ""):
        if not PCI_WORDS.knows(word):
            k.printk(f"PCI: Unknown option `{word}'", Level.ERR)
        elif not pcibios_setup(k, word):
            _pci_word(k, word)
    return True


def pcibios_setup(k: Kernel, word: str) -> bool:
    """Act on a word of the architecture's; False for any other. Source: arch/x86/pci/common.c:pcibios_setup()"""
    options = k.pci.options
    if word == "off":
        options.probe = Probe(0)
    elif word == "conf1":
        options.probe = Probe.CONF1
    elif word == "nommconf":
        options.probe &= ~Probe.MMCONF
    elif word in ("bfsort", "nobfsort"):
        options.bfsort = word == "bfsort"
    elif word == "noacpi":
        k.acpi_options.noirq = True
    elif word.startswith("lastbus="):
        options.last_bus = strtoull(word.removeprefix("lastbus="))[0]
    elif word in SETS:
        options.probe |= SETS[word]
    else:
        return False
    return True


def _pci_word(k: Kernel, word: str) -> None:
    options = k.pci.options
    if word == "nomsi":
        options.msi = False
    elif word.startswith("noats"):
        k.printk("PCIe: ATS is disabled")
        options.ats = False
    elif word.startswith("noari"):
        options.ari = False
    elif word.startswith("pcie_scan_all"):
        options.scan_all = True
    elif word.startswith("probe_only="):
        options.probe_only.append(word.removeprefix("probe_only="))


PARAMETERS: tuple[Parameter[Kernel], ...] = (early_param("pci", pci_setup, words=PCI_WORDS),)
