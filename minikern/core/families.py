"""Processor families: unit costs as they were fitted to real machines' boots, for machines nobody has fitted.

Each family is a file of ``hw/costs/families``, written by ``bench/predict``: what a kind of work costs there, how much
machines of the family differ, and how many the figure rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from math import exp

import msgspec

from hw.spec import CpuSpec
from hw.toml_file import decode_toml
from minikern.core.cost_table import cost_groups
from minikern.core.costs import Cost

EIGHTY_PERCENT = 1.2816  # standard deviations to either side of the mean
GUEST, EMULATED = "guest", "emulated"
HYPERVISOR = ("Hypervisor detected:", "Booting paravirtualized kernel on KVM", "kvm-clock: ")  # a guest's lines
MEMORY = "mm"  # the group of work on memory
QEMU = "DMI: QEMU "  # without one of those lines: on a processor that is emulated too
NEAREST = {"GenuineIntel": "intel-server", "AuthenticAMD": "amd-server", "HygonGenuine": "amd-server"}


class FamilyModels(msgspec.Struct, forbid_unknown_fields=True):
    """Processors of one CPUID family, by the models [first, last]."""

    vendor: str
    family: int
    models: list[tuple[int, int]]


class FamilyCost(msgspec.Struct, forbid_unknown_fields=True):
    """Ns a piece, the spread of its logarithm, machines of the family and of all families that it rests on."""

    ns: float
    spread: float
    machines: int
    others: int = 0


class Family(msgspec.Struct, forbid_unknown_fields=True):
    """One family: who belongs to it, and what work costs there. ``rank``: families are asked in this order.

    ``apart``: its machines say nothing of those of other families, nor those of its own.
    """

    title: str
    rank: int
    members: list[FamilyModels] = []
    machines: int = 0
    apart: bool = False
    costs: dict[str, FamilyCost] = {}


@lru_cache(maxsize=1)
def load_families() -> dict[str, Family]:
    """All families by name, in the order in which they are asked."""
    folder = resources.files("hw").joinpath("costs").joinpath("families")
    files = {entry.name.removesuffix(".toml"): entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    where = "hw/costs/families/"
    found = {name: decode_toml(entry.read_bytes(), Family, f"{where}{name}.toml") for name, entry in files.items()}
    return dict(sorted(found.items(), key=lambda item: item[1].rank))


def family_of(cpus: CpuSpec, guest: bool) -> str:
    """The name of the family a machine belongs to, or of the nearest one."""
    if guest:
        return GUEST
    for name, family in load_families().items():
        if any(_belongs(cpus, member) for member in family.members):
            return name
    return NEAREST.get(cpus.vendor, "intel-client")


def family_of_boot(cpus: CpuSpec, lines: Iterable[str]) -> str:
    """The family of a machine whose boot wrote these lines: under a hypervisor it is a guest whatever its processor."""
    written = [line for line in lines if line.startswith((*HYPERVISOR, QEMU))]
    if any(line.startswith(HYPERVISOR) for line in written):
        return GUEST
    return EMULATED if written else family_of(cpus, guest=False)


def _belongs(cpus: CpuSpec, member: FamilyModels) -> bool:
    models = any(first <= cpus.model <= last for first, last in member.models)
    return cpus.vendor == member.vendor and cpus.family == member.family and models


def family_costs(name: str) -> dict[str, Cost]:
    """The unit costs of a family, each with its interval and what it rests on."""
    family = load_families()[name]
    return {kind: as_cost(cost, family.title) for kind, cost in family.costs.items()}


def costs_of(cpus: CpuSpec, family: str) -> dict[str, Cost]:
    """The unit costs of a machine of ``family`` with these processors."""
    costs = family_costs(family)
    return over_host(costs, family_costs(family_of(cpus, guest=False))) if family == GUEST else costs


def over_host(guest: Mapping[str, Cost], host: Mapping[str, Cost]) -> dict[str, Cost]:
    """A guest's costs: work on memory is done by the host's processor, so there its family counts as much as guests."""
    groups = cost_groups()
    both = [kind for kind in guest.keys() & host.keys() if groups.get(kind) == MEMORY]
    return {**guest, **{kind: _mean(guest[kind], host[kind]) for kind in sorted(both)}}


def _mean(one: Cost, other: Cost) -> Cost:
    def mean(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else float(f"{(a * b) ** 0.5:.5g}")

    source = f"{one.source}; as much by {other.source}"
    ns = float(f"{(one.ns * other.ns) ** 0.5:.5g}")
    return Cost(ns, source, mean(one.low, other.low), mean(one.high, other.high), "assumed")


def as_cost(cost: FamilyCost, title: str) -> Cost:
    """A family's figure as a machine's cost."""
    width = exp(EIGHTY_PERCENT * cost.spread)
    source = f"fitted to {cost.machines} machines of {title} and {cost.others} others"
    return Cost(cost.ns, source, float(f"{cost.ns / width:.5g}"), float(f"{cost.ns * width:.5g}"), "assumed")
