"""Memory, CPUs and huge pages as sliders have them: which positions there are, and the machine at each.

A position other than the machine's own is what ``--memory`` and ``--cpus`` make of it, so a memory map that was given
range by range becomes a made-up one. Huge pages are a share of the memory; with other memory the share stays.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import msgspec

from hw.errors import InputError
from hw.spec import MAX_CPUS
from hw.units import parse_size
from minikern.core.variant import Variant
from minikern.describe.adjust import MAX_MEMORY, Adjustments, adjust
from minikern.describe.case import Case

RAM = 1  # an e820 type
SECTION = 128 << 20  # nodes are cut at its boundaries
CORES = (1, 2, 4, 8, 16, 32, 64, 128)  # a die
SHARES = (0.0, 0.25, 0.5, 0.85)  # of the memory in huge pages
APART = 0.03  # of the memory: shares nearer to the machine's own are left out
SMALLER, LARGER = 8, 4  # times as little and as much memory as there is
GIB, MIB = 1 << 30, 1 << 20
LARGE_FROM = 32 * GIB  # memory from which pages of 1 GiB are taken
KEPT = "a captured machine keeps its CPUs: its ACPI tables list them"


class Position(msgspec.Struct, frozen=True):
    """One place of a slider; ``value`` is in bytes, CPUs, or as a share of the memory."""

    label: str
    value: float


class Axis(msgspec.Struct, frozen=True):
    """One slider. ``own`` is the machine's own place; with nothing to choose from, ``absent`` says why."""

    name: str
    positions: list[Position]
    own: int
    absent: str = ""


class Asked(NamedTuple):
    """A boot to make: machine, variant, words added."""

    spec: Case
    variant: Variant | None
    append: str


def memory_bytes(spec: Case) -> int:
    """Usable memory of a described machine."""
    return spec.memory_bytes() or sum(entry.end - entry.start for entry in spec.e820 if entry.type == RAM)


def axes_of(asked: Asked) -> list[Axis]:
    """The three sliders of a machine as it boots: memory, CPUs, huge pages."""
    return [_memory_axis(asked.spec), _cpu_axis(asked.spec), _huge_axis(asked)]


def machine_at(asked: Asked, axes: list[Axis], places: tuple[int, ...]) -> Asked:
    """The boot with each slider at its place (an index a slider). InputError: there is no such machine."""
    spec = copy.deepcopy(asked.spec)
    memory, cpus, huge = axes
    if places[0] != memory.own:
        adjust(spec, Adjustments(memory=str(int(memory.positions[places[0]].value))))
    if places[1] != cpus.own:
        adjust(spec, Adjustments(cpus=_cpus_option(spec, int(cpus.positions[places[1]].value))))
    if huge.absent or (places[2] == huge.own and (places[0] == memory.own or not huge.positions[huge.own].value)):
        return asked._replace(spec=spec)
    share = huge.positions[places[2]].value
    return _with_huge_pages(asked._replace(spec=spec), share * memory.positions[places[0]].value)


def _axis(name: str, own: Position, others: list[Position]) -> Axis:
    places = sorted([own, *others], key=lambda place: place.value)
    return Axis(name, places, places.index(own))


def _memory_axis(spec: Case) -> Axis:
    own = memory_bytes(spec)
    here = Position(f"{_size(own)}, as it is", own)
    try:
        adjust(copy.deepcopy(spec), Adjustments(memory=str(own)))
    except InputError as error:
        return Axis("memory", [here], 0, _reason(error))
    least = max(own // SMALLER, SECTION * max(1, len(spec.nodes)))
    sizes = [1 << power for power in range(MAX_MEMORY.bit_length())]
    same = own if not spec.e820 else 0  # the map that is there already
    found = [size for size in sizes if least <= size <= min(own * LARGER, MAX_MEMORY) and size != same]
    return _axis("memory", here, [Position(_size(size), size) for size in found])


def _cpu_axis(spec: Case) -> Axis:
    own = spec.cpus.count
    here = Position(f"{own}, as it is", own)
    if spec.acpi.raw:
        return Axis("CPUs", [here], 0, KEPT)
    try:
        adjust(copy.deepcopy(spec), Adjustments(cpus=_cpus_option(spec, own)))
    except InputError as error:
        return Axis("CPUs", [here], 0, _reason(error))
    unit = spec.cpus.sockets * spec.cpus.dies * spec.cpus.threads
    counts = [unit * cores for cores in CORES if unit * cores <= min(max(2 * own, 2 * unit), MAX_CPUS)]
    return _axis("CPUs", here, [Position(str(count), count) for count in counts if count != own])


def _cpus_option(spec: Case, count: int) -> str:
    cpus = spec.cpus
    return f"{count},sockets={cpus.sockets},dies={cpus.dies},threads={cpus.threads}"


def _huge_axis(asked: Asked) -> Axis:
    try:
        bytes_now = _asked_bytes(_words(asked))
    except InputError as error:
        return Axis("huge pages", [Position("as it is", 0.0)], 0, str(error))
    own = bytes_now / memory_bytes(asked.spec)
    here = Position(f"{own:.0%} of memory, as it is", own)
    others = [share for share in SHARES if abs(share - own) > APART]
    return _axis("huge pages", here, [Position(f"{share:.0%} of memory", share) for share in others])


def _words(asked: Asked) -> list[str]:
    own = asked.variant.append if asked.variant else ""
    return f"{asked.spec.append} {own} {asked.append}".split()


def _asked_bytes(words: list[str]) -> int:
    sizes = [word.partition("=")[2] for word in words if word.startswith("hugepagesz=")]
    counts = [word.partition("=")[2] for word in words if word.startswith("hugepages=")]
    usual = any(word.startswith(("default_hugepagesz=", "hugetlb_cma=")) for word in words)
    if len(sizes) > 1 or len(counts) > 1 or usual or not all(count.isdecimal() for count in counts):
        raise InputError("its command line asks for huge pages in more than one way")
    return int(counts[0]) * (parse_size(sizes[0], "hugepagesz") if sizes else 2 * MIB) if counts else 0


def huge_page_bytes(asked: Asked) -> int:
    """The size of the pages that a slider moves: as asked for already, else by how much memory there is."""
    sizes = [word.partition("=")[2] for word in _words(asked) if word.startswith("hugepagesz=")]
    if sizes:
        return parse_size(sizes[0], "hugepagesz")
    return GIB if memory_bytes(asked.spec) >= LARGE_FROM and not _asked_bytes(_words(asked)) else 2 * MIB


def _with_huge_pages(asked: Asked, wanted: float) -> Asked:
    size = huge_page_bytes(asked)
    count = int(wanted) // size
    spec, variant = asked.spec, asked.variant
    spec.append = _less_huge(spec.append)
    if variant is not None:
        variant = msgspec.structs.replace(variant, append=_less_huge(variant.append))
    words = f"hugepagesz={_word(size)} hugepages={count}"
    return Asked(spec, variant, f"{_less_huge(asked.append)} {words}".strip())


def _less_huge(words: str) -> str:
    return " ".join(word for word in words.split() if not word.startswith(("hugepagesz=", "hugepages=")))


def _word(size: int) -> str:
    return f"{size // GIB}G" if size % GIB == 0 else f"{size // MIB}M"


def _size(size: int) -> str:
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size / MIB:.4g} MiB"


def _reason(error: InputError) -> str:
    # Without the option that nobody gave.
    return str(error).partition(": ")[2]
