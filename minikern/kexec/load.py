"""kexec_file_load() and kexec_load(): the loading side, on a booted kernel.

    loader = Kexec(kernel)                      # a kernel that reached /init
    loader.kexec_file_load(vmlinuz, initrd, "root=/dev/vda")
    loader.kexec_load(entry, [Segment("kernel", code, 0x4000000, 0x800000), ...])

A load that fails leaves the image that was loaded before as it was. Source: kernel/kexec_file.c, kernel/kexec.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw import purgatory as layout
from minikern.kexec import zeropage
from minikern.kexec.bzimage import ENTRY_64, MAX_FILE_BYTES, BzImage, load_bzimage
from minikern.kexec.errors import KexecError
from minikern.kexec.kimage import Kimage
from minikern.kexec.purgatory import Loaded, digest_segments, mode_of
from minikern.kexec.segments import (
    DESTINATION_BITS,
    DESTINATION_BITS_L5,
    KEXEC_SEGMENT_MAX,
    Range,
    Segment,
    locate_mem_hole,
    page_align,
    sanity_check_segment_list,
)

if TYPE_CHECKING:
    from minikern.kernel import Kernel

KEXEC_ON_CRASH, KEXEC_PRESERVE_CONTEXT = 1, 2
KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64 = 0, 62 << 16
KEXEC_ARCH_MASK = 0xFFFF0000
KEXEC_FILE_UNLOAD, KEXEC_FILE_ON_CRASH, KEXEC_FILE_NO_INITRAMFS, KEXEC_FILE_DEBUG = 1, 2, 4, 8
MIN_INITRD_LOAD_ADDR = 16 << 20  # Source: arch/x86/kernel/kexec-bzimage64.c
MIN_BOOTPARAM_ADDR = 0x3000
PAGE_SHIFT = 12


@dataclass
class Image:
    """A loaded image: its page list, and what the loader knows beside it."""

    kimage: Kimage
    purgatory: int  # address of its data, 0 if the image has none of ours
    entry: int  # where the new kernel starts
    boot_params: int
    known: Loaded | None
    bzimage: BzImage | None = None

    def segment(self, name: str) -> Segment:
        """The segment called ``name`` or numbered so. KexecError EINVAL if there is none."""
        segments = self.kimage.segments
        if name.isdecimal() and int(name) < len(segments):
            return segments[int(name)]
        for segment in segments:
            if segment.name == name:
                return segment
        raise KexecError("EINVAL", "segment", f"one of {', '.join(s.name for s in segments)}", name)

    def flip(self, name: str, offset: int, bit: int = 0) -> int:
        """Change one bit of a loaded segment where it waits in memory; returns the address its byte is meant for."""
        segment = self.segment(name)
        if not 0 <= offset < segment.memsz or not 0 <= bit < 8:
            inside = f"an offset below {segment.memsz:#x}, a bit of 0-7"
            raise KexecError("EINVAL", "flip", inside, f"{offset:#x}.{bit}")
        at = self.kimage.source_of(segment.mem + offset)
        memory = self.kimage.memory
        memory.write_int(at, 1, memory.read_int(at, 1) ^ 1 << bit)
        return segment.mem + offset


class Kexec:
    """The kexec subsystem of one running kernel; ``image`` is what is loaded, None at first."""

    def __init__(self, k: Kernel) -> None:
        self.k = k
        self.image: Image | None = None
        self._pages: list[int] = []

    def kexec_file_load(self, kernel: bytes, initrd: bytes | None = None, cmdline: str = "", flags: int = 0) -> Image:
        """Load a bzImage and initrd from their bytes. KexecError says why not (see bzimage, segments).

        Source: kernel/kexec_file.c:kexec_file_load(); kexec-bzimage64.c:bzImage64_load() @ v6.12
        """
        known = KEXEC_FILE_NO_INITRAMFS | KEXEC_FILE_DEBUG
        if flags & ~known:
            raise KexecError("EINVAL", "flags", f"only bits of {known:#x}", f"{flags:#x}")
        for name, data in (("kernel file", kernel), ("initrd file", initrd or b"")):
            if len(data) > MAX_FILE_BYTES:
                raise KexecError("EFBIG", name, f"at most {MAX_FILE_BYTES} bytes", f"{len(data)} bytes")
        if "\0" in cmdline:
            raise KexecError("EINVAL", "command line", "no NUL before its end", "a NUL inside")
        text = cmdline.encode() + b"\0"
        image = load_bzimage(kernel, len(text), self.k.pgtable_l5_enabled())
        ramdisk = b"" if flags & KEXEC_FILE_NO_INITRAMFS else initrd or b""
        segments, known_digests, params = self._file_segments(image, ramdisk, text)
        entry = next(segment.mem for segment in segments if segment.name == "kernel") + ENTRY_64
        return self._install(segments, segments[0].mem, entry, params, known_digests, image)

    def _file_segments(self, image: BzImage, initrd: bytes, cmdline: bytes) -> tuple[list[Segment], Loaded, int]:
        ram, taken = self.system_ram(), list[tuple[int, int]]()

        def place(size: int, align: int = 4096, buf_min: int = 0) -> tuple[int, int]:
            start = locate_mem_hole(ram, taken, size, align, buf_min)
            taken.append((start, start + page_align(size)))
            return start, page_align(size)

        purgatory, purgatory_size = place(layout.SIZE, buf_min=layout.MIN_ADDRESS)
        params, params_size = place(zeropage.params_bytes(len(cmdline)), buf_min=MIN_BOOTPARAM_ADDR)
        kernel, kernel_size = place(image.memsz, image.kernel_alignment, image.load_min)
        ramdisk = place(len(initrd), buf_min=MIN_INITRD_LOAD_ADDR) if initrd else (0, 0)
        page = zeropage.build_params(self.k, image, cmdline, params, (ramdisk[0], len(initrd)))
        rest = [
            Segment("boot_params", page, params, params_size),
            Segment("kernel", image.data[image.kernel_offset :], kernel, kernel_size),
        ]
        if initrd:
            rest.append(Segment("initrd", initrd, *ramdisk))
        # A loader that checks nothing still fills its tables; the purgatory is what leaves the check out.
        mode = mode_of(self.k.behaviour.get("purgatory_digest", "generic"))
        loaded = digest_segments(rest, mode)
        registers = {"rip": kernel + ENTRY_64, "rsi": params, "rsp": purgatory + layout.SIZE}
        data = layout.build(loaded.regions, loaded.digest, registers, loaded.region_digests if mode.apart else ())
        first = Segment("purgatory", data, purgatory, purgatory_size, digested=False)
        return [first, *rest], loaded, params

    def kexec_load(
        self,
        entry: int,
        segments: Sequence[Segment],
        flags: int = 0,
        *,
        boot_params: int = 0,
        purgatory: int = 0,
    ) -> Image | None:
        """Load segments made by the caller; none at all unload what is loaded.

        ``entry`` is where the relocation jumps. ``boot_params`` is the address the new kernel finds in RSI;
        ``purgatory`` the address of a purgatory laid out as hw.purgatory says, 0 if the caller brings none. KexecError:
        EINVAL (flags, more than 16 segments, and see sanity_check_segment_list()), EFAULT (a segment longer than its
        buffer), EADDRNOTAVAIL, ENOMEM. Source: kernel/kexec.c:do_kexec_load() @ v6.12
        """
        if flags & ~KEXEC_ARCH_MASK & ~KEXEC_PRESERVE_CONTEXT:
            raise KexecError("EINVAL", "flags", "no crash image, only known bits", f"{flags:#x}")
        if flags & KEXEC_ARCH_MASK not in (KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64):
            raise KexecError("EINVAL", "flags", f"architecture 0 or {KEXEC_ARCH_X86_64:#x}", f"{flags:#x}")
        if len(segments) > KEXEC_SEGMENT_MAX:
            raise KexecError("EINVAL", "nr_segments", f"at most {KEXEC_SEGMENT_MAX}", str(len(segments)))
        if not segments:
            self.unload()
            return None
        # The rules come first: a list that breaks them is refused before anybody looks at its buffers.
        self._check(segments)
        if purgatory % 4096 or (purgatory and not any(s.mem <= purgatory < s.end for s in segments)):
            raise KexecError("EINVAL", "purgatory", "the address of a page in a segment", f"{purgatory:#x}")
        for index, segment in enumerate(segments):
            if segment.bufsz > len(segment.buf):
                found = f"bufsz {segment.bufsz:#x}"
                raise KexecError("EFAULT", f"segment[{index}].buf", f"at most {len(segment.buf):#x} bytes", found)
        loaded = self._install(segments, purgatory, entry, boot_params, None, None)
        if purgatory:
            at = loaded.kimage.source_of(purgatory)
            loaded.entry = layout.read_register(self.k.machine.bus.memory, at, "rip")
        return loaded

    def unload(self) -> None:
        """Give the loaded image's pages back."""
        self._free(self._pages)
        self.image, self._pages = None, []

    def system_ram(self) -> list[Range]:
        """The running kernel's System RAM. Source: arch/x86/kernel/e820.c:e820__reserve_resources() @ v6.12"""
        from minikern.mm.e820 import RAM_TYPES

        return [Range(entry.addr, entry.end) for entry in self.k.e820.table if entry.type in RAM_TYPES]

    def _check(self, segments: Sequence[Segment]) -> None:
        total = sum(zone.managed_pages for node in self.k.nodes for zone in node.zones)
        bits = DESTINATION_BITS_L5 if self.k.pgtable_l5_enabled() else DESTINATION_BITS
        sanity_check_segment_list(segments, total, bits)

    def _install(
        self,
        segments: Sequence[Segment],
        purgatory: int,
        entry: int,
        boot_params: int,
        known: Loaded | None,
        bzimage: BzImage | None,
    ) -> Image:
        self._check(segments)
        pages: list[int] = []
        try:
            kimage = Kimage(self.k.machine.bus.memory, segments, purgatory or entry, self._source_pages(pages))
            for segment in segments:
                kimage.load_segment(segment)
            kimage.terminate()
        except KexecError:
            self._free(pages)
            raise
        self.unload()
        self._pages = pages
        self.image = Image(kimage, purgatory, entry, boot_params, known, bzimage)
        return self.image

    def _source_pages(self, taken: list[int]) -> Iterator[int]:
        while (pfn := self.k.page_alloc.alloc_pages(0)) is not None:
            taken.append(pfn)
            yield pfn << PAGE_SHIFT

    def _free(self, pages: Sequence[int]) -> None:
        for pfn in pages:
            self.k.page_alloc.free_pages(pfn, 0)

