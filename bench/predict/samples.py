"""Fit logs and keep what they give; one JSON file, so that priors can be made over and again."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from bench.predict.logs import captured_logs, machine_logs
from hw.errors import InputError
from minikern.describe.presets import load_machine
from minikern.lab.fit.calibrate import fit_log
from minikern.lab.fit.pool import Sample
from minikern.lab.fit.sample import sample_of

MEASURED = Path(__file__).with_name("measured.toml")


def collect(folders: list[Path] | None = None) -> list[Sample]:
    """One sample a log with stamps."""
    found = []
    logs = machine_logs(folders) | ({} if folders else captured_logs())
    for machine, paths in logs.items():
        for path in paths:
            try:
                found.append(sample_of(fit_log(str(path), load_machine), machine))
                print(f"{path.parent.name}/{path.name}: {machine}, {found[-1].family}", file=sys.stderr, flush=True)
            except InputError as error:
                print(f"{path.name}: left out: {error}", file=sys.stderr)
    return found


class _Published(msgspec.Struct, forbid_unknown_fields=True):
    machine: str
    family: str
    source: str
    costs: dict[str, float]


def published() -> list[Sample]:
    """What others have published of their machines' unit costs."""
    table = msgspec.toml.decode(MEASURED.read_bytes(), type=dict[str, list[_Published]])
    return [Sample(one.machine, one.family, one.costs, []) for one in table["sample"]]


def write(samples: list[Sample], path: Path) -> None:
    """Keep samples."""
    path.write_bytes(msgspec.json.encode(samples))


def read(path: Path) -> list[Sample]:
    """Kept samples, and published ones."""
    return msgspec.json.decode(path.read_bytes(), type=list[Sample]) + published()
