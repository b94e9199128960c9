"""Every module that declares kernel parameters.

Where one word has several handlers, they act in this order, which is that of Linux's link.
"""

from __future__ import annotations

from collections.abc import Iterator

from minikern.acpi import options as acpi_options
from minikern.core.kernel import Kernel
from minikern.core.moduleparam import Parameter, raw_param
from minikern.init import isolation
from minikern.mm.buddy import zones
from minikern.mm.early import e820_params, swiotlb
from minikern.mm.hugetlb import hugetlb
from minikern.pci import dmar
from minikern.pci import options as pci_options
from minikern.smp import interrupt_mode, limits

ROOMS = (
    acpi_options, isolation, zones, e820_params, swiotlb, hugetlb, dmar, pci_options, interrupt_mode, limits,
)  # fmt: skip


def declared() -> Iterator[Parameter[Kernel]]:
    """What all rooms declare."""
    for room in ROOMS:
        yield from room.PARAMETERS
    yield raw_param("no5lvl", read_by=Kernel.pgtable_l5_enabled)
