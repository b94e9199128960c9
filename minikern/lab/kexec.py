"""One kernel after the other on one machine: boot, load, hand over, boot what is in memory then."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

from hw.boot_params import SETUP_HEADER
from hw.errors import MachineStopped
from minikern.core.cost_table import machine_costs
from minikern.core.kernel import Kernel
from minikern.core.release import Release, at_version, load_release, release_for_version
from minikern.core.version import banner_version, series
from minikern.init.main import start_kernel
from minikern.kexec.bzimage import ENTRY_64, BzImage
from minikern.kexec.kaslr import Places, places_of
from minikern.kexec.load import Image
from minikern.kexec.reboot import Handover, kernel_kexec
from minikern.kexec.vmlinux import Vmlinux
from minikern.kho.loss import found_by, handed_on, lost
from minikern.lab.run import Boot, BootStopped

INIT_SIZE = SETUP_HEADER["init_size"][0]


@dataclass
class Rebooted:
    """A kernel started by the one before it."""

    image: Image
    handover: Handover
    boot: Boot
    boot_ns: int  # simulated, from the kernel's entry to /init
    lost: list[str] = field(default_factory=list)  # of what Kexec HandOver was to bring over
    places: Places | None = None  # that KASLR has to choose from, where memory was handed over

    def downtime_ns(self) -> dict[str, int]:
        """Simulated ns of every part, from the reboot call to /init."""
        return {**self.handover.parts_ns, "boot": self.boot_ns}


def release_of_image(image: BzImage | None, running: Release, unpacked: Vmlinux | None = None) -> Release:
    """The release of an image: nearest data by its banner, its own configuration and sizes over them.

    An image that was not unpacked has its header's version string alone; with none at all the running kernel's.
    """
    version = image.version() if image else ""
    banner = (unpacked.banner if unpacked else "") or (f"Linux version {version}" if version else "")
    if not banner:
        return running
    name = release_for_version(banner)
    release = load_release(name) if name else running
    if name and series(banner_version(banner)) is not None:
        release = at_version(release, banner)
    else:
        release = msgspec.structs.replace(release, banner=banner)
    if unpacked is None:
        return release
    config = {**release.config, **unpacked.config}
    return msgspec.structs.replace(release, config=config, image=unpacked.image_sizes(release.image))


def place_image(release: Release, address: int, init_size: int) -> Release:
    """The release with its kernel running at ``address``.

    A kernel that is loaded above its preferred address unpacks itself where it was put. An image whose ``init_size``
    has no room for the release's kernel is not that kernel, so nothing is moved.
    Source: arch/x86/boot/compressed/head_64.S @ v6.12
    """
    image = release.image
    moved = address - image.text_start
    if moved <= 0 or init_size < image.brk_start + image.brk_bytes - image.text_start:
        return release
    return msgspec.structs.replace(release, image=image.moved(moved))


def reboot(first: Boot, image: Image, digest: str = "generic", checks: bool = True, release: str = "") -> Rebooted:
    """Hand the machine of ``first`` over to ``image`` and boot it to /init. The first kernel is gone afterwards.

    MachineStopped: the image was damaged, or the new kernel cannot go on; its ``kernel`` attribute is then the one that
    was running.
    """
    begin = time.perf_counter_ns()
    old = first.kernel
    try:
        handover = kernel_kexec(old, image, digest, checks)
    except MachineStopped as error:
        raise BootStopped(str(error), old) from error
    handed = handed_on(old)
    places = places_of(image) if handed is not None else None
    machine = old.machine
    chosen = load_release(release) if release else release_of_image(image.bzimage, old.release, handover.vmlinux)
    if image.bzimage is None or not image.bzimage.version():
        chosen = msgspec.structs.replace(chosen, banner=old.release.banner)
    machine.spec.boot.kernel_address = 0  # where the image lies now is known below
    old.release_memory()
    entry_ns = machine.clock.now
    init_size = machine.bus.memory.read_int(handover.rsi + INIT_SIZE, 4)
    placed = place_image(chosen, handover.entry - ENTRY_64, init_size)
    costs, residue = machine_costs(first.spec.name, first.spec.costs), first.spec.residue
    new = Kernel(machine, placed, first.variant, costs, residue, old.options, old.experiment)
    try:
        start_kernel(new)
    except MachineStopped as error:
        raise BootStopped(str(error), new) from error
    boot = Boot(first.spec, first.variant, new, time.perf_counter_ns() - begin)
    gone = lost(handed, found_by(new)) if handed is not None and new.config.enabled("CONFIG_KEXEC_HANDOVER") else []
    return Rebooted(image, handover, boot, machine.clock.now - entry_ns, gone, places)
