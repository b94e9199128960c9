"""IOMMU groups: the smallest sets of devices that an IOMMU can keep apart.

Source: drivers/iommu/iommu.c, drivers/iommu/intel/iommu.c, drivers/pci/{pci,search,quirks}.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, early_param, needs_bool
from minikern.core.printk import Level
from minikern.pci.acs import pci_acs_enabled
from minikern.pci.amd_iommu import amd_iommu_enabled, amd_iommu_init
from minikern.pci.dma_alias import are_aliases
from minikern.pci.dmar import (
    ATSR,
    CAP_CACHING_MODE,
    ECAP_QI,
    ECAP_SMTS,
    RMRR,
    SATC,
    dmar_set_interrupts,
    dmar_table_init,
    intel_iommu_enabled,
)
from minikern.state.dmar import DmarState, RemappingUnit
from minikern.state.pci import TYPE_PCI_BRIDGE, TYPE_PCIE_BRIDGE, PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

GLOBAL_COMMAND, GLOBAL_STATUS, ROOT_TABLE = 0x18, 0x1C, 0x20
QI_ENABLE, ROOT_POINTER, TRANSLATION = 1 << 26, 1 << 30, 1 << 31


def iommu_subsys_init(k: Kernel) -> None:
    """Choose the default domain and say so. Source: drivers/iommu/iommu.c:iommu_subsys_init() @ v6.12"""
    if not k.config.get("CONFIG_IOMMU_API", True):
        return
    words = k.cmdline.words("iommu")
    forced = "pt" in words or "nopt" in words or k.cmdline.get("iommu.passthrough") is not None
    passthrough = k.config.enabled("CONFIG_IOMMU_DEFAULT_PASSTHROUGH")
    if "pt" in words or "nopt" in words:
        passthrough = [word for word in words if word in ("pt", "nopt")][-1] == "pt"
    passthrough = k.cmdline.get_bool("iommu.passthrough", passthrough)
    k.pci.passthrough = passthrough
    blank = " " if k.behaviour.iommu_line_suffix_space else ""
    by_user = " (set via kernel command line)"
    domain = "Passthrough" if passthrough else "Translated"
    k.printk(f"iommu: Default domain type: {domain}{by_user if forced else blank}")
    if passthrough:
        return
    strict = k.config.enabled("CONFIG_IOMMU_DEFAULT_DMA_STRICT")
    chosen = k.cmdline.get("iommu.strict") is not None
    strict = k.cmdline.get_bool("iommu.strict", strict) or _strict_words(k)
    mode = "strict" if strict else "lazy"
    k.printk(f"iommu: DMA domain TLB invalidation policy: {mode} mode{by_user if chosen else blank}")


def _strict_words(k: Kernel) -> bool:
    return "strict" in k.cmdline.words("intel_iommu") or "fullflush" in k.cmdline.words("amd_iommu")


def pci_iommu_init(k: Kernel) -> None:
    """Turn the remapping units on and sort every device into a group.

    Source: drivers/iommu/intel/iommu.c:intel_iommu_init() @ v6.12; drivers/iommu/amd/init.c:amd_iommu_init() @ v6.12
    """
    if amd_iommu_enabled(k):
        amd_iommu_init(k, Groups(k))
        return
    if k.pci.access is None or not intel_iommu_enabled(k):
        return
    state = dmar_table_init(k)
    if state is None or not state.units:
        return
    for kind, name in ((RMRR, "RMRR"), (ATSR, "ATSR"), (SATC, "SATC")):
        if kind not in state.found:
            k.printk(f"DMAR: No {name} found")
    _choose_units(k, state)
    for unit in state.units:
        if not unit.ignored:
            _init_unit(k, unit)
    dmar_set_interrupts(k, state)
    for unit in state.units if k.behaviour.dmar_scalable_line else ():
        # Only a guest asks its host for PASIDs. Source: iommu.c:register_pasid_allocator() @ v6.1
        if unit.cap & CAP_CACHING_MODE and not unit.ecap & ECAP_SMTS:
            k.printk("DMAR: VT-d Scalable Mode not enabled, no PASID allocation", Level.WARNING)
    if any(unit.cap & CAP_CACHING_MODE for unit in state.units):
        k.printk("DMAR: IOMMU batching disallowed due to virtualization")
    groups = Groups(k)
    if not k.behaviour.iommu_probe_by_unit:  # the bus is walked once, when all units are known
        for unit in state.units:
            unit.registered = True
    for unit in state.units:
        if not unit.ignored:
            _register(k, state, unit, groups)
    k.pci.access.charge(k)
    k.printk("DMAR: Intel(R) Virtualization Technology for Directed I/O")


def _choose_units(k: Kernel, state: DmarState) -> None:
    # One default leaves graphics alone, and so does a word. Source: intel/iommu.c:intel_iommu_setup() @ v6.12
    off = k.config.enabled("CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF")
    if off or "igfx_off" in k.cmdline.words("intel_iommu"):
        k.pci.map_graphics = False
    for unit in state.units:
        unit.resolve(k.pci)
        unit.mark_ignored(k.pci)


def _init_unit(k: Kernel, unit: RemappingUnit) -> None:
    cpu = k.machine.boot_cpu
    if unit.ecap & ECAP_QI:
        cpu.write(unit.base + GLOBAL_COMMAND, 4, QI_ENABLE)
        k.printk(f"DMAR: dmar{unit.index}: Using Queued invalidation")
    else:
        k.printk(f"DMAR: dmar{unit.index}: Using Register based invalidation")
    status = cpu.read(unit.base + GLOBAL_STATUS, 4)
    cpu.write(unit.base + GLOBAL_COMMAND, 4, status | ROOT_POINTER)
    status = cpu.read(unit.base + GLOBAL_STATUS, 4)
    cpu.write(unit.base + GLOBAL_COMMAND, 4, status & ~ROOT_POINTER | TRANSLATION)


def _register(k: Kernel, state: DmarState, unit: RemappingUnit, groups: Groups) -> None:
    """A unit becomes known: the bus is walked for devices that now have one. Source: iommu.c:bus_iommu_probe()"""
    unit.registered = True
    for dev in k.pci.devices:
        if dev.iommu_group is not None:
            continue
        covering = next((other for other in state.units if other.covers(dev)), None)
        if covering is None or not covering.registered or covering.ignored:
            continue
        dev.iommu_group = groups.device_group(dev)
        k.charge("iommu_group_add")
        k.printk(f"pci {dev.name}: Adding to iommu group {dev.iommu_group}")
    k.pci.groups = groups.count


class Groups:
    """Numbers groups and finds the one a device must share.

    Isolation of a device is asked of its registers once and remembered, as they do not change while groups form.
    """

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.count = 0
        self._isolated: dict[PciDev, bool] = {}
        self._slots: dict[tuple[int, int, int], list[PciDev]] = {}
        for dev in k.pci.devices:
            self._slots.setdefault((dev.bus.segment, dev.bus.number, dev.devfn >> 3), []).append(dev)

    def device_group(self, dev: PciDev) -> int:
        """The group a device belongs to, a new one if it shares with nobody. Source: iommu.c:pci_device_group()"""
        owner = dev
        for alias in _dma_aliases(dev):
            if alias.iommu_group is not None:
                return alias.iommu_group
            owner = alias
        while owner.bus.self_dev is not None:
            bridge = owner.bus.self_dev
            if self._path_isolated(bridge):
                break
            owner = bridge
            if owner.iommu_group is not None:
                return owner.iommu_group
        seen: set[int] = set()
        shared = self._alias_group(owner, seen)
        if shared is None:
            shared = self._function_group(owner, seen)
        if shared is not None:
            return shared
        self.count += 1
        return self.count - 1

    def _alias_group(self, dev: PciDev, seen: set[int]) -> int | None:
        """The group of the device or of one it shares a requester id with; ``seen`` holds the devfns looked at.

        Source: drivers/iommu/iommu.c:get_pci_alias_group() @ v6.12
        """
        if dev.devfn in seen:
            return None
        seen.add(dev.devfn)
        if dev.iommu_group is not None:
            return dev.iommu_group
        for other in dev.bus.devices:
            if other is dev or not are_aliases(dev, other):
                continue
            group = self._alias_group(other, seen)
            if group is None:
                group = self._function_group(other, seen)
            if group is not None:
                return group
        return None

    def _function_group(self, dev: PciDev, seen: set[int]) -> int | None:
        """Source: drivers/iommu/iommu.c:get_pci_function_alias_group() @ v6.12"""
        if not dev.multifunction or self.isolated(dev):
            return None
        for other in self._slots[dev.bus.segment, dev.bus.number, dev.devfn >> 3]:
            if other is dev or self.isolated(other):
                continue
            group = self._alias_group(other, seen)
            if group is not None:
                return group
        return None

    def _path_isolated(self, dev: PciDev) -> bool:
        """True if everything from here to the root keeps peers apart. Source: pci.c:pci_acs_path_enabled()"""
        here: PciDev | None = dev
        while here is not None:
            if not self.isolated(here):
                return False
            here = here.bus.self_dev
        return True

    def isolated(self, dev: PciDev) -> bool:
        """True if the device can not reach its peers past the IOMMU."""
        if dev not in self._isolated:
            self._isolated[dev] = pci_acs_enabled(self.k, dev)
        return self._isolated[dev]


def _dma_aliases(dev: PciDev) -> Iterator[PciDev]:
    """The device, then each bridge that puts its own requester id on the device's requests.

    Source: drivers/pci/search.c:pci_for_each_dma_alias() @ v6.12
    """
    yield dev
    bridge = dev.bus.self_dev
    while bridge is not None:
        if not bridge.is_pcie or bridge.pcie_type in (TYPE_PCI_BRIDGE, TYPE_PCIE_BRIDGE):
            yield bridge
        bridge = bridge.bus.self_dev


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("iommu.passthrough", needs_bool, read_by=iommu_subsys_init),
    early_param("iommu.strict", needs_bool, read_by=iommu_subsys_init),
)
