"""kexec_file_load() and kexec_load(): the loading side, on a booted kernel.

    loader = Kexec(kernel)                      # a kernel that reached /init
    loader.kexec_file_load(vmlinuz, initrd, "root=/dev/vda")
    kernel = Segment("kernel", code, mem=0x4000000, memsz=0x800000)
    params = Segment("boot_params", page, mem=0x90000, memsz=0x2000)
    image = loader.kexec_load(kernel.mem + ENTRY_64, [kernel, params], boot_params=params.mem)
    minikern.lab.kexec.reboot(boot, image)      # boot: what minikern.lab.run.boot() gave, with kernel in it

A load that fails leaves the image that was loaded before as it was. Source: kernel/kexec_file.c, kernel/kexec.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from hw import purgatory as layout
from hw.numbers import is_count
from hw.units import PAGE_SHIFT
from minikern.core.printk import Level
from minikern.kexec.bzimage import MAX_FILE_BYTES, BzImage, load_bzimage
from minikern.kexec.crash import CrashNotes
from minikern.kexec.errors import KexecError
from minikern.kexec.file_load import file_segments, release_cma, system_ram
from minikern.kexec.kimage import CrashKimage, Kimage
from minikern.kexec.purgatory import Loaded
from minikern.kexec.segments import (
    DESTINATION_BITS,
    DESTINATION_BITS_L5,
    KEXEC_SEGMENT_MAX,
    Range,
    Segment,
    sanity_check_segment_list,
)
from minikern.kexec.tools_load import tools_segments

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KEXEC_ON_CRASH, KEXEC_PRESERVE_CONTEXT = 1, 2
KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64 = 0, 62 << 16
KEXEC_ARCH_MASK = 0xFFFF0000
KEXEC_FILE_UNLOAD, KEXEC_FILE_ON_CRASH, KEXEC_FILE_NO_INITRAMFS, KEXEC_FILE_DEBUG = 1, 2, 4, 8
KEXEC_FILE_NO_CMA = 16


@dataclass
class Image:
    """A loaded image: its page list, and what the loader knows beside it."""

    kimage: Kimage | CrashKimage
    purgatory: int  # address of its data, 0 if the image has none of ours
    entry: int  # where the new kernel starts
    boot_params: int
    known: Loaded | None
    bzimage: BzImage | None = None
    notes: CrashNotes | None = None  # a crash kernel's

    @property
    def crash(self) -> bool:
        """True for a crash kernel: it waits where it will run."""
        return isinstance(self.kimage, CrashKimage)

    def segment(self, name: str) -> Segment:
        """The segment called ``name`` or numbered so. KexecError EINVAL if there is none."""
        segments = self.kimage.segments
        if is_count(name) and int(name) < len(segments):
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


@dataclass
class Policy:
    """What the running kernel asks of a file's signature. ``trusted`` None: it does not look at signatures at all.

    Source: kernel/kexec_file.c:kimage_validate_signature() @ v6.12
    """

    trusted: Sequence[Any] | None = None  # X.509 certificates, see minikern.kexec.signature
    sig_enforce: bool = False
    locked_down: bool = False


class Kexec:
    """The kexec subsystem of one running kernel; ``image`` and ``crash_image`` are what is loaded, None at first."""

    def __init__(self, k: Kernel, policy: Policy | None = None) -> None:
        self.k = k
        self.policy = policy or Policy()
        self.image: Image | None = None
        self.crash_image: Image | None = None
        self._pages: list[int] = []
        self._cma: list[tuple[int, int]] = []

    def kexec_file_load(
        self, kernel: bytes, initrd: bytes | None = None, cmdline: str = "", flags: int = 0
    ) -> Image:
        """Load a bzImage and initrd from their bytes. KexecError says why not (see bzimage, segments, signature).

        With KEXEC_FILE_ON_CRASH the image goes into the memory kept by ``crashkernel=``; the one that was there is
        gone first, as in Linux, for they would share the place.
        Source: kernel/kexec_file.c:kexec_file_load(); kexec-bzimage64.c:bzImage64_load() @ v6.12
        """
        known = self.k.behaviour.kexec_file_flags & ~KEXEC_FILE_UNLOAD
        if flags & ~known:
            raise KexecError("EINVAL", "flags", f"only bits of {known:#x} (unload() unloads)", f"{flags:#x}")
        crash = bool(flags & KEXEC_FILE_ON_CRASH)
        if crash:
            self.unload_crash()
        for name, data in (("kernel file", kernel), ("initrd file", initrd or b"")):
            if len(data) > MAX_FILE_BYTES:
                raise KexecError("EFBIG", name, f"at most {MAX_FILE_BYTES} bytes", f"{len(data)} bytes")
        if "\0" in cmdline:
            raise KexecError("EINVAL", "command line", "no NUL before its end", "a NUL inside")
        text = cmdline.encode() + b"\0"
        image = load_bzimage(kernel, len(text), self.k.pgtable_l5_enabled(), self._verify_sig)
        ramdisk = b"" if flags & KEXEC_FILE_NO_INITRAMFS else initrd or b""
        notes = CrashNotes(self.k) if crash else None
        try:
            loaded = file_segments(self.k, image, ramdisk, text, notes, bool(flags & KEXEC_FILE_NO_CMA))
        except KexecError:
            if notes:
                notes.free()
            raise
        cma = [(one.mem, one.memsz) for one in loaded.segments if one.cma]
        try:
            done = Image(self._kimage(loaded.segments, loaded.purgatory + layout.ENTRY, crash), loaded.purgatory,
                         loaded.entry, loaded.boot_params, loaded.known, image, notes)  # fmt: skip
        except KexecError:
            release_cma(self.k, cma)
            if notes:
                notes.free()
            raise
        self._cma = [] if crash else cma
        return self._keep(done)

    def _verify_sig(self, kernel: bytes) -> None:
        if self.policy.trusted is None:
            return
        from minikern.kexec.signature import kimage_validate_signature

        try:
            kimage_validate_signature(kernel, self.policy.trusted, self.policy.sig_enforce, self.policy.locked_down)
        except KexecError as fault:
            if self.policy.sig_enforce:
                text = f"kexec_file: Enforced kernel signature verification failed ({-fault.errno})."
                self.k.printk(text, Level.NOTICE)
            else:
                self._locked_down("kexec of unsigned images")
            raise

    def _locked_down(self, what: str) -> None:
        # Source: security/lockdown/lockdown.c:lockdown_is_locked_down() @ v6.12
        self.k.printk(f"Lockdown: init: {what} is restricted; see man kernel_lockdown.7", Level.NOTICE)

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
        EPERM (locked down: nobody can sign segments), EINVAL (flags, more than 16 segments, and see
        sanity_check_segment_list()), EFAULT (a segment longer than its buffer), EADDRNOTAVAIL, ENOMEM. With
        KEXEC_ON_CRASH everything must lie in the memory kept by ``crashkernel=``.
        Source: kernel/kexec.c:kexec_load_check(), do_kexec_load() @ v6.12
        """
        if self.policy.locked_down:
            self._locked_down("kexec of unsigned images")
            raise KexecError("EPERM", "kexec_load", "a kernel that is not locked down", "lockdown=integrity or more")
        if flags & ~KEXEC_ARCH_MASK & ~(KEXEC_PRESERVE_CONTEXT | KEXEC_ON_CRASH):
            raise KexecError("EINVAL", "flags", "only known bits", f"{flags:#x}")
        crash = bool(flags & KEXEC_ON_CRASH)
        if flags & KEXEC_ARCH_MASK not in (KEXEC_ARCH_DEFAULT, KEXEC_ARCH_X86_64):
            raise KexecError("EINVAL", "flags", f"architecture 0 or {KEXEC_ARCH_X86_64:#x}", f"{flags:#x}")
        if len(segments) > KEXEC_SEGMENT_MAX:
            raise KexecError("EINVAL", "nr_segments", f"at most {KEXEC_SEGMENT_MAX}", str(len(segments)))
        if not segments:
            (self.unload_crash if crash else self.unload)()
            return None
        if crash:
            self.unload_crash()
        # The rules come first: a list that breaks them is refused before anybody looks at its buffers.
        self._check(segments, crash)
        if purgatory % 4096 or (purgatory and not any(s.mem <= purgatory < s.end for s in segments)):
            raise KexecError("EINVAL", "purgatory", "the address of a page in a segment", f"{purgatory:#x}")
        for index, segment in enumerate(segments):
            if segment.bufsz > len(segment.buf):
                found = f"bufsz {segment.bufsz:#x}"
                raise KexecError("EFAULT", f"segment[{index}].buf", f"at most {len(segment.buf):#x} bytes", found)
        loaded = Image(self._kimage(segments, entry, crash), purgatory, entry, boot_params, None)
        if purgatory:
            at = loaded.kimage.source_of(purgatory + layout.ENTRY64_REGS)
            loaded.entry = layout.read_register(self.k.machine.bus.memory, at - layout.ENTRY64_REGS, "rip")
        return self._keep(loaded)

    def kexec_tools_load(self, kernel: bytes, initrd: bytes | None = None, cmdline: str = "") -> Image:
        """Load a bzImage as ``kexec -c -l`` does: segments and purgatory made in user space, given to kexec_load()."""
        text = cmdline.encode() + b"\0"
        image = load_bzimage(kernel, len(text))
        made = tools_segments(self.k, image, initrd or b"", text)
        loaded = self.kexec_load(
            made.purgatory + layout.ENTRY, made.segments, boot_params=made.boot_params, purgatory=made.purgatory
        )
        assert loaded is not None  # there are segments
        loaded.known, loaded.bzimage = made.known, image
        return loaded

    def unload(self) -> None:
        """Give the loaded image's pages back."""
        self._free(self._pages)
        release_cma(self.k, self._cma)
        self.image, self._pages, self._cma = None, [], []

    def unload_crash(self) -> None:
        """Forget the crash image."""
        if self.crash_image and self.crash_image.notes:
            self.crash_image.notes.free()
        self.crash_image = None

    def system_ram(self) -> list[Range]:
        """The running kernel's System RAM."""
        return system_ram(self.k)

    def _check(self, segments: Sequence[Segment], crash: bool) -> None:
        total = sum(zone.managed_pages for node in self.k.nodes for zone in node.zones)
        bits = DESTINATION_BITS_L5 if self.k.pgtable_l5_enabled() else DESTINATION_BITS
        start, size = self.k.crashk.res
        sanity_check_segment_list(segments, total, bits, Range(start, start + size) if crash else None)

    def _kimage(self, segments: Sequence[Segment], start: int, crash: bool) -> Kimage | CrashKimage:
        """Check, allocate and fill; a failure gives all pages back and leaves what was loaded."""
        self._check(segments, crash)
        memory = self.k.machine.bus.memory
        if crash:
            region = self.k.crashk.res
            return _filled(CrashKimage(memory, segments, start, (region[0], sum(region))))
        pages: list[int] = []
        try:
            kimage = _filled(Kimage(memory, segments, start, self._source_pages(pages)))
        except KexecError:
            self._free(pages)
            raise
        self.unload()
        self._pages = pages
        return kimage

    def _keep(self, image: Image) -> Image:
        if image.crash:
            self.crash_image = image
        else:
            self.image = image
        return image

    def _source_pages(self, taken: list[int]) -> Iterator[int]:
        while (pfn := self.k.page_alloc.alloc_pages(0)) is not None:
            taken.append(pfn)
            yield pfn << PAGE_SHIFT

    def _free(self, pages: Sequence[int]) -> None:
        for pfn in pages:
            self.k.page_alloc.free_pages(pfn, 0)


AnyKimage = TypeVar("AnyKimage", Kimage, CrashKimage)


def _filled(kimage: AnyKimage) -> AnyKimage:
    for segment in kimage.segments:
        kimage.load_segment(segment)
    kimage.terminate()
    return kimage
