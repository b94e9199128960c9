"""Many legal timings of one bring-up: does every order end in the same state, with every rule kept?"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hw.errors import MachineStopped
from hw.spec import CpuSpec
from minikern.core.experiment import Experiment
from minikern.core.kernel import Kernel
from minikern.core.recorder import Mark
from minikern.lab.cpu_board import CpuLab, bring_up, cpu_state
from minikern.lab.smp_rules import Violation, violations

SHRINK_SEEDS = 200


@dataclass
class Finding:
    """One seed whose order broke a rule; ``trace`` are the marks of the CPUs concerned up to there."""

    seed: int
    cpus: int
    violation: Violation
    trace: list[Mark]


@dataclass
class Exploration:
    """What was tried and what was found."""

    cpus: int
    seeds: int
    orders: int = 0  # different orders of the marks
    fastest_ns: int = 0
    slowest_ns: int = 0
    findings: list[Finding] = field(default_factory=list)
    shortest: Finding | None = None


def explore_smp(
    spec: CpuSpec,
    seeds: int,
    first_seed: int = 0,
    append: str = "",
    release: str = "debian-6.12",
    experiment: Experiment | None = None,
    on_seed: Callable[[str], None] = lambda name: None,
) -> Exploration:
    """Bring the CPUs of ``spec`` up under ``seeds`` timings; same arguments, same outcome."""
    lab = CpuLab(spec, release, experiment=experiment)
    expected = cpu_state(lab.boot(append=append))
    result = Exploration(spec.count, seeds)
    orders: set[int] = set()
    times: list[int] = []
    for seed in range(first_seed, first_seed + seeds):
        on_seed(str(seed))
        k = lab.kernel(append=append, jitter=random.Random(seed), record=True)
        finding = _try(k, seed, spec.count, expected)
        if finding is not None:
            result.findings.append(finding)
        assert k.recorder is not None
        orders.add(hash(tuple((mark.cpu, mark.name) for mark in k.recorder.marks)))
        times.append(k.machine.clock.now)
    result.orders = len(orders)
    result.fastest_ns, result.slowest_ns = min(times), max(times)
    if result.findings:
        result.shortest = _shrink(spec, result.findings, append, release, experiment)
    return result


def _try(k: Kernel, seed: int, cpus: int, expected: dict[str, Any] | None) -> Finding | None:
    assert k.recorder is not None
    marks = k.recorder.marks
    try:
        bring_up(k)
        k.cpus.check()
    except (MachineStopped, ValueError, RuntimeError) as error:
        return _finding(seed, cpus, Violation("boot goes on", str(error), len(marks), tuple(k.cpus.present)), marks)
    broken = violations(k)
    if broken:
        return _finding(seed, cpus, broken[0], marks)
    if expected is not None:
        state = cpu_state(k)
        different = [name for name in expected if state[name] != expected[name]]
        if different:
            text = f"the end state differs in {', '.join(different)}"
            return _finding(seed, cpus, Violation("same end state", text, len(marks), tuple(k.cpus.present)), marks)
    return None


def _finding(seed: int, cpus: int, violation: Violation, marks: list[Mark]) -> Finding:
    trace = [mark for mark in marks[: violation.at + 1] if mark.cpu in violation.cpus]
    return Finding(seed, cpus, violation, trace)


def _shrink(
    spec: CpuSpec, findings: list[Finding], append: str, release: str, experiment: Experiment | None
) -> Finding:
    """The finding with the fewest steps, looked for on smaller machines too."""
    best = min(findings, key=lambda item: (len(item.trace), item.cpus, item.seed))
    for count in range(2, spec.count):
        if count % spec.threads:
            continue
        lab = CpuLab(CpuSpec(count=count, threads=spec.threads), release, experiment=experiment)
        for seed in range(SHRINK_SEEDS):
            found = _try(lab.kernel(append=append, jitter=random.Random(seed), record=True), seed, count, None)
            if found is not None and (len(found.trace), found.cpus) < (len(best.trace), best.cpus):
                best = found
        if best.cpus == count:
            break
    return best
