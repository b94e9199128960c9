"""bzImage64_load(): which segments an image from files becomes, and where each of them goes.

Source: arch/x86/kernel/kexec-bzimage64.c, kernel/kexec_file.c @ v6.1 and v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from hw import purgatory as layout
from hw.units import PAGE_SIZE
from minikern.kexec import crash, zeropage
from minikern.kexec.bzimage import ENTRY_64, BzImage
from minikern.kexec.errors import KexecError
from minikern.kexec.ima import measurement_list
from minikern.kexec.purgatory import Loaded, digest_segments, mode_of
from minikern.kexec.segments import Range, Segment, locate_mem_hole, page_align
from minikern.kho.preserve import finalize
from minikern.kho.scratch import scratch_array
from minikern.mm.buddy.cma_alloc import dma_alloc_from_contiguous, dma_release_from_contiguous

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MIN_INITRD_LOAD_ADDR = 16 << 20  # Source: arch/x86/kernel/kexec-bzimage64.c
MIN_BOOTPARAM_ADDR = 0x3000
KHO_SCRATCH_ALIGN = 64 << 10  # Source: kernel/liveupdate/kexec_handover.c:kho_fill_kimage() @ v7.2


class FileImage(NamedTuple):
    """Segments in Linux's order, and what the loader knows beside them."""

    segments: list[Segment]
    known: Loaded
    purgatory: int
    boot_params: int
    entry: int


def system_ram(k: Kernel) -> list[Range]:
    """The running kernel's System RAM. Source: arch/x86/kernel/e820.c:e820__reserve_resources() @ v6.12"""
    from minikern.mm.early.e820 import RAM_TYPES

    return [Range(entry.addr, entry.end) for entry in k.e820.table if entry.type in RAM_TYPES]


@dataclass
class Placer:
    """kexec_add_buffer(): finds a place for one buffer after the other."""

    ram: list[Range]
    highest_first: bool
    end_used: bool
    scratch: bool = False  # ``ram`` are scratch areas, tried in their order
    contig: Callable[[int, int], int | None] | None = None  # (bytes, alignment) -> address in CMA, tried first
    in_cma: list[tuple[int, int]] = field(default_factory=list)  # (address, bytes) that came from there
    taken: list[tuple[int, int]] = field(default_factory=list)

    def place(self, size: int, align: int = 4096, buf_min: int = 0, bottom_up: bool = False) -> tuple[int, int]:
        """Address and bytes of memory for ``size`` bytes. KexecError EADDRNOTAVAIL if there is no room.

        What the contiguous allocator gives is taken as it is, whatever ``buf_min``.
        Source: kernel/kexec_file.c:kexec_locate_mem_hole(), kexec_alloc_contig() @ v6.17
        """
        size = page_align(size)
        if self.contig is not None and (at := self.contig(size, align)) is not None:
            self.in_cma.append((at, size))
            self.taken.append((at, at + size))
            return at, size
        start = locate_mem_hole(
            self.ram, self.taken, size, align, buf_min,
            highest_first=self.highest_first, end_used=self.end_used, bottom_up=bottom_up, as_given=self.scratch,
        )  # fmt: skip
        self.taken.append((start, start + size))
        return start, size


def file_segments(
    k: Kernel,
    image: BzImage,
    initrd: bytes,
    cmdline: bytes,
    notes: crash.CrashNotes | None = None,
    no_cma: bool = False,
) -> FileImage:
    """The segments for ``image``; with ``notes`` it is a crash kernel's, inside the reservation.

    ``cmdline`` ends with a NUL. Pages of the contiguous allocator are given back if the load fails here.
    """
    contig = None if no_cma or notes is not None or k.kho.outgoing is not None else _contig(k)
    given: list[tuple[int, int]] = []
    try:
        return _segments(k, image, initrd, cmdline, notes, contig, given)
    except KexecError:
        release_cma(k, given)
        raise


