"""What an unpacked kernel says of itself: its banner, its configuration, the sizes of its parts.

Source: arch/x86/boot/compressed/misc.c:parse_elf(), init/version-timestamp.c, kernel/configs.c,
arch/x86/kernel/vmlinux.lds.S @ v6.12
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property

from hw.units import PAGE_SIZE
from minikern.core.config import ConfigValue
from minikern.core.image import ImageSizes, linked
from minikern.describe.capture_build import kconfig
from minikern.kexec.decompress import DecompressError
from minikern.kexec.elf import E_MAGIC, PT_LOAD, Phdr, Section, program_headers, sections

BANNER = re.compile(rb"Linux version [0-9][^\n\0]{1,900} #\d[^\n\0]{0,200}\n\0")
BANNER_START = b"Linux version "
BANNER_MOST = 1200
IKCFG_START, IKCFG_END = b"IKCFG_ST", b"IKCFG_ED"
MAX_CONFIG_BYTES = 4 << 20
KIB = 1024


class Vmlinux:
    """A kernel as its ELF file. DecompressError, with Linux's words, for bytes that are none."""

    def __init__(self, data: bytes) -> None:
        if data[: len(E_MAGIC)] != E_MAGIC:
            raise DecompressError("Kernel is not a valid ELF file")
        self.data = data
        try:
            self.segments = [one for one in program_headers(data) if one.type == PT_LOAD]
        except struct.error:
            raise DecompressError("program headers outside the unpacked kernel: what is run is no kernel") from None
        if any(one.offset + one.filesz > len(data) for one in self.segments):
            raise DecompressError("a segment outside the unpacked kernel: what is run is no kernel")

    @cached_property
    def banner(self) -> str:
        """The line the kernel will begin its log with; empty if there is none.

        The text is in there twice: before the build's number was known, and with it.
        """
        found = [match for at in self._places(BANNER_START) if (match := BANNER.match(self.data, at, at + BANNER_MOST))]
        return found[-1][0].rstrip(b"\n\0").decode("ascii", "replace") if found else ""

    @cached_property
    def config(self) -> Mapping[str, ConfigValue]:
        """The options it was built with, empty without CONFIG_IKCONFIG."""
        for at in self._places(IKCFG_START):
            start = at + len(IKCFG_START)
            end = self.data.find(IKCFG_END, start)
            try:
                text = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(self.data[start:end], MAX_CONFIG_BYTES)
            except zlib.error:
                continue
            return kconfig(text.decode("utf-8", "replace"))
        return {}

    def image_sizes(self, before: ImageSizes) -> ImageSizes:
        """The sizes its sections tell; what they do not tell stays as it was. ``before`` without section headers.

        Unmoved: where its segments ask to lie.
        """
        parts = {one.name: one for one in sections(self.data)}
        if not {".text", ".rodata", ".data", ".bss", ".brk", ".init.text"} <= parts.keys():
            return before
        code, rodata = parts[".text"].size // KIB, self._rodata_bytes(parts) // KIB
        brk = self._phys(parts[".brk"])
        percpu = parts.get(".data..percpu")
        locks = parts.get(".smp_locks")
        told = {
            "code_kib": code,
            "rodata_kib": rodata,
            "rwdata_kib": parts[".data"].size // KIB,
            "init_kib": self._init_bytes(parts) // KIB,
            "bss_kib": parts[".bss"].size // KIB,
            "text_start": self._phys(parts[".text"]),
            "brk_start": brk,
            "kernel_end": brk + parts[".brk"].size,
            **linked(code, rodata),
        }
        if percpu is not None:
            told["percpu_static_bytes"] = percpu.size
        if locks is not None:
            told["smp_locks_kib"] = _page_up(locks.size) // KIB
        source = "sections of the kernel's own ELF file"
        return ImageSizes(**{**{name: getattr(before, name) for name in before.__struct_fields__}, **told,
                             "source": source})  # fmt: skip

    def _places(self, text: bytes) -> Iterator[int]:
        at = self.data.find(text)
        while at >= 0:
            yield at
            at = self.data.find(text, at + 1)

    def _segment(self, part: Section) -> Phdr | None:
        return next((one for one in self.segments if one.offset <= part.offset <= one.offset + one.memsz
                     and one.vaddr <= part.addr <= one.vaddr + one.memsz), None)  # fmt: skip

    def _phys(self, part: Section) -> int:
        segment = self._segment(part)
        return part.addr if segment is None else part.addr - segment.vaddr + segment.paddr

    def _rodata_bytes(self, parts: Mapping[str, Section]) -> int:
        # Constants end where their segment does: tables and notes behind .rodata count.
        start, segment = parts[".rodata"].addr, self._segment(parts[".rodata"])
        end = segment.vaddr + segment.memsz if segment else start + parts[".rodata"].size
        return _page_up(end - start)

    def _init_bytes(self, parts: Mapping[str, Section]) -> int:
        # From the first page of what is given back after boot to the last; the per-CPU template is among it.
        names = [name for name in parts if name.startswith((".init.", ".exit.")) and name != ".init.scratch"]
        start = self._phys(parts[".init.text"])
        if ".data..percpu" in parts:
            start = min(start, self._phys(parts[".data..percpu"]))
        end = max(self._phys(parts[name]) + parts[name].size for name in names)
        return _page_up(end) - start // PAGE_SIZE * PAGE_SIZE


def _page_up(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE
