"""The purgatory: check in memory what was loaded, before the next kernel gets the machine.

Regions and digests are read back from the purgatory's own segment, which the loading side filled in.
Source: arch/x86/purgatory/purgatory.c:verify_sha256_digest(), purgatory() @ v6.12
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hw import purgatory as layout
from hw.errors import BusError, InputError, MachineStopped
from hw.memory import PhysicalMemory
from minikern.kexec.digest import digest_memory
from minikern.kexec.segments import Segment

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


class Mode(NamedTuple):
    """One way to check: kind of work charged a byte, and what is digested."""

    kind: str
    file_bytes: bool  # only what the files hold, not the zeros up to memsz
    apart: bool  # a digest a region, on as many CPUs
    check: bool


MODES: dict[str, Mode] = {
    "generic": Mode("sha256_generic_byte", False, False, True),
    "accelerated": Mode("sha256_accelerated_byte", False, False, True),
    "file-bytes": Mode("sha256_generic_byte", True, False, True),
    "parallel": Mode("sha256_generic_byte", False, True, True),
    "none": Mode("sha256_generic_byte", False, False, False),
}
"""By ``Experiment.purgatory_digest``. What each gives up: see ``LOSES``."""
MAX_DIGESTED_BYTES = 4 << 30
SYSSIZE, TYPE_OF_LOADER, INIT_SIZE = 0x1F4, 0x210, 0x260  # in the zero page; paragraphs of the file, bytes of memory
PACKED_TO = 3  # of a kernel's bytes, the usual ratio of zstd and xz
LOSES: dict[str, str] = {
    "generic": "nothing: every byte of every segment's memory is checked",
    "accelerated": "no coverage; the purgatory needs SSE state and a look at CPUID",
    "file-bytes": "changes in the zeros behind a file's bytes: bss, room to unpack, padding",
    "parallel": "no coverage; other CPUs must run through the jump",
    "none": "every change between loading and the jump",
}


def mode_of(name: object) -> Mode:
    """The mode called ``name``; InputError lists the known ones."""
    if name not in MODES:
        raise InputError(f"purgatory_digest is {name!r}: expected one of {', '.join(MODES)}")
    return MODES[str(name)]


class Loaded(NamedTuple):
    """What the loading side knows beside what it stored: names and digests of the regions."""

    regions: list[layout.Region]
    names: list[str]
    digest: bytes
    region_digests: list[bytes]


class Verified(NamedTuple):
    """A check that was passed. ``critical_bytes`` were digested by the CPU that waits for all others."""

    regions: list[layout.Region]
    size: int
    critical_bytes: int
    digest: bytes
    host_ns: int


def digest_segments(segments: Sequence[Segment], mode: Mode) -> Loaded:
    """Digests of what the segments will be in memory. Source: kernel/kexec_file.c:kexec_calculate_store_digests()"""
    import hashlib

    chosen = [segment for segment in segments if segment.digested]
    whole = hashlib.sha256()
    regions, apart = [], []
    for segment in chosen:
        body = memoryview(segment.buf)[: segment.bufsz]
        padding = 0 if mode.file_bytes else segment.memsz - segment.bufsz
        zeros = bytes(padding)
        one = hashlib.sha256(body)
        one.update(zeros)
        whole.update(body)
        whole.update(zeros)
        regions.append((segment.mem, segment.bufsz + padding))
        apart.append(one.digest())
    return Loaded(regions, [segment.name for segment in chosen], whole.digest(), apart)


def verify(
    memory: PhysicalMemory, address: int, digest: str, mode: Mode, known: Loaded | None = None
) -> Verified:
    """Digest the regions stored in the purgatory at ``address`` and compare.

    MachineStopped on a mismatch (the real purgatory spins for ever, in silence), naming the regions, both digests and,
    given what the loader knew, the first region that differs.
    """
    regions = layout.read_regions(memory, address)
    _check_table(address, regions, known)
    try:
        return _verify_apart(memory, address, digest, regions) if mode.apart else _verify_all(
            memory, address, digest, regions
        )
    except _Mismatch as mismatch:
        raise MachineStopped(_describe(memory, mismatch, regions, known)) from None
    except BusError as error:
        raise MachineStopped(f"purgatory at {address:#x}: a region cannot be read: {error}") from error


class _Mismatch(Exception):  # noqa: N818 - becomes MachineStopped with a full description
    def __init__(self, stored: bytes, computed: bytes) -> None:
        super().__init__(stored, computed)
        self.stored, self.computed = stored, computed


def _check_table(address: int, regions: Sequence[layout.Region], known: Loaded | None) -> None:
    # A damaged table could ask for exabytes; the real purgatory would be busy with them for ever, we say so at once.
    limit = 2 * sum(length for _, length in known.regions) if known else MAX_DIGESTED_BYTES
    size = sum(length for _, length in regions)
    if size > limit:
        raise MachineStopped(f"purgatory at {address:#x}: its regions hold {size} bytes: expected at most {limit}")
    for index, (start, length) in enumerate(regions):
        if start and not length:
            found = f"region {index} is empty: expected start 0, found {start:#x}"
            raise MachineStopped(f"purgatory at {address:#x}: {found}")


def _verify_all(memory: PhysicalMemory, address: int, digest: str, regions: list[layout.Region]) -> Verified:
    done = digest_memory(digest, memory, regions)
    stored = layout.read_digest(memory, address)
    if done.digest != stored:
        raise _Mismatch(stored, done.digest)
    return Verified(regions, done.size, done.size, done.digest, done.host_ns)


def _verify_apart(memory: PhysicalMemory, address: int, digest: str, regions: list[layout.Region]) -> Verified:
    sizes, host_ns = [0], 0
    for index, region in enumerate(regions):
        stored = layout.read_region_digest(memory, address, index)
        if not any(region) and not any(stored):
            continue
        done = digest_memory(digest, memory, [region])
        if done.digest != stored:
            raise _Mismatch(stored, done.digest)
        sizes.append(done.size)
        host_ns += done.host_ns
    return Verified(regions, sum(sizes), max(sizes), layout.read_digest(memory, address), host_ns)


def _describe(
    memory: PhysicalMemory, mismatch: _Mismatch, regions: Sequence[layout.Region], known: Loaded | None
) -> str:
    named = known.names if known else []
    used = [region for region in regions if region[1]]
    texts = [
        f"{named[i] + ' ' if i < len(named) else ''}[{start:#x}-{start + length - 1:#x}]"
        for i, (start, length) in enumerate(used)
    ]
    text = f"purgatory: SHA-256 over {', '.join(texts) or 'no region'}: expected {mismatch.stored.hex()}"
    return f"{text}, found {mismatch.computed.hex()}; {_first_difference(memory, regions, known)}"


def _first_difference(memory: PhysicalMemory, regions: Sequence[layout.Region], known: Loaded | None) -> str:
    if known is None:
        return "which region differs is not known: the loader kept one digest for all"
    for index, (expected, name) in enumerate(zip(known.regions, known.names, strict=True)):
        if regions[index] != expected:
            return f"the stored region of {name} was changed"
        if digest_memory("hashlib", memory, [expected]).digest != known.region_digests[index]:
            return f"first region that differs: {name}"
    return "every region is as it was loaded: the stored digest or region table was changed"


def started_by_kexec(k: Kernel) -> bool:
    """True if the zero page says that another kernel loaded this one."""
    cpu = k.machine.boot_cpu
    return cpu.read(cpu.rsi + TYPE_OF_LOADER, 1) >> 4 == layout.STARTED_BY_KEXEC


def purgatory_of_running_image(k: Kernel) -> None:
    """The check that ran before a kernel started by kexec: verify in memory and book, before the log clock starts.

    Nothing happens on a machine started by another loader or with ``purgatory_digest`` "none". The loader's
    side is hw.firmware. MachineStopped on a mismatch.
    """
    if not started_by_kexec(k):
        return
    mode = mode_of(k.experiment.purgatory_digest)
    memory = k.machine.bus.memory
    if not mode.check or not any(length for _, length in layout.read_regions(memory, layout.MIN_ADDRESS)):
        return
    with k.phase("purgatory"):
        done = verify(memory, layout.MIN_ADDRESS, "hashlib", mode._replace(apart=False))
        # The loader stored one digest over all there is; a mode that looks at less takes the time of that.
        if mode.file_bytes:
            kernel = memory.read_int(k.machine.boot_cpu.rsi + INIT_SIZE, 4)
            regions = file_regions(k, done.regions, kernel)
            done = done._replace(regions=regions, size=sum(length for _, length in regions))
        charge(k, mode, done, mode.apart)


def check_successor(k: Kernel, sizes: Sequence[int]) -> None:
    """Book the check of the next kernel's segments of ``sizes`` bytes, its own first, where this one had none."""
    mode = mode_of(k.experiment.purgatory_digest)
    if mode.check:
        regions = [(index, size) for index, size in enumerate(sizes, 1)]
        regions = file_regions(k, regions, sizes[0]) if mode.file_bytes else regions
        total = sum(length for _, length in regions)
        charge(k, mode, Verified(regions, total, total, b"", 0), mode.apart)


def file_regions(k: Kernel, regions: Sequence[layout.Region], kernel: int) -> list[layout.Region]:
    """Regions without the room behind the kernel file's bytes; the kernel's own has ``kernel`` bytes.

    The zero page tells the file's size where a real one was captured; else the kernel is taken to be packed to a third.
    """
    image, params = k.release.image, k.machine.boot_cpu.rsi
    packed = 16 * k.machine.bus.memory.read_int(params + SYSSIZE, 4)
    packed = packed or 1024 * (image.code_kib + image.rwdata_kib + image.rodata_kib + image.init_kib) // PACKED_TO
    return [(start, min(length, packed) if length == kernel else length) for start, length in regions]


def charge(k: Kernel, mode: Mode, done: Verified, apart: bool = False) -> None:
    """Book a check on the boot CPU; with digests of their own the regions go to as many CPUs, the largest to this."""
    if not apart:
        k.charge(mode.kind, done.size)
        return
    sizes = sorted((length for _, length in done.regions if length), reverse=True)
    start = k.machine.clock.now
    for cpu, size in enumerate(sizes[1:], 1):
        k.book_span(cpu, mode.kind, size, start, round(size * k.unit_ns(mode.kind)))
    k.charge(mode.kind, sizes[0] if sizes else 0)
