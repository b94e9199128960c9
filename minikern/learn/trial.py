"""Trial: the machine of a question, small, made up from a seed, and told in the words of the command line."""

from __future__ import annotations

import shlex
from functools import lru_cache

import msgspec

from hw.faults import add_fault
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.run import Boot, boot

KEPT_BOOTS = 4  # the questions of a lesson ask of one machine


class Trial(msgspec.Struct, frozen=True):
    """A machine and how it is booted; the fields are the options of ``minikern boot``."""

    machine: str = "tiny"
    memory: str = ""
    cpus: str = ""
    numa: tuple[str, ...] = ()
    numa_distance: tuple[str, ...] = ()
    fault: tuple[str, ...] = ()
    append: str = ""
    variant: str = ""

    def command(self, verb: str = "boot") -> str:
        """What a learner types to have this machine."""
        words = ["minikern", verb, self.machine]
        for option in ("memory", "cpus", "append", "variant"):
            if value := getattr(self, option):
                words += [f"--{option}", value]
        for option in ("numa", "numa_distance", "fault"):
            for value in getattr(self, option):
                words += [f"--{option.replace('_', '-')}", value]
        return shlex.join(words)

    def case(self) -> Case:
        """The description."""
        spec = load_machine(self.machine)
        adjust(spec, Adjustments(self.cpus, self.memory, self.numa, self.numa_distance))
        for option in self.fault:
            add_fault(spec.faults, option)
        return spec


@lru_cache(maxsize=KEPT_BOOTS)
def booted(trial: Trial) -> Boot:
    """The trial's boot, with its record. InputError, BootStopped: as boot() raises them."""
    variant = load_variant(trial.variant) if trial.variant else None
    return boot(trial.case(), variant, "", trial.append, BootOptions(record=True))
