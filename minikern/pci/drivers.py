"""What the drivers of buses and IOMMUs say as they are loaded, where they are built in.

Source: drivers/pci/hotplug/shpchp_core.c:shpcd_init(), drivers/iommu/amd/iommu_v2.c:amd_iommu_v2_init() @ v6.1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.subsystem_lines import IOMMU_V2_ABSENT, SHPCHP
from minikern.pci.amd_iommu import amd_iommu_enabled

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def shpchp_init(k: Kernel) -> None:
    """The driver of slots that are not PCI Express's."""
    if k.config.enabled("CONFIG_HOTPLUG_PCI_SHPC") or SHPCHP in k.release.facts.subsystems:
        k.printk(SHPCHP)


def amd_iommu_v2_init(k: Kernel) -> None:
    """Shared address spaces with AMD's IOMMUs, which are told to be missing where there is no such IOMMU."""
    logged = next((text for text in IOMMU_V2_ABSENT if text in k.release.facts.subsystems), "")
    if not logged and k.config.enabled("CONFIG_AMD_IOMMU_V2") and not amd_iommu_enabled(k):
        logged = IOMMU_V2_ABSENT[0]
    if logged:
        k.printk(logged)
