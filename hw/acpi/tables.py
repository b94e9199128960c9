"""Everything the firmware writes to memory for ACPI."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hw.acpi import static
from hw.acpi.dsdt import Described, build_dsdt
from hw.acpi.ec import ecdt
from hw.acpi.layout import FACS
from hw.acpi.reduced import reduced_fadt
from hw.acpi.spec import DEFAULT_RSDP, AcpiSpec
from hw.acpi.ssdt import build_oem_tables, build_ssdts
from hw.errors import InputError
from hw.pci.spec import PciSpec

if TYPE_CHECKING:
    from hw.spec import CpuPlace

ALIGNMENT = 64  # of every table; the FACS must have it. Source: ACPI 6.5 clause 5.2.10
Placed = tuple[int, bytes]
NodePlace = tuple[int, Sequence[int], Sequence[static.MemoryLike]]
"""A node: proximity domain, positions of its CPUs in MADT order, memory ranges."""


def build_tables(
    spec: AcpiSpec,
    cpus: Sequence[CpuPlace] = (),
    nodes: Sequence[NodePlace] = (),
    distances: Sequence[Sequence[int]] = (),
    pci: PciSpec | None = None,
    listed_cpus: Sequence[CpuPlace] | None = None,
) -> list[Placed]:
    """(address, bytes) of RSDP and every table: captured ones as they were, described ones built.

    ``cpus`` are in MADT order; ``listed_cpus`` is what a faulty MADT lists instead.
    Described tables lie one after the other in [``spec.base``, ``spec.base + spec.size``). They are built once for a
    description, wherever they lie: many boots of one machine share the bytes.
    InputError: no such range, or one that is too small.
    """
    if not spec.enabled:
        return []
    if spec.raw:
        return _captured(spec)
    if not spec.base:
        raise InputError("acpi: no place for the tables: expected acpi.base, or an e820 range of type 3 (ACPI data)")
    pci = pci or PciSpec()
    return _placed(spec, _contents(_Asked(spec, cpus, nodes, distances, pci, listed_cpus)))


class _Contents(NamedTuple):
    """The tables that say nothing of where tables lie: the DSDT, and those that the root lists after the FADT."""

    dsdt: bytes
    others: tuple[bytes, ...]


class _Asked:
    """What tables are built from; two are equal when all that is written in them is, wherever they lie."""

    def __init__(
        self, spec: AcpiSpec, cpus: Sequence[CpuPlace], nodes: Sequence[NodePlace],
        distances: Sequence[Sequence[int]], pci: PciSpec, listed_cpus: Sequence[CpuPlace] | None,
    ) -> None:  # fmt: skip
        self.spec, self.cpus, self.nodes, self.distances = spec, cpus, nodes, distances
        self.pci, self.listed_cpus = pci, listed_cpus
        anywhere = msgspec.structs.replace(spec, base=0, size=0)
        self.key = msgspec.msgpack.encode((anywhere, cpus, nodes, distances, pci, listed_cpus))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Asked) and self.key == other.key


@lru_cache(maxsize=8)
def _contents(asked: _Asked) -> _Contents:
    spec, cpus, pci, listed_cpus = asked.spec, asked.cpus, asked.pci, asked.listed_cpus
    affinity = sorted((at, pxm) for pxm, members, _ in asked.nodes for at in members if at < len(cpus))
    memory = [(pxm, item) for pxm, _, ranges in asked.nodes for item in ranges]
    described = Described(spec, list(cpus), {cpus[at].apic_id: pxm for at, pxm in affinity}, pci)
    ids = spec.ids()
    found = [static.madt(spec, cpus if listed_cpus is None else listed_cpus)]
    if affinity or memory:
        found.append(static.srat([(pxm, cpus[at].apic_id) for at, pxm in affinity], memory, ids))
    if asked.distances:
        found.append(static.slit(asked.distances, ids))
    if windows := [(one.base, one.segment, one.start_bus, one.end_bus) for one in pci.ecam_windows()]:
        found.append(static.mcfg(windows, ids))
    if spec.hpet_address:
        found.append(static.hpet(spec.hpet_address, spec.hpet_id, ids))
    if spec.ec is not None and spec.ec.ecdt:
        found.append(ecdt(spec.ec, ids))
    if pci.drhd:
        found.append(static.dmar(pci.drhd, ids, pci.dmar_address_width))
    return _Contents(build_dsdt(described), (*found, *build_ssdts(described), *build_oem_tables(described)))


def _placed(spec: AcpiSpec, contents: _Contents) -> list[Placed]:
    area = _Area(spec.base, spec.base + spec.size if spec.size else 1 << 32)
    facs_address = area.put(static.facs())
    fadt = static.fadt(spec, facs_address, area.put(contents.dsdt))
    roots = [area.put(reduced_fadt(fadt) if spec.hardware_reduced else fadt)]
    roots.extend(area.put(table) for table in contents.others)
    return [_rsdp(spec, area, roots), *area.placed]


def _rsdp(spec: AcpiSpec, area: _Area, roots: Sequence[int]) -> Placed:
    ids = spec.ids()
    rsdt = area.put(static.rsdt(roots, ids)) if spec.root_kind == "rsdt" or spec.rsdp_revision < 2 else 0
    xsdt = 0 if rsdt else area.put(static.xsdt(roots, ids))
    address = DEFAULT_RSDP if spec.rsdp_address is None else spec.rsdp_address
    return address, static.rsdp(spec.rsdp_revision, spec.oem_id, rsdt, xsdt)


def _captured(spec: AcpiSpec) -> list[Placed]:
    placed = [(table.address, reduced_fadt(table.data) if spec.hardware_reduced and table.data[:4] == b"FACP"
               else table.data) for table in spec.raw]  # fmt: skip
    if spec.rsdp is not None and spec.rsdp_address is not None:
        placed.insert(0, (spec.rsdp_address, spec.rsdp))
    return placed


class AreaFullError(InputError):
    """The tables take more than their range has."""


class _Area:
    """Memory filled from the bottom up."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end, self.next = start, end, start
        self.placed: list[Placed] = []

    def put(self, data: bytes) -> int:
        """Place ``data`` at the next aligned address and return it."""
        address = -(-self.next // ALIGNMENT) * ALIGNMENT
        self.next = address + len(data)
        if self.next > self.end:
            what = "FACS" if len(data) == FACS.size else data[:4].decode("latin-1")
            raise AreaFullError(
                f"acpi: table {what} ({len(data)} bytes) does not fit the ACPI data region"
                f" [{self.start:#x}, {self.end:#x}): at least {self.next - self.start:#x} bytes are needed"
            )
        self.placed.append((address, data))
        return address
