"""The ECAM windows of the MCFG table, and whether firmware keeps other uses away from them.

Source: arch/x86/pci/mmconfig-shared.c @ v6.1, v6.12; PCI Firmware specification 3.3, clause 4.1.2
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from minikern.acpi.device_walk import get_devices
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.resources import windows
from minikern.state.pci import EcamRegion
from minikern.state.pci_options import Probe

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

E820_RESERVED = 2
MIN_WINDOW = 16 << 20  # what a window may shrink to: 16 buses
LAST_YEAR_OF_OLD_FIRMWARE = 2015  # only such firmware is checked against the memory map
MOTHERBOARD_IDS = ("PNP0C01", "PNP0C02")
_BIOS_DATE = re.compile(r"^DMI: .*, BIOS .*\b\d{1,2}/\d{1,2}/(\d{4})$")

Check = Callable[[int, int], bool]


def pci_mmcfg_init(k: Kernel, conf1: bool, early: bool) -> list[EcamRegion]:
    """The ECAM windows in use: all of the table, or none when one is not reserved. Sets ``k.pci.ecam``.

    ``early``: before the ACPI interpreter runs, when only the memory map can be asked.
    Source: arch/x86/pci/mmconfig-shared.c:pci_mmcfg_early_init(), __pci_mmcfg_init() @ v6.12
    """
    regions = [EcamRegion(*entry) for entry in ([] if k.acpi is None else k.acpi.mcfg)]
    regions = [region for region in regions if region.base and region.end_bus >= region.start_bus]
    ecam = _ecam_words(k)
    for region in regions:
        k.printk(_region_line(region, ecam))
    for region in regions:
        window = _window(region)
        if not _reserved(k, region, conf1, early):
            k.printk(f"PCI: not using ECAM ({window} not reserved)" if ecam else "PCI: not using MMCONFIG")
            regions = []
            break
    k.pci.ecam = regions
    return regions


def pci_mmcfg_late_init(k: Kernel) -> None:
    """Try again with the motherboard resources of the namespace if the early check took no window.

    Source: arch/x86/pci/mmconfig-shared.c:pci_mmcfg_late_init() @ v6.12
    """
    access = k.pci.access
    if access is None or access.regions or k.acpi.disabled or not k.pci.options.probe & Probe.MMCONF:
        return
    access.regions = pci_mmcfg_init(k, access.conf1, early=False)


def bios_year(k: Kernel) -> int:
    """Year of the firmware's date, 0 if nothing tells it. Source: drivers/firmware/dmi_scan.c:dmi_get_bios_year()"""
    found = (_BIOS_DATE.match(line) for line in k.machine.spec.dmi)
    return next((int(match[1]) for match in found if match), 0)


def _ecam_words(k: Kernel) -> bool:
    return k.behaviour.pci_ecam_lines == "ecam"


def _reserved(k: Kernel, region: EcamRegion, conf1: bool, early: bool) -> bool:
    """Source: arch/x86/pci/mmconfig-shared.c:pci_mmcfg_reserved() @ v6.12"""
    ecam = _ecam_words(k)
    if early:
        if not conf1 or (k.behaviour.pci_ecam_trusted and bios_year(k) > LAST_YEAR_OF_OLD_FIRMWARE):
            return True
        how = "reserved as E820 entry" if ecam else "reserved in E820"
        return _check(k, region, lambda start, end: _e820_reserved(k, start, end), how)
    how = "reserved as ACPI motherboard resource" if ecam else "reserved in ACPI motherboard resources"
    if _check(k, region, lambda start, end: _acpi_reserved(k, start, end), how):
        return True
    text = f"{'ECAM' if ecam else 'MMCONFIG at'} {_window(region)} not reserved in ACPI motherboard resources"
    k.printk(f"PCI: [Firmware Info]: {text}" if ecam else f"[Firmware Info]: PCI: {text}")
    return False


def _check(k: Kernel, region: EcamRegion, reserved: Check, how: str) -> bool:
    """True, with its line, if the window or a half, quarter and so on at its start is reserved: it shrinks to that.

    Source: arch/x86/pci/mmconfig-shared.c:is_mmconf_reserved() @ v6.12
    """
    whole = size = region.end - region.start + 1
    while not reserved(region.start, region.start + size):
        size >>= 1
        if size < MIN_WINDOW:
            return False
    ecam = _ecam_words(k)
    k.printk(f"PCI: {'ECAM' if ecam else 'MMCONFIG at'} {_window(region)} {how}")
    if size != whole:
        region.end_bus = region.start_bus + (size >> 20) - 1
        buses = f"{region.segment:04x} [bus{region.start_bus:02x}-{region.end_bus:02x}]"
        window, base = _window(region), f"(base {region.base:#x})"
        text = f"ECAM {window} {base} for {buses}" if ecam else f"MMCONFIG for {buses} at {window} {base}"
        k.printk(f"PCI: {text} (size reduced!)")
    return True


def _region_line(region: EcamRegion, ecam: bool) -> str:
    buses = f"domain {region.segment:04x} [bus {region.start_bus:02x}-{region.end_bus:02x}]"
    if ecam:
        return f"PCI: ECAM {_window(region)} (base {region.base:#x}) for {buses}"
    return f"PCI: MMCONFIG for {buses} at {_window(region)} (base {region.base:#x})"


def _window(region: EcamRegion) -> str:
    return f"[mem {region.start:#010x}-{region.end:#010x}]"


def _e820_reserved(k: Kernel, start: int, end: int) -> bool:
    """True if every byte of [start, end) is of type reserved in the memory map."""
    for entry in sorted(k.e820.table):
        if entry.type == E820_RESERVED and entry.addr <= start < entry.addr + entry.size:
            start = entry.addr + entry.size
    return start >= end


def _acpi_reserved(k: Kernel, start: int, end: int) -> bool:
    """True if one memory range of a present motherboard device holds [start, end)."""
    run = loaded_interpreter(k)
    for node in (node for wanted in MOTHERBOARD_IDS for node in get_devices(run, wanted)):
        template = run.evaluate(node, "_CRS")
        ranges = windows(bytes(template)) if isinstance(template, bytearray) else []
        if any(item.kind == "mem" and item.start <= start and end <= item.end + 1 for item in ranges):
            return True
    return False
