"""A bring-up order: in which order the boot CPU starts the others.

What is right is said by what a processor asks for: a thread shares its core's microcode with its siblings, so the first
thread of a core runs before the others do. Source: kernel/cpu.c:cpuhp_bringup_cpus_parallel() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from minikern.lab.kinds.kind import Attempt, Function, Hook, Kind, Load, Wrong, listed, table, whole

NAME = "bring_up_order"
BOOT = 0  # the CPU that runs already
TIMED_CORES = 64  # of two sockets, two threads each


class Cpu(NamedTuple):
    """Number, socket, core of the socket, thread of the core."""

    number: int
    package: int
    core: int
    thread: int


@dataclass(frozen=True)
class Topology:
    """The CPUs that are there, by number, and how many may run at most, the boot CPU among them."""

    name: str
    cpus: tuple[Cpu, ...]
    limit: int

    @property
    def size(self) -> int:
        """CPUs."""
        return len(self.cpus)

    def describe(self) -> str:
        """One line."""
        told = ", ".join(f"{cpu.number}=({cpu.package}, {cpu.core}, {cpu.thread})" for cpu in self.cpus[:8])
        more = f" and {len(self.cpus) - 8} more" if len(self.cpus) > 8 else ""
        return f"{self.name}: CPU=(package, core, thread) {told}{more}; limit {self.limit}"

    def first_thread(self, cpu: Cpu) -> int | None:
        """Number of the first thread of a CPU's core, None where that is not there."""
        return next((one.number for one in self.cpus if one[1:] == (cpu.package, cpu.core, 0)), None)


def first_wrong(case: Topology, attempt: Attempt) -> Wrong | None:
    """The first CPU that is started at a wrong place, or never."""
    expected = "a list of CPU numbers"

    def read(value: Any) -> list[int]:
        return [whole(NAME, item, expected) for item in listed(NAME, value, len(case.cpus) + 1, expected)]

    order: list[int] = attempt.call(case.describe(), (table(case.cpus, 4), case.limit), read)
    attempt.tally(len(case.cpus))
    found = _misplaced(case, order) or _count_wrong(case, order)
    if found is None:
        return None
    cpu, wanted, came = found
    return Wrong(case, "CPU", cpu, "place", wanted, came, tuple(_picture(case, order, cpu)))


def _misplaced(case: Topology, order: list[int]) -> tuple[int, str, str] | None:
    cpus = {cpu.number: cpu for cpu in case.cpus}
    running = {BOOT}
    for place, number in enumerate(order, 1):
        if number == BOOT:
            return number, "none, it runs already", f"place {place}"
        if number not in cpus:
            return number, "none, there is no such CPU", f"place {place}"
        if number in running:
            return number, "one place", f"place {order.index(number) + 1} and place {place}"
        first = case.first_thread(cpus[number])
        if cpus[number].thread and first is not None and first not in running:
            return number, f"one after CPU {first}, the first thread of its core", f"place {place}"
        running.add(number)
    return None


def _count_wrong(case: Topology, order: list[int]) -> tuple[int, str, str] | None:
    others = max(0, min(case.limit, len(case.cpus)) - 1)
    if len(order) > others:
        return order[others], f"none: {_so_many(others)} started, limit {case.limit}", f"place {others + 1}"
    if len(order) < others:
        missing = next(cpu.number for cpu in case.cpus if cpu.number not in (BOOT, *order))
        return missing, f"one of {others}", f"none: {_so_many(len(order))} started"
    return None


def _so_many(count: int) -> str:
    return f"{count} CPU is" if count == 1 else f"{count} CPUs are"


def _picture(case: Topology, order: list[int], wrong: int) -> list[str]:
    """The machine as sockets and cores; under each CPU its place in the order."""
    place = {number: str(at) for at, number in reversed(list(enumerate(order, 1)))}
    by_core = sorted(case.cpus, key=lambda cpu: cpu[1:])
    lines = []
    for (package, core), threads in groupby(by_core, key=lambda cpu: (cpu.package, cpu.core)):
        told = [_cpu_told(cpu, place, wrong) for cpu in threads]
        lines.append(f"package {package} core {core}:  " + "   ".join(told))
    at = next((number for number, line in enumerate(lines) if "<" in line), 0)
    shown = lines[max(0, at - 3) : at + 4]
    return [*shown, f"order: {', '.join(map(str, order[:24]))}{' ...' if len(order) > 24 else ''}"]


