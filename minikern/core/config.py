"""Kconfig values of one boot, and the options there are: those that some room asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from hw.errors import InputError
from hw.spelling import check_names

ConfigValue = bool | int | str
OPTIONS: Final[Mapping[str, type[bool] | type[int] | type[str]]] = {
    "CONFIG_ACPI_PCI_SLOT": bool,
    "CONFIG_AMD_IOMMU_V2": bool,
    "CONFIG_BLK_DEV_RAM": bool,
    "CONFIG_CMA": bool,
    "CONFIG_CONSOLE_LOGLEVEL_DEFAULT": int,
    "CONFIG_CONTIG_ALLOC": bool,
    "CONFIG_CPUMASK_OFFSTACK": bool,
    "CONFIG_CRASH_HOTPLUG": bool,
    "CONFIG_CRASH_MAX_MEMORY_RANGES": int,
    "CONFIG_DEFERRED_STRUCT_PAGE_INIT": bool,
    "CONFIG_DMA_CMA": bool,
    "CONFIG_HAVE_BOOTMEM_INFO_NODE": bool,
    "CONFIG_HIBERNATION": bool,
    "CONFIG_HOTPLUG_PCI_ACPI": bool,
    "CONFIG_HOTPLUG_PCI_PCIE": bool,
    "CONFIG_HOTPLUG_PCI_SHPC": bool,
    "CONFIG_PCI_REALLOC_ENABLE_AUTO": bool,
    "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP": bool,
    "CONFIG_HUGETLB_PAGE_OPTIMIZE_VMEMMAP_DEFAULT_ON": bool,
    "CONFIG_HZ": int,
    "CONFIG_IMA_KEXEC": bool,
    "CONFIG_INIT_ON_ALLOC_DEFAULT_ON": bool,
    "CONFIG_INIT_ON_FREE_DEFAULT_ON": bool,
    "CONFIG_INIT_STACK_ALL_ZERO": bool,
    "CONFIG_INTEL_IOMMU_DEFAULT_ON": bool,
    "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF": bool,
    "CONFIG_IOMMU_API": bool,
    "CONFIG_IOMMU_DEFAULT_DMA_STRICT": bool,
    "CONFIG_IOMMU_DEFAULT_PASSTHROUGH": bool,
    "CONFIG_IRQ_REMAP": bool,
    "CONFIG_KEXEC_HANDOVER": bool,
    "CONFIG_KFENCE_NUM_OBJECTS": int,
    "CONFIG_KPROBES": bool,
    "CONFIG_LIVEUPDATE": bool,
    "CONFIG_LOG_BUF_SHIFT": int,
    "CONFIG_LOG_CPU_MAX_BUF_SHIFT": int,
    "CONFIG_LRU_GEN": bool,
    "CONFIG_MODULES": bool,
    "CONFIG_MPTCP": bool,
    "CONFIG_NET": bool,
    "CONFIG_NODES_SHIFT": int,
    "CONFIG_NR_CPUS": int,
    "CONFIG_NUMA": bool,
    "CONFIG_NUMA_BALANCING": bool,
    "CONFIG_PAGE_EXTENSION": bool,
    "CONFIG_PAGE_OWNER": bool,
    "CONFIG_PCIEAER": bool,
    "CONFIG_PCIEPORTBUS": bool,
    "CONFIG_PCIE_DPC": bool,
    "CONFIG_PCIE_EDR": bool,
    "CONFIG_PREEMPT_DYNAMIC": str,
    "CONFIG_PRINTK_CALLER": bool,
    "CONFIG_QUOTA": bool,
    "CONFIG_RANDOM_TRUST_CPU": bool,
    "CONFIG_RCU_FANOUT_LEAF": int,
    "CONFIG_SUSPEND": bool,
    "CONFIG_TASKS_RCU": bool,
    "CONFIG_TASKS_RUDE_RCU": bool,
    "CONFIG_TASKS_TRACE_RCU": bool,
    "CONFIG_VMD": bool,
    "CONFIG_X86_5LEVEL": bool,
    "CONFIG_ZONE_DEVICE": bool,
    "CONFIG_ZONE_DMA": bool,
    "CONFIG_ZONE_DMA32": bool,
}


class Config(Mapping[str, ConfigValue]):
    """Kconfig values of one boot, by their ``CONFIG_*`` names."""

    def __init__(self, values: Mapping[str, ConfigValue]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> ConfigValue:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def enabled(self, name: str) -> bool:
        """True if the option is set to y (absent options are not set)."""
        return self._values.get(name, False) is True

    def number(self, name: str) -> int:
        """Value of a numeric option; KeyError or TypeError name the option if it is absent or not a number."""
        value = self._values[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}, not a number")
        return value


def check_config(where: str, values: Mapping[str, ConfigValue]) -> None:
    """InputError for an option that no room asks for, or a value of another kind than it has."""
    check_names(where, "option of this kernel", values, OPTIONS)
    for name, value in values.items():
        if type(value) is not OPTIONS[name]:
            kind = {bool: "true or false", int: "a number", str: "a text"}[OPTIONS[name]]
            raise InputError(f"{where}: {name}: expected {kind}, got {value!r:.40}")
