"""``acpi=`` and the other words that take ACPI back, in whole or in part.

Source: arch/x86/kernel/acpi/boot.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, early_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ACPI_WORDS = Words(("off", "force", "strict", "rsdt", "noirq", "copy_dsdt"), ("nocmcff",), separator="")


def parse_acpi(k: Kernel, value: str | None) -> bool:
    """``acpi=``; False for a word that means nothing. Source: arch/x86/kernel/acpi/boot.c:parse_acpi() @ v6.12"""
    options = k.acpi_options
    if value is None or not ACPI_WORDS.knows(value):
        return False
    if value == "off":
        options.disabled = options.pci_disabled = options.noirq = True
    elif value == "force":
        options.disabled = False
    elif value == "strict":
        options.strict = True
    elif value == "rsdt":
        options.rsdt = True
    elif value == "noirq":
        options.noirq = True
    elif value == "copy_dsdt":
        options.copy_dsdt = True
    return True


def parse_pci(k: Kernel, value: str | None) -> bool:
    """``pci=noacpi``, as the only word. Source: arch/x86/kernel/acpi/boot.c:parse_pci(), acpi_disable_pci() @ v6.12"""
    if value == "noacpi":
        k.acpi_options.pci_disabled = k.acpi_options.noirq = True
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("acpi", parse_acpi, words=ACPI_WORDS),
    early_param("pci", parse_pci, words=Words(("noacpi",))),
)
