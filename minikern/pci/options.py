"""``pci=``: what the command line says of the bus, word by word.

Source: drivers/pci/pci.c:pci_setup(), arch/x86/pci/common.c:pcibios_setup() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import memparse, strtoull
from minikern.core.moduleparam import Parameter, Words, early_param, setup_param
from minikern.core.printk import Level
from minikern.state.pci_options import BusConfig, PciOptions, PortServices, Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


SETS = {
    "assign-busses": Probe.ASSIGN_ALL_BUSSES,
    "nocrs": Probe.ROOT_NO_CRS,
    "use_e820": Probe.USE_E820,
    "no_e820": Probe.NO_E820,
    "rom": Probe.ASSIGN_ROMS,
    "norom": Probe.NOASSIGN_ROMS,
    "nobar": Probe.NOASSIGN_BARS,
}
HOTPLUG_SIZES = {
    "hpiosize=": ("hotplug_io",),
    "hpmmiosize=": ("hotplug_mem",),
    "hpmmioprefsize=": ("hotplug_pref",),
    "cbiosize=": ("cardbus_io",),
    "cbmemsize=": ("cardbus_mem",),
    "hpmemsize=": ("hotplug_mem", "hotplug_pref"),
}
TEXTS = {
    "resource_alignment=": "resource_alignment",
    "disable_acs_redir=": "disable_acs_redir",
    "config_acs=": "config_acs",
}
BUS_CONFIGS: dict[str, BusConfig] = {
    "pcie_bus_tune_off": "tune_off",
    "pcie_bus_safe": "safe",
    "pcie_bus_perf": "perf",
    "pcie_bus_peer2peer": "peer2peer",
}
MAX_HOTPLUG_BUSES = 0xFF
PCI_WORDS = Words(
    ("off", "conf1", "nommconf", "noacpi", "lastbus=*", *SETS, "bfsort", "nobfsort", "nomsi", "noats*", "noari*",
     "noaer", "earlydump", "realloc*", "pcie_scan_all*", "hpbussize=*", "probe_only=*",
     *(f"{name}*" for name in (*HOTPLUG_SIZES, *TEXTS, *BUS_CONFIGS))),
    ("conf2", "check_enable_amd_mmconf", "noearly", "usepirqmask", "irqmask=*", "use_crs", "big_root_window",
     "routeirq", "skip_isa_align", "noioapicquirk", "ioapicreroute", "noioapicreroute", "nodomains", "ecrc=*",
     "notph"),
)  # fmt: skip
PORT_WORDS: dict[str, PortServices] = {"compat": "compat", "native": "native", "dpc-native": "dpc-native"}


def pci_setup(k: Kernel, value: str | None) -> bool:
    """Act on the words of one ``pci=``, in their order. Source: drivers/pci/pci.c:pci_setup() @ v6.12"""
    for word in PCI_WORDS.split(value or ""):
        if not PCI_WORDS.knows(word) or (word.startswith("config_acs=") and not k.behaviour.pci_config_acs):
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
    elif word == "noaer":
        options.aer = False
    elif word == "earlydump":
        options.early_dump = True
    elif word.startswith("realloc"):
        _realloc(options, word)
    elif word.startswith("noari"):
        options.ari = False
    elif word.startswith("pcie_scan_all"):
        options.scan_all = True
    elif word.startswith("probe_only="):
        options.probe_only.append(word.removeprefix("probe_only="))
    elif word.startswith("hpbussize="):
        buses = strtoull(word.removeprefix("hpbussize="))[0]
        options.hotplug_buses = buses if buses <= MAX_HOTPLUG_BUSES else PciOptions.hotplug_buses
    else:
        _value_word(options, word)


def _realloc(options: PciOptions, word: str) -> None:
    """Source: drivers/pci/setup-bus.c:pci_realloc_get_opt() @ v6.12"""
    value = word.removeprefix("realloc=") if word.startswith("realloc=") else "on"
    if value.startswith("off"):
        options.realloc = False
    elif value.startswith("on"):
        options.realloc = True


def _value_word(options: PciOptions, word: str) -> None:
    for name, fields in HOTPLUG_SIZES.items():
        for attribute in fields if word.startswith(name) else ():
            setattr(options, attribute, memparse(word.removeprefix(name))[0])
    for name, attribute in TEXTS.items():
        if word.startswith(name):
            setattr(options, attribute, word.removeprefix(name))
    for name, config in BUS_CONFIGS.items():
        if word.startswith(name):
            options.bus_config = config


def pcie_port_setup(k: Kernel, text: str) -> bool:
    """``pcie_ports=``. Source: drivers/pci/pcie/portdrv.c:pcie_port_setup() @ v6.12"""
    for name, services in PORT_WORDS.items():
        if text.startswith(name):
            k.pci.options.ports = services
            break
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("pci", pci_setup, words=PCI_WORDS),
    setup_param("pcie_ports=", pcie_port_setup, words=Words(tuple(f"{name}*" for name in PORT_WORDS), (), "")),
)
