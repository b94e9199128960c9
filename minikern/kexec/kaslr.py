"""Where the decompressor may put a kernel that was handed memory: places in the scratch areas, and nowhere else.

Which of them it takes is drawn from the processor's entropy, so it cannot be told; that there is none can be.
Source: arch/x86/boot/compressed/kaslr.c:choose_random_location(), process_kho_entries() @ v6.16
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from hw import boot_params
from hw.units import GIB, MIB
from minikern.core.cmdline import memparse, next_args
from minikern.kexec.setup_data import HEAD
from minikern.state.kho_abi import KHO_DATA, SCRATCH, SETUP_KEXEC_KHO

if TYPE_CHECKING:
    from minikern.kexec.load import Image

PHYSICAL_ALIGN = 2 * MIB  # Source: arch/x86/Kconfig
HIGHEST_MINIMUM = 512 * MIB
MAX_SLOT_AREAS = 100
MAX_MEMMAP_REGIONS = 4

Span = tuple[int, int]
"""[start, end) in bytes."""


class Slots(NamedTuple):
    """So many places, ``PHYSICAL_ALIGN`` apart, from ``first`` on."""

    first: int
    places: int


@dataclass
class Places:
    """What there is to choose from; ``loaded`` is where the kernel lies without a choice."""

    loaded: int
    slots: list[Slots] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All places."""
        return sum(slots.places for slots in self.slots)

    def told(self) -> str:
        """In one sentence."""
        if not self.count:
            return f"KASLR finds no place in scratch: the next kernel stays where it was put, at {self.loaded:#x}"
        low = min(slots.first for slots in self.slots)
        high = max(slots.first + (slots.places - 1) * PHYSICAL_ALIGN for slots in self.slots)
        drawn = f"KASLR draws one of {self.count} places in the scratch areas, {low:#x} to {high:#x}"
        return f"{drawn}: which one cannot be told, so the next kernel stays at {self.loaded:#x} here"


@dataclass
class Words:
    """What the next kernel's line takes from the choice."""

    limit: int = 1 << 64
    avoid: list[Span] = field(default_factory=list)
    too_many: bool = False
    gigantic: int = 0


def places_of(image: Image) -> Places | None:
    """The places of a loaded image; None where nothing is handed over or nothing drawn (``nokaslr``)."""
    page = image.segment("boot_params")
    kernel = image.segment("kernel")
    areas = _scratch_areas(image, page.buf, page.mem)
    start = boot_params.get(page.buf, "cmd_line_ptr") - page.mem
    line = page.buf[start : page.buf.index(b"\0", start)].decode("utf-8", "replace")
    if areas is None or image.bzimage is None or "nokaslr" in line.split():
        return None
    words = read_words(line)
    end = kernel.mem + boot_params.get(page.buf, "init_size")
    payload = end - kernel.bufsz + boot_params.get(page.buf, "payload_offset")
    # What runs then was moved to the end of its room; of its heap and stack nothing is known here.
    avoid = [(payload, end), (page.mem, page.mem + page.memsz), *words.avoid]
    avoid += [(one.mem, one.mem + one.bufsz) for one in image.kimage.segments if one.name == "initrd"]
    found = Places(kernel.mem)
    minimum = min(kernel.mem, HIGHEST_MINIMUM)
    if not words.too_many and minimum + end - kernel.mem <= words.limit:
        found.slots = slots_in(areas, minimum, end - kernel.mem, avoid, words.limit, words.gigantic)
    return found


def _scratch_areas(image: Image, page: bytes, address: int) -> list[Span] | None:
    node = boot_params.get(page, "setup_data")
    while address <= node < address + len(page):
        following, kind, _ = HEAD.unpack_from(page, node - address)
        if kind == SETUP_KEXEC_KHO:
            array = next(one for one in image.kimage.segments if one.name == "kho_scratch")
            size = KHO_DATA.unpack_from(page, node - address + HEAD.size)[3]
            areas = SCRATCH.iter_unpack(array.buf[: size // SCRATCH.size * SCRATCH.size])
            return [(start, start + length) for start, length in areas]
        node = following
    return None


def read_words(line: str) -> Words:
    """``mem=``, ``memmap=`` and huge pages of 1 GiB. Source: kaslr.c:handle_mem_options(), mem_avoid_memmap()"""
    words, gigantic_size = Words(), False
    for name, value in next_args(line):
        if name == "--":
            break
        if not value:
            continue
        if name == "mem" and memparse(value)[0]:
            words.limit = min(words.limit, memparse(value)[0])
        elif name == "memmap":
            _memmap(words, value)
        elif name == "hugepagesz":
            gigantic_size = memparse(value)[0] == GIB
        elif name == "hugepages" and gigantic_size:
            words.gigantic = memparse(value)[0]
    return words


def _memmap(words: Words, value: str) -> None:
    for text in value.split(","):
        size, rest = memparse(text)
        if rest[:1] in ("#", "$", "!"):
            start = memparse(rest[1:])[0]
            words.too_many |= len(words.avoid) >= MAX_MEMMAP_REGIONS
            words.avoid.append((start, start + size))
        elif not rest and size:
            words.limit = min(words.limit, size)


def slots_in(
    areas: Iterable[Span], minimum: int, size: int, avoid: Sequence[Span], limit: int = 1 << 64, gigantic: int = 0
) -> list[Slots]:
    """Places for ``size`` bytes, not below ``minimum``, that touch nothing of ``avoid``.

    ``gigantic`` huge pages of 1 GiB find their gigabytes untouched, as many as there are.
    Source: kaslr.c:__process_mem_region(), process_gb_huge_pages() @ v6.12
    """
    found: list[Slots] = []
    left = gigantic
    for low, high in areas:
        for start, end in _clear(max(low, minimum), min(high, limit), size, avoid):
            first = -(-start // GIB) * GIB
            kept = min(left, max(0, end - first) // GIB)
            left -= kept
            parts = [(start, first), (first + kept * GIB, end)] if kept else [(start, end)]
            for begin, stop in parts:
                if stop - begin >= size and len(found) < MAX_SLOT_AREAS:
                    found.append(Slots(begin, 1 + (stop - begin - size) // PHYSICAL_ALIGN))
    return found


def _clear(start: int, end: int, size: int, avoid: Sequence[Span]) -> Iterator[Span]:
    while True:
        start = -(-start // PHYSICAL_ALIGN) * PHYSICAL_ALIGN
        if start + size > end:
            return
        touched = [span for span in avoid if span[0] < end and span[1] > start]
        if not touched:
            yield start, end
            return
        low, high = min(touched)
        if low >= start + size:
            yield start, low
        start = max(high, start)
