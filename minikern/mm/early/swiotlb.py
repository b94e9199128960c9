"""The software IO TLB: bounce buffers below 4 GiB for devices that cannot reach the memory above.

Source: kernel/dma/swiotlb.c, arch/x86/kernel/pci-dma.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.numbers import starts_with_digit
from hw.units import PAGE_SIZE
from minikern.core.cmdline import strtoull
from minikern.core.moduleparam import Parameter, Words, early_param
from minikern.core.printk import Level
from minikern.mm.page.mmzone import MAX_DMA32_PFN
from minikern.state.swiotlb import IO_TLB_SHIFT

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

IO_TLB_SEGSIZE = 128
IO_TLB_MIN_SLABS = (1 << 20) >> IO_TLB_SHIFT
IO_TLB_SLOT_BYTES, IO_TLB_AREA_BYTES = 24, 16
ARCH_LOW_ADDRESS_LIMIT = 0xFFFF_FFFF
MAX_SLABS = 1 << 40  # more is no memory size


def parse_swiotlb(k: Kernel, value: str | None) -> bool:
    """``swiotlb=[slabs][,areas][,force|noforce]``. Source: kernel/dma/swiotlb.c:setup_io_tlb_npages() @ v6.12"""
    state, value = k.swiotlb, value or ""
    if starts_with_digit(value):
        number, value = strtoull(value)
        state.slabs = min(-(-number // IO_TLB_SEGSIZE) * IO_TLB_SEGSIZE, MAX_SLABS)
    value = value.removeprefix(",")
    if starts_with_digit(value):
        areas, value = strtoull(value)
        _adjust_nareas(k, areas & 0xFFFF_FFFF)
    value = value.removeprefix(",")
    if value == "force":
        state.force = True
    elif value == "noforce":
        state.disabled = True
    return True


def _adjust_nareas(k: Kernel, areas: int) -> None:
    state = k.swiotlb
    state.areas = _power_of_two(max(areas, 1)) if k.behaviour.swiotlb_areas else 1
    if not k.behaviour.swiotlb_areas:
        return
    k.printk(f"software IO TLB: area num {state.areas}.")
    if state.slabs < IO_TLB_SEGSIZE * state.areas:
        state.slabs = IO_TLB_SEGSIZE * state.areas
    elif state.slabs and state.slabs & (state.slabs - 1) == 0:
        return
    state.slabs = _power_of_two(state.slabs)
    mib = state.size_or_default() >> 20
    k.printk(f"software IO TLB: SWIOTLB bounce buffer size roundup to {mib}MB")


def _power_of_two(value: int) -> int:
    return 1 << (max(value, 1) - 1).bit_length()


def iommu_setup(k: Kernel, value: str | None) -> bool:
    """``iommu=``: complain of the words that mean nothing any more. Source: arch/x86/kernel/pci-dma.c:iommu_setup()"""
    if value is None:
        return False
    for word in value.split(","):
        old = next((name for name in ("forcesac", "allowdac", "nodac") if word.startswith(name)), "")
        if old:
            k.printk(f"{old} option ignored.", Level.WARNING)
        if word.startswith("usedac"):
            return False
    return True


def swiotlb_wanted(k: Kernel) -> bool:
    """True if there is memory a 32-bit device cannot reach, or ``iommu=soft`` asks for the buffers.

    Source: arch/x86/kernel/pci-dma.c:pci_swiotlb_detect(), iommu_setup() @ v6.12
    """
    words = k.cmdline.words("iommu")
    if any(word.startswith("soft") for word in words):
        return True
    off = any(word.startswith("off") for word in words)
    return not off and max(k.totals.max_pfn, k.numa.max_possible_pfn) > MAX_DMA32_PFN


def swiotlb_init(k: Kernel) -> None:
    """Allocate the buffers, smaller ones if there is no room. Source: kernel/dma/swiotlb.c:swiotlb_init_remap()"""
    state = k.swiotlb
    if state.disabled or not (swiotlb_wanted(k) or state.force):
        return
    if not state.areas:
        _adjust_nareas(k, len(k.cpus.possible))
    slabs, areas = state.slabs, _limited(state.areas, state.slabs)
    while (place := _alloc_low(k, slabs)) is None:
        if slabs <= IO_TLB_MIN_SLABS:
            return
        slabs = -(-(slabs >> 1) // IO_TLB_SEGSIZE) * IO_TLB_SEGSIZE
        areas = _limited(areas, slabs)
    if slabs != state.slabs:
        line = f"software IO TLB: SWIOTLB bounce buffer size adjusted {state.slabs} -> {slabs} slabs"
        k.printk(line)
        state.slabs = slabs
    state.place = place
    k.memblock.alloc(-(-slabs * IO_TLB_SLOT_BYTES // PAGE_SIZE) * PAGE_SIZE, PAGE_SIZE)
    k.memblock.alloc(IO_TLB_AREA_BYTES * areas, 64)
    k.charge("swiotlb_slot", slabs)


def _limited(areas: int, slabs: int) -> int:
    return slabs // IO_TLB_SEGSIZE if slabs < areas * IO_TLB_SEGSIZE else areas


def _alloc_low(k: Kernel, slabs: int) -> int | None:
    size = -(-(slabs << IO_TLB_SHIFT) // PAGE_SIZE) * PAGE_SIZE
    place = k.memblock.alloc(size, PAGE_SIZE, max_addr=ARCH_LOW_ADDRESS_LIMIT)
    if place is None:
        line = f"software IO TLB: swiotlb_memblock_alloc: Failed to allocate {size} bytes tlb structure"
        k.printk(line, Level.WARNING)
    return place


def pci_iommu_init(k: Kernel) -> None:
    """Say where the buffers are, if no IOMMU has made them unnecessary.

    Source: arch/x86/kernel/pci-dma.c:pci_iommu_init(), kernel/dma/swiotlb.c:swiotlb_print_info() @ v6.12
    """
    if not swiotlb_wanted(k) or k.log.find("DMAR: Intel(R) Virtualization Technology"):
        return  # remapping units that run have switched the buffers off
    k.printk("PCI-DMA: Using software bounce buffering for IO (SWIOTLB)")
    state = k.swiotlb
    if state.place is None:
        k.printk("software IO TLB: No low mem", Level.WARNING)
        return
    size = state.size_or_default()
    k.printk(f"software IO TLB: mapped [mem {state.place:#018x}-{state.place + size:#018x}] ({size >> 20}MB)")


IOMMU_WORDS = Words(
    ("off*", "soft*", "pt*", "nopt*", "forcesac*", "allowdac*", "nodac*", "usedac*"),
    ("force*", "noforce*", "biomerge*", "panic*", "nopanic*", "merge*", "nomerge*", "fullflush*", "nofullflush*",
     "noagp*", "noaperture*", "memaper*", "allowed*", "leak*"),
)  # fmt: skip
PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("swiotlb", parse_swiotlb),
    early_param("iommu", iommu_setup, read_by=swiotlb_wanted, words=IOMMU_WORDS),
)
