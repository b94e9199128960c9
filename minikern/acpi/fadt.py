"""The FADT: which of its 32-bit and 64-bit fields count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.acpi.layout import FADT_V1, FADT_V3, FADT_V6, GAS
from minikern.acpi.messages import bios_warning
from minikern.core.moduleparam import Parameter, early_param
from minikern.state.acpi import FADT_HW_REDUCED, Fadt

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

SPACE_IO = 1
_SLEEP = ("sleep_control", "sleep_status")
_TBFADT = {"20220331": "tbfadt-564", "": "tbfadt-562"}


def acpi_tb_parse_fadt(k: Kernel, data: bytes) -> Fadt:
    """Resolve a FADT of any revision; bytes it does not have read as zero. Hardware-reduced firmware has no events.

    Source: drivers/acpi/acpica/tbfadt.c:acpi_tb_create_local_fadt(), acpi_tb_convert_fadt() @ v6.12
    """
    if len(data) > FADT_V6.size:
        text = f"FADT (revision {data[8]}) is longer than ACPI 6.0 length, truncating length {len(data)} to"
        bios_warning(k, f"{text} {FADT_V6.size}", _TBFADT)
    data = data[: FADT_V6.size]
    flags = FADT_V1.get(data, "flags")
    reduced = bool(flags & FADT_HW_REDUCED)
    facs = _select(k, "FACS", data, FADT_V1.get(data, "facs"), FADT_V3.get(data, "x_facs"))
    dsdt = _select(k, "DSDT", data, FADT_V1.get(data, "dsdt"), FADT_V3.get(data, "x_dsdt"))
    return Fadt(
        revision=data[8] if len(data) > 8 else 0,
        facs=0 if reduced else facs,
        dsdt=dsdt,
        sci=FADT_V1.get(data, "sci"),
        pm_timer_port=_block(data, "x_pm_tmr", "pm_tmr", "pm_tmr_len"),
        gpe0=0 if reduced else _block(data, "x_gpe0", "gpe0", "gpe0_len"),
        gpe0_length=FADT_V1.get(data, "gpe0_len"),
        gpe1=0 if reduced else _block(data, "x_gpe1", "gpe1", "gpe1_len"),
        gpe1_length=FADT_V1.get(data, "gpe1_len"),
        gpe1_base=FADT_V1.get(data, "gpe1_base"),
        boot_arch=FADT_V1.get(data, "boot_arch"),
        flags=flags,
        sleep_registers=all(GAS.get(data, "address", FADT_V6.offset(name)) for name in _SLEEP),
    )


def _select(k: Kernel, name: str, data: bytes, address32: int, address64: int) -> int:
    # The 64-bit address wins unless it is zero or the command line asks for the other one.
    if not address64:
        return address32
    if address32 and address64 != address32:
        force32 = k.cmdline.has("acpi_force_32bit_fadt_addr")
        text = f"32/64X {name} address mismatch in FADT: 0x{address32:08X}/0x{address64:016X}, using"
        bios_warning(k, f"{text} {32 if force32 else 64}-bit address", _TBFADT)
        if force32:
            return address32
    return address64


def _block(data: bytes, extended: str, legacy: str, length: str) -> int:
    # A register block: the extended address when it is there and in I/O space, otherwise the 32-bit one.
    if not FADT_V1.get(data, length):
        return 0
    start = FADT_V3.offset(extended)
    if GAS.get(data, "address", start) and GAS.get(data, "space", start) == SPACE_IO:
        return GAS.get(data, "address", start)
    return FADT_V1.get(data, legacy)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("acpi_force_32bit_fadt_addr", read_by=acpi_tb_parse_fadt),
)
