"""What a boot log shows of the ACPI namespace: sleep states, GPEs, interrupt links, tables that methods load.

Source: drivers/acpi/sleep.c:acpi_sleep_init(), drivers/acpi/acpica/evgpeblk.c, exconfig.c @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from hw.acpi import aml
from hw.acpi.dsdt import cpu_name
from hw.acpi.layout import HEADER, TableIds
from hw.acpi.spec import AcpiSpec, InterruptLink
from minikern.describe.acpidump import LoggedTable
from minikern.describe.dmesg_ec import embedded_controller
from minikern.describe.dmesg_log import Log

MAX_LOADS = 64
MAX_LINKS = 64
USUAL_IRQS = [3, 4, 5, 6, 7, 10, 11, 12, 14, 15]  # of a chipset's links; those the firmware wires are not logged
FIRST_GSI, MAX_GSI = 16, 0xFFFF
MAX_LOADED_BYTES = 1 << 20
LOAD, LOAD_TABLE = b"\x5b\x20", b"\x5b\x1f"  # Source: ACPI 6.5 clause 20.2.5.4
SYSTEM_MEMORY = 0
OEM_SIGNATURE = re.compile(r"^(?:OEM\w|PSDT)$")

_SLEEP = re.compile(r"^ACPI: (?:PM: )?\(supports((?: S[0-5])+)\)")
_GPES = re.compile(r"^ACPI: Enabled (\d{1,3}) GPEs in block 00 to ([0-7][0-9A-F])\s*$")
_LINK = re.compile(
    r"^ACPI: PCI Interrupt Link \[([A-Z_][A-Z0-9_]{3})\]"
    r" \(IRQs((?: \*?\d{1,5}){1,16})\)(?: \*(\d{1,5}))?(, disabled\.)?"
)
_LINK_SET = re.compile(r"^ACPI: PCI: Interrupt link ([A-Z_][A-Z0-9_]{3}) configured for IRQ (\d{1,5})\s*$")
_LINK_OFF = re.compile(r"^ACPI: PCI: Interrupt link ([A-Z_][A-Z0-9_]{3}) disabled\s*$")
_LOADING = re.compile(r"^ACPI: Dynamic OEM Table Load:\s*$")
_TABLE = re.compile(
    r"^ACPI: ([A-Z0-9]{4}) 0x[0-9A-F]{16} ([0-9A-F]{6,8}) \(v(\d{2}) (.{6}) (.{8}) ([0-9A-F]{8}) (.{4}) ([0-9A-F]{8})\)"
)


@dataclass
class Loads:
    """Tables that come while AML runs: ``own`` have bytes somewhere in memory, ``listed`` are in the root table."""

    own: list[LoggedTable] = field(default_factory=list)
    listed: list[LoggedTable] = field(default_factory=list)


def namespace_facts(lines: Sequence[str], spec: AcpiSpec) -> None:
    """Put the logged sleep states, GPEs, interrupt links and embedded controller into ``spec``."""
    sleep = next((match for line in lines if (match := _SLEEP.match(line))), None)
    if sleep is not None:
        spec.sleep_states = [int(word[1]) for word in sleep[1].split()]
    gpes = next((match for line in lines if (match := _GPES.match(line))), None)
    if gpes is not None:
        last = int(gpes[2], 16)
        spec.gpe0_length = (last + 1) // 8 * 2
        spec.gpe_methods = [f"_L{number:02X}" for number in range(min(int(gpes[1]), last + 1))]
    spec.links = interrupt_links(lines)
    spec.ec = embedded_controller(lines, range(spec.pm_base, spec.pm_base + 0x80))


def interrupt_links(lines: Sequence[str]) -> list[InterruptLink]:
    """The links whose lines the log has, in their order; what a newer kernel does not say of them is assumed."""
    found: dict[str, InterruptLink] = {}
    off = {match[1] for line in lines if (match := _LINK_OFF.match(line))}
    for line in lines:
        if match := _LINK.match(line):
            words = match[2].split()
            starred = next((word[1:] for word in words if word[0] == "*"), match[3] or "0")
            irqs = [int(word.lstrip("*")) for word in words]
            found.setdefault(match[1], InterruptLink(match[1], irqs, int(starred), not match[4]))
        elif match := _LINK_SET.match(line):
            active = int(match[2])
            irqs = [active] if active >= FIRST_GSI else USUAL_IRQS
            found.setdefault(match[1], InterruptLink(match[1], irqs, active, match[1] not in off))
    return [link for link in found.values() if max(*link.irqs, link.active) <= MAX_GSI][:MAX_LINKS]


def dynamic_loads(log: Log, tables: Sequence[LoggedTable]) -> Loads:
    """The tables behind the log's "Dynamic OEM Table Load" lines; ``tables`` are those the firmware lists.

    A table from memory shows its own heading; one that the root table lists was shown already.
    """
    loads = Loads()
    listed = [table for table in tables if OEM_SIGNATURE.match(table.signature) and table.ids is not None]
    for place in log.places(_LOADING.pattern)[:MAX_LOADS]:
        match = _TABLE.match(log.lines[place + 1]) if place + 1 < len(log.lines) else None
        if match is not None:
            ids = TableIds(match[4], match[5], int(match[6], 16), match[7], int(match[8], 16))
            loads.own.append(LoggedTable(match[1], 0, int(match[2], 16), int(match[3]), ids))
        elif listed:
            loads.listed.append(listed.pop(0))
    loads.own = [table for table in loads.own if HEADER.size <= table.length <= MAX_LOADED_BYTES]
    return loads


def loading_terms(listed: Sequence[LoggedTable], places: Sequence[tuple[int, int]], cpus: int = 1) -> bytes:
    """AML that loads tables once, in answer to the first of ``cpus`` processors: the listed ones by name, then those at
    ``places`` (address and bytes in memory). The other processors answer too, as firmware that loads tables has it.
    """
    terms = [_load_listed(table) for table in listed]
    regions = []
    for number, (address, length) in enumerate(places):
        name = f"DT{number:02X}"
        regions.append(aml.operation_region(name, SYSTEM_MEMORY, _qword(address), aml.integer(length)))
        terms.append(LOAD + aml.name_path(name) + aml.local(1))
    if not terms:
        return b""
    once = aml.if_(aml.equal(aml.name_path("DYNL"), aml.ZERO), [aml.store(aml.ONE, aml.name_path("DYNL")), *terms])
    body = [aml.name("DYNL", aml.ZERO), *regions, aml.method("_PDC", 1, [once], serialized=True)]
    answer = aml.method("_PDC", 1, [
        aml.create_dword_field(aml.arg(0), aml.integer(8), "CAPA"), aml.store(aml.name_path("CAPA"), aml.local(0)),
    ], serialized=True)  # fmt: skip
    others = (aml.scope(f"\\_SB.{cpu_name(index)}", [answer]) for index in range(1, cpus))
    return aml.scope(f"\\_SB.{cpu_name(0)}", body) + b"".join(others)


def _load_listed(table: LoggedTable) -> bytes:
    ids = table.ids or TableIds()
    names = [aml.string(text) for text in (table.signature, ids.oem_id.ljust(6), ids.oem_table_id)]
    return aml.store(LOAD_TABLE + b"".join(names) + aml.string("") * 2 + aml.ZERO, aml.local(0))


def _qword(value: int) -> bytes:
    return b"\x0e" + value.to_bytes(8, "little")
