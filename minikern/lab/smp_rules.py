"""What must hold in every order of a bring-up, read off the marks its kernel left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from minikern.core.kernel import Kernel
from minikern.core.recorder import Mark
from minikern.state.cpus import CpuMaps

STEPS = ("INIT", "SIPI", "started", "stack_taken", "stack_left", "ALIVE", "SHOULD_ONLINE", "AP_ONLINE_IDLE", "ONLINE")
"""What a CPU goes through, in this order."""


class Violation(NamedTuple):
    """A rule that was broken: by which mark (its number), and which CPUs are concerned."""

    rule: str
    text: str
    at: int
    cpus: tuple[int, ...]


def violations(k: Kernel) -> list[Violation]:
    """All broken rules of one finished bring-up, the earliest first. RuntimeError if nothing was recorded."""
    if k.recorder is None:
        raise RuntimeError("the boot was not recorded: expected BootOptions(record=True)")
    marks, maps = k.recorder.marks, k.cpus
    found = [*_one_stack_user(marks), *_primaries_first(marks, maps), *_handshakes(marks, maps)]
    return sorted(found, key=lambda item: item.at)


def _one_stack_user(marks: Sequence[Mark]) -> Iterator[Violation]:
    """The one real-mode stack has one user at a time."""
    users: list[int] = []
    for at, mark in enumerate(marks):
        if mark.name == "stack_taken":
            if users:
                text = f"CPU {mark.cpu} takes the real-mode stack while CPU {users[-1]} is on it"
                yield Violation("one trampoline stack user", text, at, (users[-1], mark.cpu))
            users.append(mark.cpu)
        elif mark.name == "stack_left" and mark.cpu in users:
            users.remove(mark.cpu)


def _primaries_first(marks: Sequence[Mark], maps: CpuMaps) -> Iterator[Violation]:
    """No sibling is woken before its core's first thread has loaded the microcode."""
    ready = {0}
    first = {(p.package, p.die, p.core): cpu for cpu, p in maps.ids.items() if p.thread == 0}
    for at, mark in enumerate(marks):
        if mark.name == "ALIVE":  # reported after the load
            ready.add(mark.cpu)
        elif mark.name == "INIT" and not maps.is_primary_thread(mark.cpu):
            place = maps.ids[mark.cpu]
            primary = first.get((place.package, place.die, place.core))
            if primary is not None and primary not in ready:
                text = f"CPU {mark.cpu} is woken before its core's first thread, CPU {primary}, has its microcode"
                yield Violation("primary's microcode first", text, at, (primary, mark.cpu))


def _handshakes(marks: Sequence[Mark], maps: CpuMaps) -> Iterator[Violation]:
    """Every present CPU goes through all steps in order, and comes online exactly once."""
    seen: dict[int, list[tuple[int, str]]] = {cpu: [] for cpu in maps.present}
    for at, mark in enumerate(marks):
        if mark.name in STEPS and mark.cpu in seen:
            steps = seen[mark.cpu]
            if not (mark.name == "SIPI" and steps and steps[-1][1] != "INIT"):  # the second one is ignored
                steps.append((at, mark.name))
    end = len(marks)
    for cpu, steps in seen.items():
        names = [name for _, name in steps]
        if cpu == 0:
            continue
        online = names.count("ONLINE")
        if online != 1 or cpu not in maps.online:
            yield Violation("online exactly once", f"CPU {cpu} came online {online} times", end, (cpu,))
        wrong = next((i for i, name in enumerate(names) if i >= len(STEPS) or name != STEPS[i]), len(names))
        if wrong < len(STEPS):
            at, came = steps[wrong] if wrong < len(names) else (end, "nothing")
            text = f"CPU {cpu}: expected {STEPS[wrong]}, came {came}"
            yield Violation("no lost hand-shake", text, at, (cpu,))