def _cpu_told(cpu: Cpu, place: dict[int, str], wrong: int) -> str:
    told = "runs" if cpu.number == BOOT else place.get(cpu.number, "never")
    return f"CPU {cpu.number} thread {cpu.thread} [{told}]{' <' if cpu.number == wrong else ''}"


# inputs


def machine(
    name: str, packages: int, cores: int, threads: int, limit: int = 0, siblings_last: bool = True
) -> Topology:
    """A machine numbered as firmware usually does: first threads first, or thread by thread."""
    places = [(p, c, t) for p in range(packages) for c in range(cores) for t in range(threads)]
    if siblings_last:
        places.sort(key=lambda place: place[2])
    cpus = tuple(Cpu(number, *place) for number, place in enumerate(places))
    return Topology(name, cpus, limit or len(cpus))


def corners() -> list[Topology]:
    """Machines chosen by hand."""
    two = (Cpu(0, 0, 0, 0), Cpu(1, 0, 0, 1))
    found = [
        Topology("the boot CPU alone", two[:1], 1),
        Topology("a core of two threads", two, 2),
        Topology("booted on the second thread", (Cpu(0, 0, 0, 1), Cpu(1, 0, 0, 0)), 2),
        Topology("limit 1", two, 1),
        Topology("no limit to speak of", two, 8192),
        Topology("siblings numbered first", (two[0], Cpu(1, 0, 1, 1), Cpu(2, 0, 1, 0), Cpu(3, 0, 0, 1)), 4),
        Topology("a core without its first thread", (two[0], Cpu(1, 0, 1, 1)), 2),
        Topology("numbers with holes", (two[0], Cpu(2, 0, 1, 0), Cpu(7, 0, 1, 1), Cpu(9, 0, 0, 1)), 4),
        machine("four cores", 1, 4, 1),
        machine("two sockets, thread by thread", 2, 2, 2, siblings_last=False),
        machine("half of the CPUs", 2, 2, 2, limit=4),
        machine("one CPU less than half", 2, 2, 2, limit=3),
        machine("four threads a core", 1, 2, 4, siblings_last=False),
        machine("a server", 2, 16, 2),
    ]
    return sorted(found, key=lambda case: case.size)


def made_up() -> Any:
    """Any CPUs of a few sockets, numbered in any order, with any limit."""
    from hypothesis import strategies as st

    @st.composite
    def topologies(draw: st.DrawFn) -> Topology:
        places = st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 1))
        chosen = draw(st.lists(places, min_size=1, max_size=12, unique=True))
        gaps = draw(st.lists(st.integers(1, 3), min_size=len(chosen), max_size=len(chosen)))
        numbers = [sum(gaps[:at]) for at in range(len(chosen))]
        cpus = tuple(Cpu(number, *place) for number, place in zip(numbers, chosen, strict=True))
        return Topology("made up", cpus, draw(st.integers(1, len(cpus) + 1)))

    return topologies()


def builtins() -> dict[str, Function]:
    """The order of a kernel that starts first threads first."""

    def parallel(cpus: Any, limit: int) -> list[int]:
        order = sorted(cpus[1:].tolist(), key=lambda cpu: (cpu[3] > 0, cpu[0]))
        return [cpu[0] for cpu in order[: max(0, limit - 1)]]

    return {"built-in": parallel}


def load(_: int) -> Load:
    """A server's CPUs."""
    cpus = table(machine("timing", 2, TIMED_CORES, 2).cpus, 4)

    def bind(function: Function, low: int, high: int) -> Callable[[], object]:
        return lambda: function(cpus, len(cpus))

    return Load(f"{len(cpus)} CPUs", 1, bind)


KIND = Kind(
    "bring-up",
    Hook(
        NAME,
        ("cpus", "limit"),
        "Return the numbers of the CPUs to start, in order. cpus has rows (number, package, core, thread) by number"
        " (int64); CPU 0 runs already. As many run in the end as limit says, CPU 0 counted, or all there are. A thread"
        " comes after the first thread (0) of its core, where that is there.",
    ),
    "CPUs", "machine", first_wrong, corners, made_up, builtins, load,
    '''\
    # First threads first: a core's microcode is loaded by its first thread, while its siblings do not run yet.
    firsts = [number for number, package, core, thread in cpus.tolist() if thread == 0 and number != 0]
    siblings = [number for number, package, core, thread in cpus.tolist() if thread != 0 and number != 0]
    return (firsts + siblings)[: max(0, limit - 1)]
''',
    ("firsts + siblings", "sorted(firsts + siblings)"),
)  # fmt: skip
