"""The CPU hotplug states a boot passes through, and what each one's start-up callback costs. Data.

Only states with a start-up callback on x86, and those that mark a section's border, are listed; a state without a cost
has nothing to do at start-up. Source: include/linux/cpuhotplug.h, kernel/cpu.c:cpuhp_hp_states[] @ v6.1, v6.12
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from minikern.state.cpus import Cpuhp

CALLBACK = "cpuhp_callback"


class State(NamedTuple):
    """One state. ``kind`` is the kind of work its start-up callback is booked as, empty for none."""

    name: Cpuhp
    kind: str = ""


@dataclass(frozen=True)
class StateTable:
    """The states of one scheme by section; ``prepare`` runs on the control CPU, the others on the CPU that starts."""

    prepare: tuple[State, ...]
    starting: tuple[State, ...]
    online: tuple[State, ...]

    def names(self) -> tuple[Cpuhp, ...]:
        """All names in the order of the enumeration."""
        return tuple(state.name for state in (*self.prepare, *self.starting, *self.online))

    def position(self, name: Cpuhp) -> int:
        """Position of ``name`` in that order; ValueError if there is no such state."""
        position = self._positions.get(name)
        if position is None:
            raise ValueError(f"no hotplug state is called {name!r}")
        return position

    @cached_property
    def _positions(self) -> dict[Cpuhp, int]:
        return {name: at for at, name in enumerate(self.names())}


_PREPARE = (
    State(Cpuhp.OFFLINE),
    State(Cpuhp.CREATE_THREADS, "cpuhp_thread_create"),
    State(Cpuhp.PERF_PREPARE, CALLBACK),
    State(Cpuhp.RANDOM_PREPARE, CALLBACK),
    State(Cpuhp.WORKQUEUE_PREP, "workqueue_prepare"),
    State(Cpuhp.HRTIMERS_PREPARE, CALLBACK),
    State(Cpuhp.X2APIC_PREPARE, CALLBACK),
    State(Cpuhp.SMPCFD_PREPARE, "smpcfd_prepare"),
    State(Cpuhp.RELAY_PREPARE, CALLBACK),
    State(Cpuhp.RCUTREE_PREP, CALLBACK),
    State(Cpuhp.TRACE_RB_PREPARE, "ring_buffer_prepare"),
    State(Cpuhp.TIMERS_PREPARE, CALLBACK),
)
_ONLINE = (
    State(Cpuhp.AP_ONLINE_IDLE),
    State(Cpuhp.AP_SMPBOOT_THREADS, "smpboot_threads_unpark"),
    State(Cpuhp.AP_IRQ_AFFINITY_ONLINE, CALLBACK),
    State(Cpuhp.AP_PERF_ONLINE, CALLBACK),
    State(Cpuhp.AP_WATCHDOG_ONLINE, CALLBACK),
    State(Cpuhp.AP_WORKQUEUE_ONLINE, CALLBACK),
    State(Cpuhp.AP_RANDOM_ONLINE, CALLBACK),
    State(Cpuhp.AP_RCUTREE_ONLINE, CALLBACK),
    State(Cpuhp.AP_BASE_CACHEINFO_ONLINE, CALLBACK),
    State(Cpuhp.AP_ONLINE_DYN, CALLBACK),
    State(Cpuhp.AP_ACTIVE, "sched_activate"),
    State(Cpuhp.ONLINE),
)

SERIAL_OLD = StateTable(
    prepare=(*_PREPARE, State(Cpuhp.BP_PREPARE_DYN, CALLBACK), State(Cpuhp.BRINGUP_CPU)),
    starting=(
        State(Cpuhp.AP_IDLE_DEAD),
        State(Cpuhp.AP_OFFLINE),
        State(Cpuhp.AP_SCHED_STARTING, CALLBACK),
        State(Cpuhp.AP_PERF_X86_STARTING, CALLBACK),
        State(Cpuhp.AP_ONLINE),
        State(Cpuhp.TEARDOWN_CPU),
    ),
    online=_ONLINE,
)
SPLIT = StateTable(
    prepare=(
        *_PREPARE,
        State(Cpuhp.TMIGR_PREPARE, CALLBACK),
        State(Cpuhp.BP_PREPARE_DYN, CALLBACK),
        State(Cpuhp.BP_KICK_AP),
        State(Cpuhp.BRINGUP_CPU),
    ),
    starting=(
        State(Cpuhp.AP_IDLE_DEAD),
        State(Cpuhp.AP_OFFLINE),
        State(Cpuhp.AP_CACHECTRL_STARTING, CALLBACK),
        State(Cpuhp.AP_SCHED_STARTING, CALLBACK),
        State(Cpuhp.AP_PERF_X86_STARTING, CALLBACK),
        State(Cpuhp.AP_HRTIMERS_DYING, CALLBACK),
        State(Cpuhp.AP_ONLINE),
        State(Cpuhp.TEARDOWN_CPU),
    ),
    online=_ONLINE,
)
TABLES = {"serial-old": SERIAL_OLD, "split": SPLIT}


def by_kind(states: Iterable[State]) -> Iterator[tuple[str, int]]:
    """The section's work as (kind, count), neighbours of one kind joined."""
    kind, count = "", 0
    for state in states:
        if not state.kind:
            continue
        if state.kind != kind and count:
            yield kind, count
            count = 0
        kind, count = state.kind, count + 1
    if count:
        yield kind, count
