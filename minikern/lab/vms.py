"""Guests of a host: what they have, how they are written down, and whether they fit.

    4x16G,vcpus=8,vfio=1,pages=2M          on the command line; or FILE.toml with a table [[vm]] a group
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.memmap import make_e820
from hw.toml_file import decode_file
from hw.units import GIB, MIB, PAGE_SIZE, parse_size
from minikern.core.kernel import Kernel
from minikern.describe.case import Case

RAM = 1  # e820 type
ROOM = "what is free on the booted host"
MAX_VMS = 4096
PAGES = {"4K": PAGE_SIZE, "2M": 2 * MIB, "1G": GIB}

SPELLING = "[Nx]SIZE,vcpus=N,vfio=N,nics=N,disks=N,pages=4K|2M|1G,packet_us=N,dirty=SIZE"

Pages = Literal["4K", "2M", "1G"]


class VmGroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Guests that are alike. ``vfio`` devices are passed through to each, ``nics`` and ``disks`` are emulated ones.

    ``pages`` is what its memory is made of.
    """

    memory: Annotated[str, Meta(min_length=1)]
    count: Annotated[int, Meta(ge=1, le=MAX_VMS)] = 1
    vcpus: Annotated[int, Meta(ge=1, le=4096)] = 4
    vfio: Annotated[int, Meta(ge=0, le=64)] = 0
    nics: Annotated[int, Meta(ge=0, le=64)] = 1
    disks: Annotated[int, Meta(ge=0, le=256)] = 1
    pages: Pages = "2M"
    packet_us: Annotated[int, Meta(ge=10, le=10_000_000)] = 1000
    dirty: str = "512M"  # bytes it writes to anew in a second

    @property
    def memory_bytes(self) -> int:
        """Memory of one guest, whole folios."""
        folio = PAGES[self.pages]
        return -(-parse_size(self.memory, "--vm: memory") // folio) * folio

    @property
    def folios(self) -> int:
        """Pieces of memory of one guest."""
        return self.memory_bytes // PAGES[self.pages]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    vm: list[VmGroup] = []


def parse_vm(text: str) -> list[VmGroup]:
    """One ``--vm``: a group, or a file of them. InputError says what is expected."""
    if text.endswith(".toml"):
        try:
            found = decode_file(Path(text), _File).vm
        except InputError as error:
            raise InputError(f"--vm: {error}") from error
        if not found:
            raise InputError(f"--vm: {text}: no guest: expected tables [[vm]]")
        return [_checked(group, text) for group in found]
    first, *rest = text.split(",")
    number, times, size = first.partition("x")
    fields: dict[str, object] = {"memory": size, "count": number} if times else {"memory": first}
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals or key not in VmGroup.__struct_fields__ or key in ("memory", "count"):
            raise InputError(f"--vm: {word!r}: expected {SPELLING}")
        fields[key] = value
    if not fields["memory"]:
        raise InputError(f"--vm: {text!r}: no size: expected {SPELLING}")
    try:
        group = msgspec.convert(fields, VmGroup, strict=False)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise InputError(f"--vm: {text!r}: {where.rstrip('`')}: {what[:1].lower()}{what[1:]}") from error
    return [_checked(group, text)]


def _checked(group: VmGroup, where: str) -> VmGroup:
    try:
        parse_size(group.memory, "memory")
        parse_size(group.dirty, "dirty")
    except InputError as error:
        raise InputError(f"--vm: {where}: {error}") from error
    return group


def total_bytes(groups: Sequence[VmGroup]) -> int:
    """Memory of all guests. InputError: more guests than anybody could look at."""
    if sum(group.count for group in groups) > MAX_VMS:
        raise InputError(f"--vm: {sum(group.count for group in groups)} guests: expected at most {MAX_VMS}")
    return sum(group.count * group.memory_bytes for group in groups)


def ram_ranges(spec: Case) -> list[tuple[int, int]]:
    """RAM as the firmware tells it: [start, end), bytes."""
    rows = spec.e820 or make_e820(spec.memory_bytes(), spec.name)
    return [(entry.start, entry.end) for entry in rows if entry.type == RAM]


def ram_bytes(spec: Case) -> int:
    """All of it."""
    return sum(end - start for start, end in ram_ranges(spec))


def guest_room(k: Kernel) -> int:
    """Bytes of a booted host that guests can have: what is free, and free huge pages, which are kept for them."""
    huge = sum(1 << order for _, order in k.hugetlb.folios())
    return (k.page_alloc.nr_free_pages() + huge) * PAGE_SIZE


def check_fit(wanted: int, free: int, what: str) -> None:
    """InputError for guests of ``wanted`` bytes that have no room in ``free``; ``what`` says what that is."""
    if wanted > free:
        room = f"at most {free / GIB:.1f} GiB, {what}" if free > 0 else f"a machine with some {what}"
        raise InputError(f"guests of {wanted / GIB:.1f} GiB do not fit: expected {room}")
