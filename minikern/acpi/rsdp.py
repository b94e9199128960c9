"""Finding the RSDP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hw.acpi.checksum import byte_sum
from hw.acpi.layout import RSDP, RSDP_V0_SIZE
from minikern.acpi.messages import bios_error
from minikern.core.moduleparam import Parameter, early_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

EBDA_POINTER = 0x40E  # real-mode segment of the extended BIOS data area. Source: ACPI 6.5 clause 5.2.5.1
EBDA_WINDOW = 1024
HI_WINDOW = (0xE_0000, 0x10_0000)
_HEX = re.compile(r"\+?(0[xX])?[0-9a-fA-F]{1,16}")
_NOT_FOUND = {"20220331": "tbxfroot-210", "": "tbxfroot-205"}


def rsdp_valid(data: bytes) -> bool:
    """True when ``data`` starts with a sound RSDP. Source: drivers/acpi/acpica/tbxfroot.c:acpi_tb_validate_rsdp()"""
    if data[:8] != b"RSD PTR " or len(data) < RSDP_V0_SIZE or byte_sum(data[:RSDP_V0_SIZE]):
        return False
    return RSDP.get(data, "revision") < 2 or (len(data) >= RSDP.size and not byte_sum(data[: RSDP.size]))


def _scan(k: Kernel, start: int, end: int) -> int | None:
    window = k.machine.bus.read_bytes(start, end - start)
    for offset in range(0, len(window), 16):
        if window[offset : offset + 8] == b"RSD PTR " and rsdp_valid(window[offset : offset + RSDP.size]):
            return start + offset
    return None


def setup_acpi_rsdp(k: Kernel, value: str | None) -> bool:
    """``acpi_rsdp=``: False for what is no hexadecimal number. Source: drivers/acpi/osl.c:setup_acpi_rsdp() @ v6.12"""
    return value is not None and _HEX.fullmatch(value) is not None


def acpi_find_root_pointer(k: Kernel, given: int = 0) -> int | None:
    """Physical address of the RSDP, or None after the firmware error line.

    Order: the ``acpi_rsdp=`` parameter, ``given`` (boot_params or EFI), the first KiB of the EBDA, 0xE0000-0xFFFFF.
    Source: drivers/acpi/osl.c:acpi_os_get_root_pointer(), drivers/acpi/acpica/tbxfroot.c @ v6.12
    """
    # the kernel reads the parameter as hexadecimal whatever its prefix
    text = k.cmdline.get("acpi_rsdp")
    if text is not None:
        try:
            given = int(text, 16)
        except ValueError:
            given = 0
        if given:
            return given
    if given:
        return given
    ebda = int.from_bytes(k.machine.bus.read_bytes(EBDA_POINTER, 2), "little") << 4
    found = _scan(k, ebda, ebda + EBDA_WINDOW) if ebda > 0x400 else None
    if found is None:
        found = _scan(k, *HI_WINDOW)
    if found is None:
        bios_error(k, "A valid RSDP was not found", _NOT_FOUND)
    return found


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("acpi_rsdp", setup_acpi_rsdp, read_by=acpi_find_root_pointer),
)
