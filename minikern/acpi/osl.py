"""The one way the ACPI code reads physical memory: bounded, and never an exception for a bad address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import BusError
from minikern.acpi.messages import error

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def acpi_os_map_memory(k: Kernel, address: int, size: int) -> bytes | None:
    """``size`` bytes at physical ``address``, or None after ACPICA's line when nothing can be mapped there.

    Source: drivers/acpi/osl.c:acpi_os_map_memory() @ v6.12
    """
    try:
        return k.machine.bus.read_bytes(address, size)
    except BusError:
        error(k, f"Could not map memory at 0x{address:016X} for length {size}", {"": "tbdata-162"})
        return None
