"""What the command line asks of ACPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass



@dataclass
class AcpiOptions:
    """Linux's acpi_disabled, acpi_pci_disabled, acpi_noirq, do_not_use_xsdt, copy_dsdt_locally and acpi_strict, after
    the command line.
    """

    disabled: bool = False
    pci_disabled: bool = False  # ACPI is not to find PCI host bridges
    noirq: bool = False  # ... nor to route interrupts
    rsdt: bool = False
    copy_dsdt: bool = False
    strict: bool = False  # the interpreter forgives nothing

