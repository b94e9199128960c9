"""PCI: configuration access, scanning, resources, IOMMU groups. The names boot.py calls, in its order."""

from minikern.pci.access import pci_arch_init
from minikern.pci.dmar import detect_intel_iommu, dmar_table_init, enable_irq_remapping, intel_iommu_setup
from minikern.pci.iommu import iommu_subsys_init, pci_iommu_init
from minikern.pci.quirks import vga_arb_init
from minikern.pci.resource import pci_apply_final_quirks, pci_subsys_init, pcibios_assign_resources
from minikern.pci.root import acpi_pci_root_add, pci_acpi_crs_quirks
from minikern.state.pci import PciState

__all__ = [
    "PciState",
    "acpi_pci_root_add",
    "detect_intel_iommu",
    "dmar_table_init",
    "enable_irq_remapping",
    "intel_iommu_setup",
    "iommu_subsys_init",
    "pci_acpi_crs_quirks",
    "pci_apply_final_quirks",
    "pci_arch_init",
    "pci_iommu_init",
    "pci_subsys_init",
    "pcibios_assign_resources",
    "vga_arb_init",
]
