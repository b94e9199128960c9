"""Lines of built-in subsystems that do nothing minikern counts: a log shows which of them a kernel has.

Each is printed by an initcall of level subsys, in the order of the link. Source: drivers/Makefile @ v6.12
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

SCAN_LAST = (
    "Low-power S0 idle used by default for system suspend",  # drivers/acpi/x86/s2idle.c
)
SUBSYSTEMS = (
    "SCSI subsystem initialized",  # drivers/scsi/scsi.c:init_scsi()
    "libata version 3.00 loaded.",  # drivers/ata/libata-core.c:ata_init()
    "ACPI: bus type USB registered",  # drivers/usb/core/usb-acpi.c
    "usbcore: registered new interface driver usbfs",  # drivers/usb/core/devio.c
    "usbcore: registered new interface driver hub",  # drivers/usb/core/hub.c
    "usbcore: registered new device driver usb",  # drivers/usb/core/usb.c
    "PTP clock support registered",  # drivers/ptp/ptp_clock.c:ptp_init()
)
SHPCHP = "shpchp: Standard Hot Plug PCI Controller Driver version: 0.4"
IOMMU_V2_ABSENT = (  # drivers/iommu/amd/iommu_v2.c:amd_iommu_v2_init(), newest first
    "AMD-Vi: AMD IOMMUv2 functionality not available on this system - This is not a bug.",
    "AMD-Vi: AMD IOMMUv2 functionality not available on this system",
)
KNOWN = frozenset((*SCAN_LAST, *SUBSYSTEMS, SHPCHP, *IOMMU_V2_ABSENT))


def say(k: Kernel, lines: Sequence[str]) -> None:
    """What built-in subsystems print that do nothing counted: those the log shows."""
    for text in lines:
        if text in k.release.facts.subsystems:
            k.printk(text)
