"""Hardware-reduced firmware: the FADT says that there are no fixed registers and events.

Source: ACPI 6.5 clauses 4.1, 5.2.9
"""

from __future__ import annotations

from hw.acpi import layout
from hw.acpi.checksum import fix_checksum

HW_REDUCED = 1 << 20  # Source: ACPI 6.5 table 5.10
_GONE = (
    "facs", "sci", "smi_cmd", "acpi_enable", "acpi_disable", "s4bios", "pstate", "pm1a_evt", "pm1b_evt", "pm1a_cnt",
    "pm1b_cnt", "pm2_cnt", "pm_tmr", "gpe0", "gpe1", "pm1_evt_len", "pm1_cnt_len", "pm2_cnt_len", "pm_tmr_len",
    "gpe0_len", "gpe1_len", "gpe1_base", "x_facs", "x_pm1a_evt", "x_pm1b_evt", "x_pm1a_cnt", "x_pm1b_cnt", "x_pm2_cnt",
    "x_pm_tmr", "x_gpe0", "x_gpe1",
)  # fmt: skip
"""Fields that such firmware leaves zero. Source: ACPI 6.5 table 5.9"""


def reduced_fadt(data: bytes) -> bytes:
    """A FADT as hardware-reduced firmware would have it: the flag set, the registers' fields zero."""
    table = bytearray(data)
    for name in _GONE:
        start, shape = layout.FADT_V6.fields[name]
        size = int(shape[1:]) if shape[0] in "SV" else int(shape[-1])
        if start + size <= len(table):
            table[start : start + size] = bytes(size)
    at, _ = layout.FADT_V6.fields["flags"]
    if at + 4 <= len(table):
        flags = int.from_bytes(table[at : at + 4], "little") | HW_REDUCED
        table[at : at + 4] = flags.to_bytes(4, "little")
    return fix_checksum(bytes(table))
