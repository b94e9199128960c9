"""Passed-through devices over a kexec: the IOMMU's page tables built anew, or kept as they are.

Mainline builds them anew: memory is pinned and mapped folio by folio, and the device is reset. Patches under review in
2026 hand the tables' pages on and leave the device alone, which goes on writing into the guest meanwhile.
Source: drivers/vfio/vfio_iommu_type1.c:vfio_dma_do_map(), drivers/iommu/intel/iommu.c @ v6.12; letter
20260129212510.967611-1-dmatlack@google.com (vfio/pci: skip reset of preserved device after live update)
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from hw.units import PAGE_SIZE
from minikern.lab.vms import PAGES, VmGroup

Domains = Literal["rebuilt", "kept"]

ENTRIES = 512  # of a table; Source: Intel VT-d Architecture Specification 4.1, 3.7
LEVELS = 4


def table_pages(memory_bytes: int, folio_bytes: int) -> int:
    """Pages of a second-stage table over that much memory, in leaves of ``folio_bytes``, from address 0 on."""
    total, covers = 0, PAGE_SIZE * ENTRIES
    for _ in range(LEVELS):
        if covers > folio_bytes:
            total += -(-memory_bytes // covers)
        covers *= ENTRIES
    return total


def domain_pages(vm: VmGroup) -> int:
    """Pages of one guest's table: one for all its devices, none without any."""
    return table_pages(vm.memory_bytes, PAGES[vm.pages]) if vm.vfio else 0


def save_work(vm: VmGroup, domains: Domains) -> Counter[str]:
    """Before the kexec: pages of the tables are preserved."""
    return Counter(kho_preserve_block=domain_pages(vm) if domains == "kept" else 0)


def restore_work(vm: VmGroup, domains: Domains) -> Counter[str]:
    """After it, for one guest."""
    if domains == "kept":
        return Counter(kho_radix_key=domain_pages(vm), iommu_attach=vm.vfio)
    mapped = vm.folios if vm.vfio else 0
    return Counter(
        vfio_device_reset=vm.vfio, iommu_map_folio=mapped, iommu_table_page=domain_pages(vm), iommu_attach=vm.vfio
    )
