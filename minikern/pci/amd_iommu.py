"""The IVRS table: AMD's IOMMUs, which devices each translates, and the groups that follow.

Source: drivers/iommu/amd/init.c, iommu.c @ v6.12; AMD I/O Virtualization Technology (IOMMU) Specification 3.07, 5.2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, setup_param
from minikern.core.printk import Level
from minikern.pci.enable import pci_enable_device
from minikern.pci.irq import arch_dynirq_lower_bound, pci_alloc_irq_vectors
from minikern.state.pci import PciDev

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.pci.iommu import Groups

HEADER_BYTES = 48
IVHD_HEADER_BYTES = {0x10: 24, 0x11: 40, 0x40: 40}
ALL, SELECT, RANGE_START, RANGE_END, ALIAS, ALIAS_RANGE, EXT_SELECT, EXT_RANGE = 1, 2, 3, 4, 0x42, 0x43, 0x46, 0x47
RANGES = (RANGE_START, ALIAS_RANGE, EXT_RANGE)
CAP_NPCACHE = 1 << 26
LAST_DEVID = 0xFFFF
FEATURES = ("PreF", "PPR", "X2APIC", "NX", "GT", "[5]", "IA", "GA", "HE", "PC")
FEATURE_PPR, FEATURE_GA, FEATURE_PC = 1 << 1, 1 << 7, 1 << 9
LATE_FEATURES = {1 << 21: "GA_vAPIC", 1 << 63: "SNP"}
"""Bits of the extended features. Source: drivers/iommu/amd/init.c:print_iommu_info() @ v6.12"""
OLD_IVHD, XTSUP = 0x10, 1 << 2  # a block without extended features; Source: drivers/iommu/amd/amd_iommu_types.h @ v6.12


@dataclass(eq=False)
class AmdIommu:
    """One IOMMU: its own device id, capability offset, and the device ids it translates."""

    devid: int
    cap: int
    segment: int
    devids: set[int] = field(default_factory=set)
    features: int = 0  # as the table has them, 0 if it does not
    features2: int = 0

    def covers(self, dev: PciDev) -> bool:
        """True if it translates for ``dev``; it never does for itself. Source: init.c:init_iommu_one() @ v6.12"""
        devid = dev.bus.number << 8 | dev.devfn
        return dev.bus.segment == self.segment and devid != self.devid and devid in self.devids


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def ivhd_blocks(data: bytes) -> Iterator[bytes]:
    """The hardware definition blocks of the newest kind the table has, in order.

    Source: drivers/iommu/amd/init.c:get_highest_supported_ivhd_type() @ v6.12
    """
    blocks = []
    at = HEADER_BYTES
    while at + 4 <= len(data):
        length = _word(data, at + 2)
        if length < 4 or at + length > len(data):
            break
        blocks.append(data[at : at + length])
        at += length
    known = [block for block in blocks if block[0] in IVHD_HEADER_BYTES and len(block) >= IVHD_HEADER_BYTES[block[0]]]
    first = known[0] if known else b""
    kind = max((block[0] for block in known if _word(block, 4) == _word(first, 4)), default=0)
    return (block for block in known if block[0] == kind)


def parse_ivhd(block: bytes) -> AmdIommu:
    """One block. Source: drivers/iommu/amd/init.c:init_iommu_from_acpi() @ v6.12"""
    iommu = AmdIommu(_word(block, 4), _word(block, 6), _word(block, 16))
    if block[0] != OLD_IVHD:
        iommu.features, iommu.features2 = (int.from_bytes(block[at : at + 8], "little") for at in (24, 32))
    at = IVHD_HEADER_BYTES[block[0]]
    start = 0
    while at + 4 <= len(block):
        kind, devid = block[at], _word(block, at + 1)
        if kind == ALL:
            iommu.devids.update(range(LAST_DEVID + 1))
        elif kind in (SELECT, ALIAS, EXT_SELECT):
            iommu.devids.add(devid)
        elif kind in RANGES:
            start = devid
        elif kind == RANGE_END:
            iommu.devids.update(range(start, devid + 1))
        at += 4 << (kind >> 6)
    return iommu


def amd_iommu_enabled(k: Kernel) -> bool:
    """There is a table, and nothing forbids its use. Source: init.c:amd_iommu_detect(), parse_amd_iommu_options()"""
    data = k.acpi.table("IVRS")
    if not data or k.pci.access is None:
        return False
    return "off" not in k.cmdline.words("amd_iommu") and "off" not in k.cmdline.words("iommu")


def parse_amd_iommu_options(k: Kernel, text: str) -> bool:
    """Complain of words that mean nothing any more, or never did. Source: init.c:parse_amd_iommu_options() @ v6.1"""
    rest = text
    while rest:
        if rest.startswith("fullflush"):
            k.printk("AMD-Vi: amd_iommu=fullflush deprecated; use iommu.strict=1 instead", Level.WARNING)
        elif not AMD_IOMMU_WORDS.knows(rest):
            k.printk(f"AMD-Vi: Unknown option - '{rest}'", Level.NOTICE)
        rest = rest.partition(",")[2].lstrip(",")
    return True


def enable_irq_remapping(k: Kernel) -> str | None:
    """How interrupts are remapped: in "x2apic" mode if a block has 32-bit destinations, else "xapic"; None: not at all.

    Source: drivers/iommu/amd/init.c:amd_iommu_prepare(), init_iommu_one() @ v6.12
    """
    if k.cmdline.get("intremap") == "off" or not k.config.enabled("CONFIG_IRQ_REMAP"):
        return None
    blocks = list(ivhd_blocks(k.acpi.table("IVRS") or b""))
    if not blocks or "off" in k.cmdline.words("amd_iommu") or "off" in k.cmdline.words("iommu"):
        return None
    iommus = list(map(parse_ivhd, blocks))
    if k.behaviour.amd_iommu_global_features:
        common, common2 = _common(iommus)
        k.printk(f"AMD-Vi: Using global IVHD EFR:{common:#x}, EFR2:{common2:#x}")
    k.pci.amd_remapping = "x2apic" if any(iommu.features & XTSUP for iommu in iommus) else "xapic"
    return k.pci.amd_remapping


def _common(iommus: list[AmdIommu]) -> tuple[int, int]:
    """The features that all have. Source: drivers/iommu/amd/init.c:get_global_efr() @ v6.12"""
    return reduce(and_, (one.features for one in iommus)), reduce(and_, (one.features2 for one in iommus))


def amd_iommu_init(k: Kernel, groups: Groups) -> None:
    """Start the IOMMUs and group the devices they translate. Source: init.c:amd_iommu_init_pci() @ v6.12"""
    data, access = k.acpi.table("IVRS") or b"", k.pci.access
    assert access is not None
    found = [(iommu, own) for iommu in map(parse_ivhd, ivhd_blocks(data)) if (own := _function(k, iommu)) is not None]
    if not k.behaviour.iommu_probe_by_unit:  # all are started before the bus is walked
        for iommu, own in found:
            _start(k, iommu, own)
    for iommu, own in found:
        if k.behaviour.iommu_probe_by_unit:
            _start(k, iommu, own)
        for dev in k.pci.devices:
            if dev.iommu_group is None and iommu.covers(dev):
                dev.iommu_group = groups.device_group(dev)
                k.charge("iommu_group_add")
                k.printk(f"pci {dev.name}: Adding to iommu group {dev.iommu_group}")
    for iommu, own in found:
        _interrupts(k, iommu, own)
    k.pci.groups = groups.count
    _print_info(k, found)
    access.charge(k)


def _function(k: Kernel, iommu: AmdIommu) -> PciDev | None:
    here = (dev for dev in k.pci.devices if dev.bus.segment == iommu.segment)
    return next((dev for dev in here if dev.bus.number << 8 | dev.devfn == iommu.devid), None)


def _start(k: Kernel, iommu: AmdIommu, own: PciDev) -> None:
    """Source: drivers/iommu/amd/init.c:iommu_init_pci() @ v6.12"""
    if own.read(iommu.cap, 4) & CAP_NPCACHE:
        k.printk("AMD-Vi: Using strict mode due to virtualization")
    if iommu.features & FEATURE_PC:
        k.printk(f"pci {own.name}: AMD-Vi: IOMMU performance counters supported")
    pci_enable_device(k, own)


def _interrupts(k: Kernel, iommu: AmdIommu, own: PciDev) -> None:
    """Interrupts of an IOMMU's logs: of its own in x2APIC mode, else one message for all.

    Source: drivers/iommu/amd/init.c:iommu_init_irq(), iommu_setup_intcapxt() @ v6.12
    """
    if k.pci.amd_remapping != "x2apic":
        pci_alloc_irq_vectors(k, own, 1, 1)
        return
    k.pci.interrupts.lower_bound = arch_dynirq_lower_bound(k)
    others = (iommu.features & FEATURE_PPR, iommu.features & FEATURE_GA) if k.behaviour.amd_iommu_log_irqs else ()
    for _ in range(1 + sum(map(bool, others))):
        k.pci.interrupts.allocate()


def _print_info(k: Kernel, found: list[tuple[AmdIommu, PciDev]]) -> None:
    """Source: drivers/iommu/amd/init.c:print_iommu_info(), enable_iommus_vapic() @ v6.12"""
    for iommu, own in found if k.behaviour.amd_iommu_cap_line else ():
        k.printk(f"pci {own.name}: AMD-Vi: Found IOMMU cap {iommu.cap:#x}")
        if k.behaviour.amd_iommu_global_features and iommu.features:
            _print_features(k, iommu.features, iommu.features2)
    common, common2 = _common([iommu for iommu, _ in found]) if found else (0, 0)
    if common and not k.behaviour.amd_iommu_cap_line:
        _print_features(k, common, common2)
    if common and k.pci.amd_remapping:
        k.printk("AMD-Vi: Interrupt remapping enabled")
        if k.pci.amd_remapping == "x2apic":
            k.printk("AMD-Vi: X2APIC enabled")


def _print_features(k: Kernel, features: int, features2: int) -> None:
    names = [name for bit, name in enumerate(FEATURES) if features >> bit & 1]
    names += [name for bit, name in LATE_FEATURES.items() if features & bit]
    k.printk(f"AMD-Vi: Extended features ({features:#x}, {features2:#x}):{''.join(f' {name}' for name in names)}")


AMD_IOMMU_WORDS = Words(
    ("off*", "fullflush*"),
    ("force_enable*", "force_isolation*", "pgtbl_v1*", "pgtbl_v2*", "irtcachedis*", "nohugepages*",
     "v2_pgsizes_only*"),
)  # fmt: skip
PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("amd_iommu=", parse_amd_iommu_options, read_by=amd_iommu_enabled, words=AMD_IOMMU_WORDS),
)
