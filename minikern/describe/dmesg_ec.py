"""The embedded controller a boot log tells of: its ports, its GPE, its place in the namespace.

Source: drivers/acpi/ec.c:acpi_ec_setup(), acpi_ec_add() @ v6.12, v5.4
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hw.acpi.spec import EcSpec

_PORTS = re.compile(r"^ACPI: .*?EC_CMD/EC_SC=0x([0-9a-f]{1,4}), EC_DATA=0x([0-9a-f]{1,4})\s*$")
_GPE = re.compile(r"^ACPI: (?:EC: |\\.*?: )GPE=0x([0-9a-f]{1,2})\b")
_PATH = re.compile(r"^ACPI: (\\_SB_?(?:\.[A-Z_][A-Z0-9_]{0,3}){1,8}): (?:EC: Used |Boot |Used as |GPE=)")
_FIRST = re.compile(r"^ACPI: (?:EC: Boot ECDT EC used|\\: Used as boot ECDT EC) to handle transactions\s*$")
UNNAMED = "\\_SB_.EC0_"  # where only the ECDT told of it
_TAKEN = (range(0x40, 0x44), range(0x61, 0x62), range(0x2F8, 0x300), range(0x3F8, 0x400), range(0xCF8, 0xD00))


def embedded_controller(lines: Sequence[str], taken: range = range(0)) -> EcSpec | None:
    """The controller whose ports the log names, None without one. ``taken``: the chipset's own ports."""
    ports = next((match for line in lines if (match := _PORTS.match(line))), None)
    if ports is None:
        return None
    command, data = int(ports[1], 16), int(ports[2], 16)
    free = not any(port in used for port in (command, data) for used in (*_TAKEN, taken))
    if command == data or not command or not data or not free:
        return None
    gpe = next((match for line in lines if (match := _GPE.match(line))), None)
    path = next((match for line in lines if (match := _PATH.match(line))), None)
    return EcSpec(
        path=path[1] if path else UNNAMED, command_port=command, data_port=data,
        gpe=int(gpe[1], 16) if gpe else 0, ecdt=any(_FIRST.match(line) for line in lines),
    )  # fmt: skip
