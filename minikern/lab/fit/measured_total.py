"""A boot of which only the total was measured: systemd's time of the kernel, for a machine whose log has no stamps.

What nobody has counted is stretched or shrunk first; where counted work alone takes longer than was measured, its unit
costs are as much smaller.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from hw.units import NS_PER_MS
from minikern.core.cost_table import cost_groups, machine_costs
from minikern.core.costs import Cost
from minikern.core.kernel import BootOptions
from minikern.describe.case import Case
from minikern.describe.startup import Startup
from minikern.lab.fit.calibrate import EXACT, HELD
from minikern.lab.run import Boot, boot

ROUNDS, ENOUGH = 3, 0.005  # of the total
FAR = 0.05  # of the log's time, by which systemd's differs so much that a user should know


def with_total(spec: Case, startup: Startup) -> tuple[Case, str]:
    """``spec`` whose boot takes as long as systemd says the kernel did, and what a user should know of it."""
    for _ in range(ROUNDS):
        done = boot(spec, options=BootOptions(vmemmap="counted"))
        done.kernel.release_memory()
        target = target_ns(startup, done.total_ns)
        if abs(done.total_ns - target) <= ENOUGH * target:
            break
        spec = _nearer(spec, done, target)
    return spec, f"the boot's total is the kernel's time by systemd: {startup.text()}"


def target_ns(startup: Startup, total_ns: int) -> int:
    """The measured total; ``total_ns`` where that is within what is known."""
    if startup.kernel_ms is not None:
        return round(startup.kernel_ms * NS_PER_MS)
    most = round((startup.first_unit_ms or 0.0) * NS_PER_MS)
    return min(total_ns, most) if most else total_ns


def told_apart(startup: Startup, real_ns: int) -> list[str]:
    """A line for the user where systemd's time of the kernel is not the log's."""
    if startup.kernel_ms is None or abs(startup.kernel_ms * NS_PER_MS - real_ns) <= FAR * real_ns:
        return []
    return [f"systemd counts {startup.kernel_ms:.0f} ms for the kernel, the log's stamps {real_ns / NS_PER_MS:.0f} ms"]


def _nearer(spec: Case, done: Boot, target: int) -> Case:
    rest = sum(entry.total_ns for entry in done.kernel.ledger.entries() if entry.critical and not entry.modelled)
    counted = done.total_ns - rest
    if rest > 0 and target > counted:
        return _scaled(spec, (target - counted) / rest, {})
    factor = target / done.total_ns
    groups, known = cost_groups(), machine_costs(spec.name, spec.costs)
    moved = {
        kind: _times(cost, factor)
        for kind, cost in known.items()
        if groups.get(kind) != HELD and not cost.source.startswith(EXACT)
    }
    return _scaled(spec, factor, moved)


def _scaled(spec: Case, factor: float, costs: Mapping[str, Cost]) -> Case:
    residue = [msgspec.structs.replace(item, ms=item.ms * factor) for item in spec.residue]
    return msgspec.structs.replace(spec, residue=residue, costs={**spec.costs, **costs})


def _times(cost: Cost, factor: float) -> Cost:
    low, high = (None if value is None else value * factor for value in (cost.low, cost.high))
    return msgspec.structs.replace(cost, ns=cost.ns * factor, low=low, high=high)
