"""Faults of the processors: what is broken in a machine, set in its ``[faults]`` or by option.

CPUs are named by their position in firmware (MADT) order, as cpulists; the boot CPU is number 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from hw.errors import InputError
from hw.numbers import MAX_DIGITS, parse_real
from hw.units import NS_PER_MS

if TYPE_CHECKING:
    from hw.spec import CpuPlace, CpuSpec

LATE_MS = 10_500.0  # beyond the 10 s a kernel waits. Source: kernel/cpu.c:cpuhp_wait_for_sync_state() @ v6.12
MAX_DELAY_MS = 3_600_000.0
MAX_SKEW_CYCLES = 1 << 60
MAX_DRIFT_PPM = 100_000.0

Delay = Annotated[float, Meta(ge=0, le=MAX_DELAY_MS)]
Cycles = Annotated[int, Meta(ge=-MAX_SKEW_CYCLES, le=MAX_SKEW_CYCLES)]
Drift = Annotated[float, Meta(ge=-MAX_DRIFT_PPM, le=MAX_DRIFT_PPM)]


class FaultSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is wrong with which CPUs: cpulists, and by cpulist the parameter of a fault."""

    dead: str = ""  # answer nobody
    slow_ms: dict[str, Delay] = {}  # from the STARTUP message to the first instruction
    madt_twice: str = ""  # listed a second time at the end of the MADT
    madt_missing: str = ""  # not listed
    tsc_skew_cycles: dict[str, Cycles] = {}  # counter at power-on, less the boot CPU's
    tsc_drift_ppm: dict[str, Drift] = {}  # faster than the others by
    microcode: str = ""  # threads that do not share their core's microcode update and need a load of their own


@dataclass
class CpuFaults:
    """The faults of one CPU."""

    dead: bool = False
    startup_delay_ns: int = 0
    tsc_offset: int = 0
    drift_ppb: int = 0
    own_microcode: bool = False


def cpu_faults(faults: FaultSpec, count: int) -> list[CpuFaults]:
    """The faults of each of ``count`` CPUs. InputError: a list that is no cpulist, or names a CPU there is not."""
    table = [CpuFaults() for _ in range(count)]

    def each(name: str, cpus: str, field: str, value: int) -> None:
        for cpu in _members(name, cpus, count):
            setattr(table[cpu], field, value)

    each("dead", faults.dead, "dead", True)
    each("microcode", faults.microcode, "own_microcode", True)
    for cpus, ms in faults.slow_ms.items():
        each("slow_ms", cpus, "startup_delay_ns", round(ms * NS_PER_MS))
    for cpus, cycles in faults.tsc_skew_cycles.items():
        each("tsc_skew_cycles", cpus, "tsc_offset", cycles)
    for cpus, ppm in faults.tsc_drift_ppm.items():
        each("tsc_drift_ppm", cpus, "drift_ppb", round(ppm * 1000))
    if table[0].dead:
        raise InputError("faults.dead names CPU 0: the boot CPU cannot be dead")
    return table


def check_faults(faults: FaultSpec, cpus: CpuSpec, captured_tables: bool) -> None:
    """Refuse faults the machine cannot have: InputError."""
    cpu_faults(faults, cpus.count)
    listed = _members("madt_twice", faults.madt_twice, cpus.count) + _members(
        "madt_missing", faults.madt_missing, cpus.count
    )
    if listed and captured_tables:
        raise InputError("faults.madt_twice, madt_missing: a captured machine keeps its MADT")


def madt_places(faults: FaultSpec, places: Sequence[CpuPlace]) -> list[CpuPlace]:
    """The processors as a faulty MADT lists them: some left out, some a second time at the end."""
    missing = set(_members("madt_missing", faults.madt_missing, len(places)))
    twice = _members("madt_twice", faults.madt_twice, len(places))
    return [place for at, place in enumerate(places) if at not in missing] + [places[at] for at in twice]


def _members(name: str, cpus: str, count: int) -> list[int]:
    from hw.spec import parse_cpulist

    members = parse_cpulist(cpus, f"faults.{name}")
    for cpu in members:
        if cpu >= count:
            raise InputError(f"faults.{name} names CPU {cpu} of {count} (from 0)")
    return members


OPTION_FORMS = (
    "dead=CPUS, slow=CPUS:MS, late=CPUS, madt-twice=CPUS, madt-missing=CPUS, tsc-skew=CPUS:CYCLES, tsc-drift=CPUS:PPM"
    " or microcode=CPUS"
)
_LISTS = {"dead": "dead", "madt-twice": "madt_twice", "madt-missing": "madt_missing", "microcode": "microcode"}
_TABLES = {"slow": "slow_ms", "tsc-skew": "tsc_skew_cycles", "tsc-drift": "tsc_drift_ppm"}


def add_fault(faults: FaultSpec, option: str) -> None:
    """Add one ``--fault`` option such as ``slow=2:15`` to ``faults``. InputError names the option and its forms."""
    name, equals, value = option.partition("=")
    cpus, colon, parameter = value.partition(":")
    if not equals or not cpus:
        raise InputError(f"--fault: {option!r}: expected {OPTION_FORMS}")
    if name == "late" and not colon:
        name, parameter = "slow", str(LATE_MS)
    elif bool(colon) != (name in _TABLES):
        raise InputError(f"--fault: {option!r}: expected {OPTION_FORMS}")
    if name in _LISTS:
        field = _LISTS[name]
        setattr(faults, field, ",".join(part for part in (getattr(faults, field), cpus) if part))
    elif name in _TABLES:
        getattr(faults, _TABLES[name])[cpus] = _parameter(option, name, parameter)
    else:
        raise InputError(f"--fault: {option!r}: expected {OPTION_FORMS}")


def without_effect(faults: FaultSpec, microcode: int) -> list[str]:
    """A line for each fault that changes nothing on this machine; ``microcode``: the update its loader brings."""
    if faults.microcode and not microcode:
        return [f"fault microcode={faults.microcode} has no effect: no microcode update comes with this machine"]
    return []


def _parameter(option: str, name: str, text: str) -> float | int:
    kinds = {"slow": Delay, "tsc-skew": Cycles, "tsc-drift": Drift}
    try:
        whole = name == "tsc-skew" and len(text) <= MAX_DIGITS
        number: float | int = int(text) if whole else parse_real(text, option, -1e18, 1e18)
        return msgspec.convert(number, kinds[name])
    except (ValueError, msgspec.ValidationError) as error:
        raise InputError(f"--fault: {option!r}: {text!r} is no number this fault takes: {error}") from error
