"""CPUs of a captured machine that firmware lists and that were not running when it was captured.

A kernel told to keep siblings or more CPUs offline (``nosmt``, ``maxcpus=``) shows no CPUID leaves of theirs. They are
there and answer, so each gets the leaves of a CPU that was seen, with its own APIC id.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hw.acpi import layout
from hw.cpuid import CpuidTable
from hw.spec import MAX_CPUS, CpuidDump, CpuSpec

LAPIC, X2APIC = 0, 9
ENABLED = 1
_DEAD = re.compile(r"^(?:CPU\d+ failed to report alive state|smpboot: do_boot_cpu failed)", re.MULTILINE)


def add_listed_cpus(cpus: CpuSpec, madt: bytes, log: str) -> None:
    """Append to ``cpus`` those that ``madt`` lists as enabled and nobody saw; none if ``log`` tells of a dead one."""
    if _DEAD.search(log) or not cpus.cpuid or len(cpus.apic_ids) != len(cpus.cpuid):
        return
    first = {(row[0], row[1]): row[2:] for row in cpus.cpuid[0].rows}
    room = (1 << 32) - 1 if first.get((0xB, 0), (0, 0, 0, 0))[1] else 0xFF
    for apic_id in enabled_apic_ids(madt):
        if apic_id in cpus.apic_ids or apic_id >= room or len(cpus.apic_ids) >= MAX_CPUS:
            continue
        cpus.apic_ids.append(apic_id)
        cpus.cpuid.append(CpuidDump([(*key, *registers) for key, registers in with_apic_id(first, apic_id).items()]))
    cpus.count = cpus.sockets = len(cpus.apic_ids)


def madt_entries(madt: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of a MADT's entries, in table order; one that is cut off ends the list."""
    at = layout.MADT.size
    while at + 2 <= len(madt) and madt[at + 1] >= 2:
        yield madt[at], madt[at : at + madt[at + 1]]
        at += madt[at + 1]


def enabled_apic_ids(madt: bytes) -> list[int]:
    """APIC ids of the enabled processors of a MADT, in table order."""
    found: list[int] = []
    for kind, entry in madt_entries(madt):
        shape = {LAPIC: layout.MADT_LAPIC, X2APIC: layout.MADT_X2APIC}.get(kind)
        if shape is not None and len(entry) >= shape.size and shape.get(entry, "flags") & ENABLED:
            found.append(shape.get(entry, "apic_id"))
    return found


def with_apic_id(leaves: CpuidTable, apic_id: int) -> CpuidTable:
    """``leaves`` as the CPU with this APIC id answers. Source: SDM vol. 2A, CPUID 01H, 0BH, 1FH; APM 8000_001EH"""
    own = dict(leaves)
    for (leaf, subleaf), (eax, ebx, ecx, edx) in leaves.items():
        if leaf == 1:
            own[leaf, subleaf] = eax, ebx & 0xFF_FFFF | (apic_id & 0xFF) << 24, ecx, edx
        elif leaf in (0xB, 0x1F, 0x8000_0026) and leaves.get((leaf, 0), (0, 0, 0, 0))[1]:
            own[leaf, subleaf] = eax, ebx, ecx, apic_id
        elif leaf == 0x8000_001E and (eax or ebx or ecx):
            own[leaf, subleaf] = apic_id, ebx, ecx, edx
    return own
