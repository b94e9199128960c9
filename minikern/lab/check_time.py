"""How fast a user's algorithm is, beside the built-in ones of its hook point.

All of them take their turn in each round, on the same kind of rows. Rows of memory are taken from a buffer several
times as large as the last-level cache, each call's from where none has been for long, so that what is measured is
memory and not a cache. What compiles has done so before the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from minikern.host.arena import Arena
from minikern.host.backing import available_bytes
from minikern.lab.algorithms import Found
from minikern.lab.kinds.kind import Function, Kind, Load
from minikern.lab.kinds.registry import BY_HOOK
from minikern.lab.rooflines import beyond_cache_bytes, cache_words, rooflines
from minikern.mm.map.deferred import host_cores

ROUNDS, MOST_ROUNDS = 5, 40
MORE_S = 1.0  # rounds go on for so long
BUSY = 0.5  # where the median round takes that much longer than the best, something else was at work
TRIAL_ROWS = 1 << 12  # each function's speed is guessed on so many
ALIGN_ROWS = 1 << 10  # calls begin with a block of the highest order, and with a cache line
LEAST_S, MOST_S = 0.005, 0.1  # a sample of one function takes between
MOST_LOOPS = 100_000

Bind = Callable[[int, int], Callable[[], object]]  # the call for rows [low, high)


@dataclass
class Timing:
    """One function on so many threads; ``samples`` are seconds, one a round, for ``amount`` things each."""

    name: str
    threads: int
    amount: int
    samples: list[float]
    of_roofline: float | None = None

    @property
    def rate(self) -> float:
        """Things a second, best round."""
        return self.amount / max(min(self.samples), 1e-9)

    @property
    def spread(self) -> float:
        """How much slower the median round was than the best."""
        return median(self.samples) / max(min(self.samples), 1e-9) - 1


@dataclass
class Clocked:
    """All timings of a function, and what they were taken on."""

    about: str
    unit: str  # what is counted in a second
    memory: str = ""  # what the buffer is beside the caches
    timings: list[Timing] = field(default_factory=list)
    note: str = ""

    @property
    def busy(self) -> bool:
        """True if half of the functions on some number of threads were disturbed: this computer had other work."""
        numbers = {timing.threads for timing in self.timings}
        return any(median(timing.spread for timing in self.of(threads)) > BUSY for threads in numbers)

    def of(self, threads: int) -> list[Timing]:
        """Those on so many threads."""
        return [timing for timing in self.timings if timing.threads == threads]


def time_algorithm(found: Found) -> Clocked:
    """The function and the built-in ones of its hook point."""
    kind = BY_HOOK[found.hook.name]
    runs = {found.name: found.function, **kind.builtins()}
    return _time_memory(found, kind, runs) if kind.row_bytes else _time_calls(kind, runs)


def _counted_rounds() -> Iterator[int]:
    """Five rounds, and more while there is time: the best of many is nearer to what an idle computer does."""
    until = time.perf_counter() + MORE_S
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and time.perf_counter() > until:
            return
        yield number


# one small input, again and again


def _time_calls(kind: Kind, runs: dict[str, Function]) -> Clocked:
    load = kind.load(1)
    calls = {name: load.bind(run, 0, 1) for name, run in runs.items()}
    loops = {name: _loops(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in _counted_rounds():
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(loops[name]):
                call()
            samples[name].append((time.perf_counter() - begin) / loops[name])
    timings = [Timing(name, 1, 1, values) for name, values in samples.items()]
    return Clocked(load.about, "calls", timings=timings)


def _loops(call: Callable[[], object]) -> int:
    """How often a call has to be made for a sample to be long enough."""
    call()
    fastest = min(_seconds(call) for _ in range(ROUNDS))
    return max(1, min(MOST_LOOPS, round(LEAST_S / max(fastest, 1e-9))))


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# rows of memory


def _time_memory(found: Found, kind: Kind, runs: dict[str, Function]) -> Clocked:
    room = min(beyond_cache_bytes(), available_bytes() // 4) // kind.row_bytes
    load = kind.load(max(TRIAL_ROWS, room // ALIGN_ROWS * ALIGN_ROWS))
    slowest = max(_guess(load, run) for run in runs.values())
    rows = int(MOST_S / max(slowest, 1e-12)) // ALIGN_ROWS * ALIGN_ROWS
    rows = max(ALIGN_ROWS, min(rows, load.rows // 2))
    walk = _Walk(load, rows)
    clocked = Clocked(load.about, kind.counted, cache_words(load.rows * kind.row_bytes))
    several = kind.threaded and releases_lock(found)
    for threads in sorted({1, host_cores()}) if several else (1,):
        clocked.timings += _rounds(kind, runs, walk, threads)
    if kind.threaded and not several and host_cores() > 1:
        clocked.note = "one thread: it holds the interpreter's lock (numba.njit(nogil=True) lets it go)"
    return clocked


def releases_lock(found: Found) -> bool:
    """True if several threads can be in a function at once."""
    options: Any = getattr(found.function, "targetoptions", {})
    return bool(options.get("nogil"))


def _guess(load: Load, run: Function) -> float:
    """Seconds a row, after a first call that compiles."""
    call = load.bind(run, 0, min(TRIAL_ROWS, load.rows))
    call()
    return _seconds(call) / min(TRIAL_ROWS, load.rows)


class _Walk:
    """Goes through a load in stretches of so many rows; the next one is the one left alone for longest."""

    def __init__(self, load: Load, rows: int) -> None:
        self.load, self.rows = load, rows
        self._at = 0

    def next(self) -> int:
        """The first row of the next stretch."""
        low = self._at
        self._at = low + self.rows if low + 2 * self.rows <= self.load.rows else 0
        return low


def _rounds(kind: Kind, runs: dict[str, Function], walk: _Walk, threads: int) -> list[Timing]:
    rows = walk.rows // (threads * ALIGN_ROWS) * threads * ALIGN_ROWS or walk.rows
    tops = _tops(kind, walk.load.rows)
    everyone: dict[str, Bind] = {}
    for name, run in runs.items():
        everyone[name] = lambda low, high, run=run: walk.load.bind(run, low, high)  # type: ignore[misc]
    everyone |= tops
    samples: dict[str, list[float]] = {name: [] for name in everyone}
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(abs, range(threads)))  # the threads exist before the clock starts
        for _ in _counted_rounds():
            for name, bind in everyone.items():
                low = walk.next()
                cuts = range(low, low + rows + 1, rows // threads)
                calls = [bind(first, last) for first, last in pairwise(cuts)]
                samples[name].append(_together(pool, calls))
    timings = [Timing(name, threads, rows, values) for name, values in samples.items()]
    top = max((timing.rate for timing in timings if timing.name in tops), default=0.0)
    for timing in timings:
        timing.of_roofline = timing.rate / top if top else None
    return timings


def _together(pool: ThreadPoolExecutor, calls: list[Callable[[], object]]) -> float:
    if len(calls) == 1:
        return _seconds(calls[0])
    begin = time.perf_counter()
    list(pool.map(lambda call: call(), calls))
    return time.perf_counter() - begin


def _tops(kind: Kind, rows: int) -> dict[str, Bind]:
    """The memory's own rates, on a buffer as large as that of the functions."""
    whole = rows * kind.row_bytes // 64
    words = Arena(whole * 64).words(whole)
    words[:] = np.uint64(1)
    found: dict[str, Bind] = {}
    for name, run in rooflines(kind.roofline, words).items():
        run(words[:ALIGN_ROWS])

        def bind(low: int, high: int, run: Any = run) -> Callable[[], object]:
            part = words[low * kind.row_bytes // 64 : high * kind.row_bytes // 64]
            return lambda: run(part)

        found[f"roofline: {name}"] = bind
    return found