def _contig(k: Kernel) -> Callable[[int, int], int | None] | None:
    if not k.behaviour.kexec_cma:
        return None

    def alloc(size: int, align: int) -> int | None:
        order = max(0, (align // PAGE_SIZE - 1).bit_length())
        pfn = dma_alloc_from_contiguous(k, size // PAGE_SIZE, order)
        return None if pfn is None else pfn * PAGE_SIZE

    return alloc


def release_cma(k: Kernel, ranges: Sequence[tuple[int, int]]) -> None:
    """Give (address, bytes) back to the contiguous allocator. Source: kernel/kexec_core.c:kimage_free_cma() @ v6.17"""
    for address, size in ranges:
        dma_release_from_contiguous(k, address // PAGE_SIZE, size // PAGE_SIZE)


def _segments(
    k: Kernel,
    image: BzImage,
    initrd: bytes,
    cmdline: bytes,
    notes: crash.CrashNotes | None,
    contig: Callable[[int, int], int | None] | None,
    given: list[tuple[int, int]],
) -> FileImage:
    ram = system_ram(k)
    rules = k.behaviour.kexec_ranges_top_down, k.behaviour.kexec_range_end_used
    early: list[Segment] = []
    if notes is None:
        placer = _scratch_placer(k, rules[1]) or Placer(ram, *rules, contig=contig, in_cma=given)
        rows = None
        if (measured := measurement_list(k)) is not None:
            early.append(Segment("ima", measured, *placer.place(len(measured)), digested=False))
        if placer.scratch:
            array = scratch_array(k)
            early.append(Segment("kho_scratch", array, *placer.place(len(array), KHO_SCRATCH_ALIGN)))
    else:
        start, size = k.crashk.res
        placer = Placer([Range(start, start + size)] if size else [], *rules)
        head = crash.prepare_elf_headers(k, notes, ram)
        memsz = crash.headers_memsz(k, len(head))
        # What hotplug may rewrite later cannot be part of the digest.
        early.append(Segment("elfcorehdr", head, *placer.place(memsz, bottom_up=True), digested=memsz == len(head)))
        rows = crash.crash_memmap(k, (early[0].mem, memsz))
        cmdline = f"elfcorehdr={early[0].mem:#x} ".encode() + cmdline
    return _rest(k, image, initrd, cmdline, placer, early, rows)


def _scratch_placer(k: Kernel, end_used: bool) -> Placer | None:
    # With Kexec HandOver nothing of the new kernel may lie where something preserved could.
    # Source: kernel/liveupdate/kexec_handover.c:kho_locate_mem_hole() @ v7.2
    if k.kho.outgoing is None:
        return None
    finalize(k)
    areas = [Range(area.addr, area.addr + area.size) for area in k.kho.scratch if area.size]
    return Placer(areas, False, end_used, scratch=True)


def _rest(
    k: Kernel,
    image: BzImage,
    initrd: bytes,
    cmdline: bytes,
    placer: Placer,
    early: list[Segment],
    rows: crash.Rows | None,
) -> FileImage:
    purgatory, purgatory_size = placer.place(layout.SIZE, buf_min=layout.MIN_ADDRESS)
    # The room for elfcorehdr= is counted once, whether the words are there or not.
    given = len(cmdline) - (len(cmdline.split(b" ", 1)[0]) + 1 if rows is not None else 0)
    places = zeropage.layout_for(k, given)
    params, params_size = placer.place(places.size, buf_min=MIN_BOOTPARAM_ADDR)
    kernel, kernel_size = placer.place(image.memsz, image.kernel_alignment, image.load_min)
    ramdisk = placer.place(len(initrd), buf_min=MIN_INITRD_LOAD_ADDR) if initrd else (0, 0)
    ima = next(((one.mem, one.bufsz) for one in early if one.name == "ima"), (0, 0))
    scratch = next(((one.mem, one.bufsz) for one in early if one.name == "kho_scratch"), (0, 0))
    page = zeropage.build_params(k, image, cmdline, places, params, (ramdisk[0], len(initrd)), rows, ima, scratch)
    rest = [
        Segment("boot_params", page, params, params_size),
        Segment("kernel", image.data[image.kernel_offset :], kernel, kernel_size),
    ]
    if initrd:
        rest.append(Segment("initrd", initrd, *ramdisk))
    # A loader that checks nothing still fills its tables; the purgatory is what leaves the check out.
    mode = mode_of(k.experiment.purgatory_digest)
    cma = {start for start, _ in placer.in_cma}
    safe = placer.scratch or (all(one.mem in cma for one in [*early, *rest]) and purgatory in cma)
    loaded = digest_segments([] if safe and k.behaviour.kexec_digest_skipped else [*early, *rest], mode)
    entry = kernel + ENTRY_64
    registers = {"rip": entry, "rsi": params, "rsp": purgatory + layout.SIZE}
    data = layout.build(loaded.regions, loaded.digest, registers, loaded.region_digests if mode.apart else ())
    first = Segment("purgatory", data, purgatory, purgatory_size, digested=False)
    segments = [replace(one, cma=one.mem in cma) for one in (*early, first, *rest)]
    return FileImage(segments, loaded, purgatory, params, entry)
