"""kernel_kexec(): leave one kernel, move its successor into place, check it, and stand at its entry.

Source: kernel/kexec_core.c:kernel_kexec(), arch/x86/kernel/machine_kexec_64.c:machine_kexec() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hw import boot_params as zero_page
from hw import purgatory as layout
from hw.errors import BusError, MachineStopped
from hw.memory import PhysicalMemory
from minikern.core.ledger import Phase
from minikern.core.printk import Level
from minikern.kexec.bzimage import COMPRESSORS, ENTRY_64, BzImage
from minikern.kexec.decompress import SIZE_BYTES, UNPACKERS, DecompressError, Payload, decompress
from minikern.kexec.device_shutdown import device_shutdown
from minikern.kexec.digest import code_path
from minikern.kexec.load import Image
from minikern.kexec.purgatory import Verified, charge, mode_of, verify
from minikern.kexec.relocate import Relocation, relocate_kernel
from minikern.kexec.stop import crash_stop_other_cpus, stop_other_cpus
from minikern.kexec.vmlinux import Vmlinux
from minikern.kho.sessions import liveupdate_reboot

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

CHARGED = ("gzip", "xz", "zstd", "lz4", "none")  # have a unit cost of their own
PARTS = ("shutdown", "relocation", "purgatory", "decompression")


@dataclass
class Handover:
    """What happened between two kernels; ``parts_ns`` is simulated, ``host_ns`` was measured here."""

    parts_ns: dict[str, int] = field(default_factory=dict)
    host_ns: dict[str, int] = field(default_factory=dict)
    relocation: Relocation | None = None
    verified: Verified | None = None
    entry: int = 0
    rsi: int = 0
    vmlinux: Vmlinux | None = None  # the kernel that was unpacked, None where the image brings none
    purgatory: str = "none"  # how the image was checked, see purgatory.MODES
    digest: str = ""  # and by which code of this computer


def kernel_kexec(k: Kernel, image: Image, digest: str = "generic", checks: bool = True) -> Handover:
    """Shut ``k`` down, relocate ``image``, verify it and point the boot CPU at it.

    ``digest`` is how this computer computes the digest; simulated time follows ``Experiment.purgatory_digest``.
    MachineStopped for an image that was damaged.
    """
    from time import perf_counter_ns

    done = Handover()
    clock = k.machine.clock
    steps: dict[Phase, Callable[[], None]] = {
        "shutdown": (lambda: panic(k, image)) if image.crash else lambda: shutdown(k),
        "relocation": lambda: _relocate(k, image, done),
        "purgatory": lambda: _purgatory(k, image, digest, checks, done),
        "decompression": lambda: _decompress(k, done, image.bzimage),
    }
    for name, step in steps.items():
        start, host = clock.now, perf_counter_ns()
        with k.phase(name):
            step()
        done.parts_ns[name] = clock.now - start
        done.host_ns[name] = perf_counter_ns() - host
    k.machine.boot_cpu.rsi = done.rsi
    return done


def shutdown(k: Kernel) -> None:
    """Devices, other CPUs and interrupts off, identity map built; booked in the open phase.

    Source: kernel/kexec_core.c:kernel_kexec(), arch/x86/kernel/reboot.c:native_machine_shutdown() @ v6.12
    """
    liveupdate_reboot(k)
    k.charge("kexec_notifier")
    device_shutdown(k)
    k.printk("kexec_core: Starting new kernel", Level.EMERG)
    stop_other_cpus(k)
    k.charge("kexec_interrupts_off")
    k.charge("kexec_page_tables")


def panic(k: Kernel, image: Image) -> None:
    """The kernel dies with a crash image loaded: CPUs are shot down, their notes written; booked in the open phase.

    No driver is asked and nothing is waited for but the CPUs.
    Source: kernel/panic.c:panic(), kernel/crash_core.c:__crash_kexec() @ v6.12
    """
    k.printk("sysrq: Trigger a crash")
    k.printk("Kernel panic - not syncing: sysrq triggered crash", Level.EMERG)
    save = image.notes.save_cpu if image.notes else lambda cpu: None
    crash_stop_other_cpus(k, save)
    save(0)
    k.charge("kexec_interrupts_off")


def _relocate(k: Kernel, image: Image, done: Handover) -> None:
    preserve = k.behaviour.kexec_swap_copy
    kimage = image.kimage
    done.relocation = relocate_kernel(kimage.memory, kimage.head, kimage.swap_page, preserve)
    k.charge("relocate_page" if preserve else "relocate_page_direct", done.relocation.pages)


def _purgatory(k: Kernel, image: Image, digest: str, checks: bool, done: Handover) -> None:
    memory = image.kimage.memory
    if not image.purgatory:
        done.entry, done.rsi = image.entry, image.boot_params
        return
    mode = mode_of(k.experiment.purgatory_digest)
    if checks and mode.check:
        done.purgatory, done.digest = k.experiment.purgatory_digest, code_path(digest)
        done.verified = verify(memory, image.purgatory, digest, mode, image.known)
        charge(k, mode, done.verified, mode.apart)
    done.entry = layout.read_register(memory, image.purgatory, "rip")
    done.rsi = layout.read_register(memory, image.purgatory, "rsi")
    if done.entry != image.entry:
        raise MachineStopped(f"purgatory jumps to {done.entry:#x}: no kernel entry there, expected {image.entry:#x}")


def _decompress(k: Kernel, done: Handover, loaded: BzImage | None = None) -> None:
    """Unpack the kernel in memory, and book its bytes. ``loaded`` is the file it came from, if that is known.

    MachineStopped, with Linux's words: it cannot be unpacked, or is no kernel. What was changed and is unpacked without
    complaint would be run: nobody can say what it does, so the machine stops here too.
    Source: arch/x86/boot/compressed/misc.c:extract_kernel() @ v6.12
    """
    base = done.entry - ENTRY_64
    packer, payload, room = payload_in_memory(k.machine.bus.memory, base, done.rsi)
    if not payload:
        return
    if packer not in UNPACKERS:
        k.charge("decompress_byte_other", min(room, int.from_bytes(payload[-SIZE_BYTES:], "little")))
        return
    try:
        plain = decompress(packer, payload, room)
        done.vmlinux = Vmlinux(plain)
    except DecompressError as error:
        raise MachineStopped(f"{error} -- System halted") from error
    k.charge(f"decompress_byte_{packer}" if packer in CHARGED else "decompress_byte_other", len(plain))
    if loaded is not None:
        _check_unchanged(k, base, packer, payload, plain, loaded)


def _check_unchanged(k: Kernel, base: int, packer: str, payload: Payload, plain: bytes, loaded: BzImage) -> None:
    start, length = loaded.payload
    before = loaded.data[start : start + length]
    if payload != before and decompress(packer, before, loaded.init_size) != plain:
        raise MachineStopped(f"{packer} unpacks a changed kernel without complaint: what it does cannot be told")
    code = b"".join(k.machine.bus.memory.views(base, loaded.kernel_bytes))
    offset, end = start - loaded.kernel_offset, start - loaded.kernel_offset + length
    stub = loaded.data[loaded.kernel_offset :]
    if code[:offset] != stub[:offset] or code[end:] != stub[end:]:
        raise MachineStopped("the code that unpacks the kernel was changed: what it does cannot be told")


def payload_in_memory(memory: PhysicalMemory, base: int, params: int) -> tuple[str, Payload, int]:
    """How the kernel at ``base`` is packed, its payload, and the bytes it has to unpack to, by the header in the zero
    page. No payload where the header names none.

    MachineStopped if there is no zero page at ``params``, or the payload is not where it says.
    """
    try:
        page = memory.read(params, zero_page.SIZE)
        if zero_page.get(page, "header") != zero_page.HDRS:
            raise MachineStopped(f"no boot parameters at {params:#x}: expected 'HdrS' at offset 0x202")
        start, length = base + zero_page.get(page, "payload_offset"), zero_page.get(page, "payload_length")
        room = zero_page.get(page, "init_size")
        if length < SIZE_BYTES:
            return "none", b"", room
        if length > room:
            raise MachineStopped(f"a payload of {length} bytes: expected no more than init_size, {room}")
        pieces = list(memory.views(start, length))
        payload = pieces[0] if len(pieces) == 1 else b"".join(pieces)  # what lies in one piece is not copied
    except BusError as error:
        raise MachineStopped(f"the kernel at {base:#x} has no readable payload: {error}") from error
    packer = next((name for magic, name in COMPRESSORS if payload[: len(magic)] == magic), "other")
    return packer, payload, room
