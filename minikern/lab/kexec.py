"""One kernel after the other on one machine: boot, load, hand over, boot what is in memory then."""

from __future__ import annotations

import time
from dataclasses import dataclass

import msgspec

from hw.cost_table import machine_costs
from minikern.boot import start_kernel
from minikern.config import Release, load_release, release_for_version
from minikern.kernel import Kernel
from minikern.kexec.bzimage import BzImage
from minikern.kexec.load import Image
from minikern.kexec.reboot import Handover, kernel_kexec
from minikern.lab.run import Boot


@dataclass
class Rebooted:
    """A kernel started by the one before it."""

    image: Image
    handover: Handover
    boot: Boot
    boot_ns: int  # simulated, from the kernel's entry to /init

    def downtime_ns(self) -> dict[str, int]:
        """Simulated ns of every part, from the reboot call to /init."""
        return {**self.handover.parts_ns, "boot": self.boot_ns}


def release_of_image(image: BzImage | None, running: Release) -> Release:
    """The release data that fit an image by its version string; the running kernel's if none do."""
    version = image.version() if image else ""
    if not version:
        return running
    name = release_for_version(f"Linux version {version}")
    release = load_release(name) if name else running
    return msgspec.structs.replace(release, banner=f"Linux version {version}")


def reboot(first: Boot, image: Image, digest: str = "generic", checks: bool = True, release: str = "") -> Rebooted:
    """Hand the machine of ``first`` over to ``image`` and boot it to /init. The first kernel is gone afterwards.

    MachineStopped: the image was damaged, or the new kernel cannot go on; its ``kernel`` attribute is then the one that
    was running.
    """
    begin = time.perf_counter_ns()
    old = first.kernel
    try:
        handover = kernel_kexec(old, image, digest, checks)
    except Exception as error:
        error.kernel = old  # type: ignore[attr-defined]
        raise
    machine = old.machine
    chosen = load_release(release) if release else release_of_image(image.bzimage, old.release)
    if image.bzimage is not None and image.bzimage.version():
        machine.spec.banner = chosen.banner
    old.release_memory()
    entry_ns = machine.clock.now
    new = Kernel(machine, chosen, first.variant, machine_costs(machine.spec), machine.spec.residue, old.options)
    try:
        start_kernel(new)
    except Exception as error:
        error.kernel = new  # type: ignore[attr-defined]
        raise
    boot = Boot(machine.spec, first.variant, new, time.perf_counter_ns() - begin)
    return Rebooted(image, handover, boot, machine.clock.now - entry_ns)
