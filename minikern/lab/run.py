"""One boot: a description and a variant in, a finished kernel out."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass

import msgspec

from hw.errors import InputError, MachineStopped
from hw.machine import Machine
from minikern.acpi.object_caches import aligned_costs
from minikern.core.build_facts import with_kernel_facts
from minikern.core.captured_build import built_as
from minikern.core.cmdline import CommandLine, without_words
from minikern.core.cost_table import machine_costs
from minikern.core.experiment import Experiment
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import Release, at_version, load_release, release_for_version
from minikern.core.variant import Variant
from minikern.describe.case import Case
from minikern.host.collector import rare_looks
from minikern.init.main import start_kernel
from minikern.kexec.purgatory import purgatory_of_running_image


class BootStopped(MachineStopped):
    """The machine cannot go on; ``kernel`` holds the log so far."""

    def __init__(self, message: str, kernel: Kernel) -> None:
        super().__init__(message)
        self.kernel = kernel


@dataclass
class Boot:
    """A finished boot. ``host_ns`` was measured on this computer, everything in ``kernel`` is simulated."""

    spec: Case
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


def choose_release(spec: Case, name: str = "") -> Release:
    """The release asked for, else the one that fits a captured version line, else the machine's own.

    Options that were given beside the machine hold for each of them.
    """
    release = _release(spec, name)
    if not spec.options:
        return release
    return msgspec.structs.replace(release, config={**release.config, **spec.options})


def _release(spec: Case, name: str) -> Release:
    if name:
        return load_release(name)
    if spec.banner:
        fitting = release_for_version(spec.banner)
        if fitting is None:
            raise InputError(f"{spec.name}: no release file fits {spec.banner.split(' (')[0]!r}: give --kernel")
        own = at_version(load_release(fitting), spec.banner)
        return built_as(with_kernel_facts(own, spec.kernel), spec.build)
    return load_release(spec.release)


def variant_words(spec: Case, variant: Variant) -> str:
    """The variant's command-line words, placeholders filled with what the machine says it needs."""
    words = variant.append
    for placeholder, key in variant.needs.items():
        value = spec.needs.get(key) or (spec.pci.probe_only() if key == "pci" else "")
        if not value:
            raise InputError(f"variant {variant.name!r} needs to know {key!r} of machine {spec.name!r}: see [needs]")
        words = words.replace("{" + placeholder + "}", value)
    return words


def command_line(spec: Case, variant: Variant | None, append: str) -> CommandLine:
    """The line a boot of ``spec`` will have."""
    words = variant_words(spec, variant) if variant else ""
    own = without_words(spec.append, variant.remove) if variant else spec.append
    return CommandLine(" ".join(part for part in (own, words, append) if part))


def machine_for(spec: Case, variant: Variant | None) -> Case:
    """The machine as a boot of the variant finds it: a copy, with what the variant takes away and what it needs."""
    spec = copy.deepcopy(spec)
    if variant is not None:
        spec.append = without_words(spec.append, variant.remove)
        spec.acpi.hardware_reduced = spec.acpi.hardware_reduced or variant.hardware_reduced
        if variant.uart_clock_hz:
            spec.uarts = [msgspec.structs.replace(uart, clock_hz=variant.uart_clock_hz) for uart in spec.uarts]
    return spec


def prepare(
    spec: Case,
    variant: Variant | None,
    release: Release,
    append: str,
    options: BootOptions,
    experiment: Experiment | None = None,
) -> Kernel:
    """Power the machine on and stand before ``start_kernel``."""
    words = variant_words(spec, variant) if variant else ""
    machine = Machine.power_on(machine_for(spec, variant), " ".join(part for part in (words, append) if part))
    chosen = experiment or (variant.experiment if variant else Experiment())
    costs = machine_costs(spec.name, spec.costs)
    costs = aligned_costs(costs) if chosen.acpi_caches_aligned else costs
    return Kernel(machine, release, variant, costs, spec.residue, options, experiment)


def boot(
    spec: Case,
    variant: Variant | None = None,
    release: str = "",
    append: str = "",
    options: BootOptions | None = None,
    experiment: Experiment | None = None,
) -> Boot:
    """Boot a machine to /init; ``experiment`` stands in for the variant's.

    InputError: the description, variant or release is wrong. BootStopped: the machine cannot go on.
    """
    begin = time.perf_counter_ns()
    with rare_looks():
        kernel = prepare(spec, variant, choose_release(spec, release), append, options or BootOptions(), experiment)
        try:
            purgatory_of_running_image(kernel)
            start_kernel(kernel)
        except MachineStopped as error:
            raise BootStopped(str(error), kernel) from error
    return Boot(spec, variant, kernel, time.perf_counter_ns() - begin)
