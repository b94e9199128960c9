"""One boot: a description and a variant in, a finished kernel out."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

from hw.errors import InputError
from hw.machine import Machine
from hw.spec import MachineSpec
from minikern.core.build_facts import with_kernel_facts
from minikern.core.cmdline import CommandLine
from minikern.core.cost_table import machine_costs
from minikern.core.experiment import Experiment
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import Release, load_release, release_for_version
from minikern.core.variant import Variant
from minikern.init.main import start_kernel
from minikern.kexec.purgatory import purgatory_of_running_image


@dataclass
class Boot:
    """A finished boot. ``host_ns`` was measured on this computer, everything in ``kernel`` is simulated."""

    spec: MachineSpec
    variant: Variant | None
    kernel: Kernel
    host_ns: int

    @property
    def total_ns(self) -> int:
        """Simulated ns from the first line with a running log clock to /init."""
        return self.kernel.log.lines[-1].ts_ns

    @property
    def name(self) -> str:
        """The variant's name, or the kernel release's when it booted as it is."""
        return self.variant.name if self.variant else self.kernel.release.name


def choose_release(spec: MachineSpec, name: str = "") -> Release:
    """The release asked for, else the one that fits a captured version line, else the machine's own."""
    if name:
        return load_release(name)
    if spec.banner:
        fitting = release_for_version(spec.banner)
        if fitting is None:
            raise InputError(f"{spec.name}: no release file fits {spec.banner.split(' (')[0]!r}: give --kernel")
        return with_kernel_facts(load_release(fitting), spec.kernel)
    return load_release(spec.release)


def variant_words(spec: MachineSpec, variant: Variant) -> str:
    """The variant's command-line words, placeholders filled with what the machine says it needs."""
    words = variant.append
    for placeholder, key in variant.needs.items():
        value = spec.needs.get(key) or (spec.pci.probe_only() if key == "pci" else "")
        if not value:
            raise InputError(f"variant {variant.name!r} needs to know {key!r} of machine {spec.name!r}: see [needs]")
        words = words.replace("{" + placeholder + "}", value)
    return words


def command_line(spec: MachineSpec, variant: Variant | None, append: str) -> CommandLine:
    """The line a boot of ``spec`` will have."""
    words = variant_words(spec, variant) if variant else ""
    return CommandLine(" ".join(part for part in (spec.append, words, append) if part))


def prepare(
    spec: MachineSpec,
    variant: Variant | None,
    release: Release,
    append: str,
    options: BootOptions,
    experiment: Experiment | None = None,
) -> Kernel:
    """Power the machine on and stand before ``start_kernel``."""
    words = variant_words(spec, variant) if variant else ""
    machine = Machine.power_on(copy.deepcopy(spec), " ".join(part for part in (words, append) if part))
    return Kernel(machine, release, variant, machine_costs(spec), spec.residue, options, experiment)


def boot(
    spec: MachineSpec,
    variant: Variant | None = None,
    release: str = "",
    append: str = "",
    options: BootOptions | None = None,
    experiment: Experiment | None = None,
) -> Boot:
    """Boot a machine to /init; ``experiment`` stands in for the variant's.

    InputError: the description, variant or release is wrong. MachineStopped: the machine cannot go on; its ``kernel``
    attribute then holds the log so far.
    """
    begin = time.perf_counter_ns()
    kernel = prepare(spec, variant, choose_release(spec, release), append, options or BootOptions(), experiment)
    try:
        purgatory_of_running_image(kernel)
        start_kernel(kernel)
    except Exception as error:
        error.kernel = kernel  # type: ignore[attr-defined]
        raise
    return Boot(spec, variant, kernel, time.perf_counter_ns() - begin)
