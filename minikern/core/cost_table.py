"""Unit costs: defaults that come with the parts, changed by a machine's own figures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

from hw.errors import InputError
from hw.spelling import check_names
from hw.toml_file import decode_file, decode_toml
from minikern.core.costs import Cost

MEASURED = "measured on this host"  # how the source of such a cost begins


def default_costs() -> dict[str, Cost]:
    """Every kind of work that may be charged, with its default unit cost, from ``hw/costs/*.toml``."""
    return dict(_default_costs())


@lru_cache(maxsize=1)
def _default_costs() -> dict[str, Cost]:
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


def cost_groups() -> dict[str, str]:
    """The part of the machine each kind of work leans on: the name of the file its default stands in."""
    folder = resources.files("hw").joinpath("costs")
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda entry: entry.name)
    return {kind: file.name.removesuffix(".toml") for file in files for kind in tomllib.loads(file.read_text())}


def machine_costs(name: str, own: Mapping[str, Cost]) -> dict[str, Cost]:
    """The costs of machine ``name``: its ``own`` over the defaults. InputError names one that is no kind of work."""
    costs = default_costs()
    check_names(f"{name}: costs", "kind of work", own, costs)
    return {**costs, **own}


def load_costs(path: Path) -> dict[str, Cost]:
    """A user's unit costs: tables of ``ns`` and ``source``. InputError names file and key of what is none."""
    costs = decode_file(path, dict[str, Cost])
    check_names(str(path), "kind of work", costs, default_costs())
    return costs


def times_of(costs: Mapping[str, Cost]) -> str:
    """``host`` when some of the machine's costs were measured on a computer that ran minikern, else ``model``."""
    return "host" if any(cost.source.startswith(MEASURED) for cost in costs.values()) else "model"
