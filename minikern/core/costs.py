"""Unit costs of kinds of work, and named time that no work explains."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from minikern.core.ledger import Phase

Place = Literal[
    "setup_arch", "kmem_cache_init", "console_init", "late_time_init", "fork_init", "do_pre_smp_initcalls",
    "sched_init_smp", "driver_init", "core_initcalls", "arch_initcalls", "subsys_initcalls", "fs_initcalls",
    "device_initcalls", "late_initcalls",
]  # fmt: skip
"""Where in the boot a machine's named unmodelled time may pass."""

HOUR_MS = 3.6e6  # no time of a boot is longer
Nanoseconds = Annotated[float, Meta(ge=0, le=3.6e12)]
"""A unit cost: at most an hour for one piece of work."""


class Cost(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Unit cost of one kind of work, with the place the figure comes from. Boots share the defaults.

    A fitted cost has an interval (80 %, ns) and says whether the log moved it (``fitted``) or not (``assumed``).
    """

    ns: Nanoseconds
    source: Annotated[str, Meta(min_length=1)]
    low: Nanoseconds | None = None
    high: Nanoseconds | None = None
    status: Literal["", "fitted", "assumed"] = ""
    fitted_on: list[str] = []  # published figures it was made from, by their ids (see lab/figures)


MeasuredPhase = Literal["total", "early memory", "smp", "deferred", "hugepages", "acpi", "pci", "rest"]


class Measured(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody measured on the machine: ms of a phase, or of the whole boot, of one ``variant`` or as it boots."""

    phase: MeasuredPhase
    ms: Annotated[float, Meta(gt=0, le=HOUR_MS)]
    source: Annotated[str, Meta(min_length=1)]
    variant: str = ""


class Residue(msgspec.Struct, forbid_unknown_fields=True):
    """Named time that no mechanism explains, spent at the point ``at`` of the boot or before a line of its log.

    ``before`` is the line's mask (see minikern.core.line_mask), ``nth`` which line of that mask; ``waits`` names what
    the boot CPU slept for first. A residue before a line belongs to the phase the boot is in.
    """

    name: str
    at: Literal[Place, ""]
    ms: Annotated[float, Meta(ge=0, le=HOUR_MS)]
    source: Annotated[str, Meta(min_length=1)]
    phase: Phase = "rest"
    before: str = ""
    nth: Annotated[int, Meta(ge=1)] = 1
    waits: Literal["", "initramfs"] = ""
    spread: Annotated[float, Meta(ge=0)] = 0.0  # of the logarithm of ``ms``; 0: nobody has said
    serial_baud: Annotated[int, Meta(ge=0)] = 0  # time a serial console of this speed took; 0: it is no console's
    fitted_on: list[str] = []  # as of a cost

    def __post_init__(self) -> None:
        """ValueError: the time would never pass."""
        if bool(self.at) == bool(self.before):
            raise ValueError(f"residue {self.name!r}: expected one of at and before")
