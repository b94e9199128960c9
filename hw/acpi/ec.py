"""What firmware says of an embedded controller: its device in the namespace, and the ECDT.

Source: ACPI 6.5 clauses 12.11, 5.2.16
"""

from __future__ import annotations

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import EcSpec

EMBEDDED_CONTROL = 3
_BYTE_ACCESS = 1
_IO_SPACE = 1
_READ_AT_CONNECT = 4  # of the bytes that say what is plugged in


def ec_device(spec: EcSpec, roots: list[str]) -> bytes:
    r"""The controller at its path. Buses of ``roots`` are there, and so is ``LPC0`` below the first; what else lies
    on the way is made.
    """
    path = [part.rstrip("_").ljust(4, "_") for part in spec.path.removeprefix("\\").split(".")]
    there = 0
    for depth, names in enumerate([{"_SB_"}, set(roots), {"LPC0"} if roots and path[1:2] == roots[:1] else set()]):
        if depth < len(path) - 1 and there == depth and path[depth] in names:
            there += 1
    made = aml.device(path[-1], _terms(spec))
    for name in reversed(path[there:-1]):
        made = aml.device(name, [aml.name("_ADR", aml.integer(0x1F0000)), made])
    return aml.scope("\\" + ".".join(path[:there]), [made]) if there else made


def _terms(spec: EcSpec) -> list[bytes]:
    """Told that its space can be used, firmware looks at some of its bytes."""
    names = [f"EB{number:02X}" for number in range(_READ_AT_CONNECT)]
    looks = [aml.store(aml.name_path(name), aml.local(0)) for name in names]
    connect = aml.if_(aml.equal(aml.arg(0), aml.integer(EMBEDDED_CONTROL)), looks)
    return [
        aml.name("_HID", aml.hardware_id("PNP0C09")),
        aml.name("_CRS", aml.resource_template(aml.io_port(spec.data_port, 1), aml.io_port(spec.command_port, 1))),
        aml.name("_GPE", aml.integer(spec.gpe)),
        aml.operation_region("ECRM", EMBEDDED_CONTROL, aml.ZERO, aml.integer(0xFF)),
        aml.field("ECRM", _BYTE_ACCESS, [(name, 8) for name in names]),
        aml.method("_REG", 2, [connect]),
    ]


def ecdt(spec: EcSpec, ids: TableIds) -> bytes:
    """The table that tells of the controller before the namespace can be read."""
    places = b"".join(bytes([_IO_SPACE, 8, 0, 1]) + port.to_bytes(8, "little")
                      for port in (spec.command_port, spec.data_port))  # fmt: skip
    return sdt("ECDT", 1, places + bytes(4) + bytes([spec.gpe]) + spec.path.encode("ascii") + b"\0", ids)
