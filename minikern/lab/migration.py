"""Live migration of different guests: the alternative to replacing the kernel under them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hw.units import NS_PER_MS, parse_size
from minikern.core.cost_table import machine_costs
from minikern.describe.case import Case
from minikern.lab.downtime import MAX_ROUNDS, Link
from minikern.lab.vms import VmGroup


class Moved(msgspec.Struct):
    """The guests migrated away one after the other instead. Simulated ms."""

    p50_ms: float
    worst_ms: float
    total_ms: float
    network_bytes: int
    converged: bool
    lost_packets: int
    price: str = "a second host with room for all guests"
    passed_through: int = 0  # guests whose devices' drivers must be able to move them


def migrate_all(spec: Case, groups: Sequence[VmGroup], link: Link) -> Moved:
    """Pre-copy of every guest by its own memory and dirty rate. InputError for a link that carries nothing."""
    link.check()
    switch_ms = machine_costs(spec.name, spec.costs)["migration_switchover"].ns / NS_PER_MS
    silent, total_ms, sent, converged, lost = [], 0.0, 0.0, True, 0
    for vm in (group for group in groups for _ in range(group.count)):
        left, rounds = float(vm.memory_bytes), 0
        dirty = parse_size(vm.dirty, "--vm: dirty")
        while left / link.bytes_per_s > link.max_downtime_ns / 1e9 and rounds < MAX_ROUNDS:
            seconds = left / link.bytes_per_s
            sent, total_ms, rounds = sent + left, total_ms + 1e3 * seconds, rounds + 1
            left = min(float(vm.memory_bytes), dirty * seconds)
        stopped_ms = 1e3 * left / link.bytes_per_s
        converged &= stopped_ms <= link.max_downtime_ns / NS_PER_MS
        silent.append(stopped_ms + switch_ms)
        sent, total_ms = sent + left, total_ms + stopped_ms + switch_ms
        lost += int(1000 * silent[-1]) // vm.packet_us
    silent.sort()
    middle = silent[-(-len(silent) * 50 // 100) - 1]
    tied = sum(group.count for group in groups if group.vfio)
    return Moved(
        round(middle, 3), round(silent[-1], 3), round(total_ms, 3), int(sent), converged, lost, passed_through=tied
    )
