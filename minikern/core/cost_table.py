"""Unit costs: defaults that come with the parts, changed by a machine's own figures."""

from __future__ import annotations

from importlib import resources

from hw.errors import InputError
from hw.spec import Cost, MachineSpec
from hw.toml_file import decode_toml

MEASURED = "measured on this host"  # how the source of such a cost begins


def default_costs() -> dict[str, Cost]:
    """Every kind of work that may be charged, with its default unit cost, from ``hw/costs/*.toml``."""
    costs: dict[str, Cost] = {}
    folder = resources.files("hw").joinpath("costs")
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if not entry.name.endswith(".toml"):
            continue
        for kind, cost in decode_toml(entry.read_bytes(), dict[str, Cost], f"hw/costs/{entry.name}").items():
            if kind in costs:
                raise InputError(f"hw/costs/{entry.name}: {kind} is declared twice")
            costs[kind] = cost
    return costs


def machine_costs(spec: MachineSpec) -> dict[str, Cost]:
    """The costs of one machine. InputError names an overriding entry that is no known kind of work."""
    costs = default_costs()
    unknown = sorted(set(spec.costs) - set(costs))
    if unknown:
        raise InputError(f"{spec.name}: costs.{unknown[0]} is no kind of work: see the names in hw/costs")
    return {**costs, **spec.costs}


def times_of(spec: MachineSpec) -> str:
    """``host`` when some of the machine's costs were measured on a computer that ran minikern, else ``model``."""
    return "host" if any(cost.source.startswith(MEASURED) for cost in spec.costs.values()) else "model"
