"""The IVRS table: AMD's IOMMUs, which devices each translates, and the groups that follow.

Source: drivers/iommu/amd/init.c, iommu.c @ v6.12; AMD I/O Virtualization Technology (IOMMU) Specification 3.07, 5.2
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, setup_param
from minikern.core.printk import Level
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
OLD_IVHD, XTSUP = 0x10, 1 << 2  # a block without extended features; Source: drivers/iommu/amd/amd_iommu_types.h @ v6.12


@dataclass(eq=False)
class AmdIommu:
    """One IOMMU: its own device id, capability offset, and the device ids it translates."""

    devid: int
    cap: int
    segment: int
    devids: set[int] = field(default_factory=set)

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
    told = [int.from_bytes(block[24:32], "little") for block in blocks if block[0] != OLD_IVHD]
    return "x2apic" if any(features & XTSUP for features in told) else "xapic"


def amd_iommu_init(k: Kernel, groups: Groups) -> None:
    """Start the IOMMUs and group the devices they translate. Source: init.c:amd_iommu_init_pci() @ v6.12"""
    data, access = k.acpi.table("IVRS") or b"", k.pci.access
    assert access is not None
    for iommu in map(parse_ivhd, ivhd_blocks(data)):
        own = next((dev for dev in k.pci.devices if dev.bus.segment == iommu.segment
                    and dev.bus.number << 8 | dev.devfn == iommu.devid), None)
        if own is None:
            continue
        if own.read(iommu.cap, 4) & CAP_NPCACHE:
            k.printk("AMD-Vi: Using strict mode due to virtualization")
        for dev in k.pci.devices:
            if dev.iommu_group is None and iommu.covers(dev):
                dev.iommu_group = groups.device_group(dev)
                k.charge("iommu_group_add")
                k.printk(f"pci {dev.name}: Adding to iommu group {dev.iommu_group}")
        if k.behaviour.amd_iommu_cap_line:
            k.printk(f"pci {own.name}: AMD-Vi: Found IOMMU cap {iommu.cap:#x}")
    k.pci.groups = groups.count
    access.charge(k)


AMD_IOMMU_WORDS = Words(
    ("off*", "fullflush*"),
    ("force_enable*", "force_isolation*", "pgtbl_v1*", "pgtbl_v2*", "irtcachedis*", "nohugepages*",
     "v2_pgsizes_only*"),
)  # fmt: skip
PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("amd_iommu=", parse_amd_iommu_options, read_by=amd_iommu_enabled, words=AMD_IOMMU_WORDS),
)
