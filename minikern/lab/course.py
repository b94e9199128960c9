"""The course of a finished boot, reckoned again with other costs: what many boots with drawn costs would show.

A boot's time is a sum of work but for its turns. Before a tick of the timer, what took longer is swallowed up to the
tick, or costs a whole one. Where the boot CPU waits for work beside it, the longer of the two counts: dearer work may
cost more than cheaper work saves. And deferred pages take as long as their threads or their memory, whichever is
slower.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from minikern.core.kernel import Kernel
from minikern.core.ledger import Entry
from minikern.core.turns import Point, Turn
from minikern.lab.believed import DRAWS, Doubts, Factors, Sample
from minikern.lab.spent import PAGES, STORE, Spent, spent_beside
from minikern.mm.map.deferred import page_paces


class Course:
    """What one boot did until each of its turns, and until /init."""

    def __init__(self, kernel: Kernel) -> None:
        self._turns = list(kernel.turns)
        self._tick_ns = 1_000_000_000 // kernel.config.number("CONFIG_HZ")
        self._forked = {turn.work for turn in self._turns if turn.kind == "fork"}
        self._end = _phases(kernel.point(), self._forked)
        deferred = any(PAGES in spent.work for spent in self._end.values())
        self._paces = page_paces(kernel) if deferred else (1.0, 0.0)

    def off(self, doubts: Doubts) -> dict[str, Sample]:
        """By how many ns each phase differs, in each draw, from what it took."""
        factors = Factors(doubts)
        factors.put(PAGES, _slower(factors, *self._paces))
        found = {phase: factors.off(spent) for phase, spent in self._end.items()}
        late = np.zeros(DRAWS)  # what the turns so far took longer
        forks: dict[str, tuple[Turn, Sample]] = {}
        for turn in self._turns:
            reached = turn.since.at_ns + late + self._until(turn.since, factors)
            if turn.kind == "fork":
                forks[turn.work] = turn, reached
                continue
            if turn.kind == "tick":
                longer = self._tick(turn, reached)
            else:
                longer = _join(turn, reached, *forks[turn.work], factors)
            late = late + longer
            if turn.phase in found:  # else it was before the log's clock ran
                found[turn.phase] = found[turn.phase] + longer
        return found

    def _until(self, point: Point, factors: Factors) -> Sample:
        early = {row.kind: float(row.total_ns) for row in point.rows if row.before and row.modelled and row.cpu == 0}
        total = factors.off(Spent(early))
        for spent in _phases(point, self._forked).values():
            total = total + factors.off(spent)
        return total

    def _tick(self, turn: Turn, reached: Sample) -> Sample:
        """How much longer it takes to see as many ticks."""
        edges = (turn.since.at_ns + turn.spent_ns) // self._tick_ns - turn.since.at_ns // self._tick_ns
        ended: Sample = (np.floor(reached / self._tick_ns) + edges) * self._tick_ns
        return ended - reached - turn.spent_ns


def _join(join: Turn, reached: Sample, fork: Turn, begun: Sample, factors: Factors) -> Sample:
    """How much longer the boot CPU sleeps for what was forked."""
    work_ns = _booked(join.since, join.work) - _booked(fork.since, join.work)
    longer: Sample = np.maximum(begun + work_ns * factors.work(join.work) - reached, 0.0)
    return longer - max(fork.since.at_ns + work_ns - join.since.at_ns, 0)


def _booked(point: Point, kind: str) -> int:
    return sum(row.total_ns for row in point.rows if row.kind == kind)


def _slower(factors: Factors, thread_ns: float, store_ns: float) -> Sample | float:
    """Of deferred pages: by how much the slower of threads and memory differs from what was slower."""
    slower: Sample = np.maximum(thread_ns * factors.work(PAGES), store_ns * factors.work(STORE))
    return slower / max(thread_ns, store_ns)


def _phases(point: Point, forked: set[str]) -> Mapping[str, Spent]:
    rows: dict[str, list[Entry]] = {}
    for row in point.rows:
        rows.setdefault(row.phase, []).append(row)
    return {phase: spent_beside(rows.get(phase, ()), ns, forked) for phase, ns in point.phases_ns.items()}
