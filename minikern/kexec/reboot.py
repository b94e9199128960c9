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
from minikern.kexec.bzimage import COMPRESSORS, ENTRY_64
from minikern.kexec.digest import code_path
from minikern.kexec.load import Image
from minikern.kexec.purgatory import Verified, charge, mode_of, verify
from minikern.kexec.relocate import Relocation, relocate_kernel
from minikern.kexec.stop import crash_stop_other_cpus, stop_other_cpus
from minikern.kho.sessions import liveupdate_reboot

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

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
        "decompression": lambda: _decompress(k, done),
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
    k.charge("kexec_device_shutdown", len(k.pci.devices))
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


def _decompress(k: Kernel, done: Handover) -> None:
    packer, size = payload_in_memory(k.machine.bus.memory, done.entry - ENTRY_64, done.rsi)
    if size:
        kind = f"decompress_byte_{packer}"
        known = packer in ("gzip", "xz", "zstd", "lz4", "none")
        k.charge(kind if known else "decompress_byte_other", size)


def payload_in_memory(memory: PhysicalMemory, base: int, params: int) -> tuple[str, int]:
    """How the kernel at ``base`` is packed and its unpacked size in bytes, by the header in the zero page.

    MachineStopped if there is no zero page at ``params``.
    """
    try:
        page = memory.read(params, zero_page.SIZE)
        if zero_page.get(page, "header") != zero_page.HDRS:
            raise MachineStopped(f"no boot parameters at {params:#x}: expected 'HdrS' at offset 0x202")
        start, length = base + zero_page.get(page, "payload_offset"), zero_page.get(page, "payload_length")
        if length < 4:
            return "none", length
        head = memory.read(start, 8)
        packer = next((name for magic, name in COMPRESSORS if head.startswith(magic)), "other")
        size = length if packer == "none" else memory.read_int(start + length - 4, 4)
    except BusError as error:
        raise MachineStopped(f"the kernel at {base:#x} has no readable payload: {error}") from error
    return packer, min(size, zero_page.get(page, "init_size"))
