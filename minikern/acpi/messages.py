"""Wording shared by ACPICA's messages: prefixes and the trailing (revision/module-line) mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def mark(k: Kernel, modules: dict[str, str]) -> str:
    """The mark ACPICA ends a message with; ``modules`` maps a core revision to module-line, "" is the default."""
    revision = k.behaviour.acpi_core_revision
    return f"({revision}/{modules.get(revision, modules[''])})"


def bios_error(k: Kernel, text: str, modules: dict[str, str]) -> None:
    """Log ``text`` as ACPICA logs a firmware error. Source: include/acpi/acoutput.h:ACPI_BIOS_ERROR @ v6.12"""
    k.printk(f"ACPI BIOS Error (bug): {text} {mark(k, modules)}", Level.ERR)


def bios_warning(k: Kernel, text: str, modules: dict[str, str]) -> None:
    """Log ``text`` as ACPICA logs a firmware warning. Source: include/acpi/acoutput.h:ACPI_BIOS_WARNING @ v6.12"""
    k.printk(f"ACPI BIOS Warning (bug): {text} {mark(k, modules)}", Level.WARNING)


def error(k: Kernel, text: str, modules: dict[str, str]) -> None:
    """Log ``text`` as ACPICA logs an error of its own. Source: include/acpi/acoutput.h:ACPI_ERROR @ v6.12"""
    k.printk(f"ACPI Error: {text} {mark(k, modules)}", Level.ERR)


def warning(k: Kernel, text: str, modules: dict[str, str]) -> None:
    """Log ``text`` as ACPICA logs a warning of its own. Source: include/acpi/acoutput.h:ACPI_WARNING @ v6.12"""
    k.printk(f"ACPI Warning: {text} {mark(k, modules)}", Level.WARNING)


def info(k: Kernel, text: str, modules: dict[str, str]) -> None:
    """Log ``text`` as ACPICA logs a remark on a predefined name. Source: acpica/uterror.c:acpi_ut_predefined_info()"""
    k.printk(f"ACPI: {text} {mark(k, modules)}")


def skipped_block(opcode: int) -> str:
    """The line for a block that is left out; a kernel without the disassembler has no names of opcodes.

    Source: drivers/acpi/acpica/psloop.c:acpi_ps_parse_loop() @ v6.12
    """
    return f"ACPI: Skipping parse of AML opcode: OpcodeName unavailable (0x{opcode:04X})"
