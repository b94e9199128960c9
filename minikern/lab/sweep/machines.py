"""The machines of a sweep: read once in each worker, fitted to their logs' stamps, told apart by digest."""

from __future__ import annotations

import copy
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hw.files import open_input
from minikern.core.costs import Cost
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.fit.timed import timed
from minikern.lab.sweep.vary import COST_PREFIX, Value

KEPT = 64  # machines that a worker keeps ready
CHUNK = 1 << 20


class Ready(NamedTuple):
    """A machine with its own times, and the digest of what it was made from."""

    spec: Case
    digest: str


@lru_cache(maxsize=KEPT)
def ready(name: str) -> Ready:
    """The machine a plan names, fitted to its log's stamps if it has some. InputError: it cannot be read."""
    return Ready(timed(load_machine(name), name).spec, input_digest(name))


def input_digest(name: str) -> str:
    """SHA-256 of a file's, or a folder's files', names and bytes; of the name itself where it is a preset."""
    digest = hashlib.sha256()
    path = Path(name)
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path] * path.is_file()
    digest.update(b"" if files else name.encode())
    for one in files:
        digest.update(os.fsencode(one.relative_to(path)) if one != path else b"")
        with open_input(one) as stream:
            while block := stream.read(CHUNK):
                digest.update(block)
    return digest.hexdigest()


def varied(spec: Case, values: tuple[tuple[str, Value], ...]) -> Case:
    """A copy of the machine with a plan's parameters set. InputError: it cannot have them."""
    spec = copy.deepcopy(spec)
    wanted = dict(values)
    memory, cpus = (str(wanted.get(name, "")) for name in ("memory", "cpus"))
    adjust(spec, Adjustments(cpus, memory, nodes=int(wanted.get("nodes", 0))))
    for name, value in wanted.items():
        if name.startswith(COST_PREFIX):
            kind = name.removeprefix(COST_PREFIX)
            spec.costs = {**spec.costs, kind: Cost(ns=float(value), source="the sweep's plan")}
    return spec
