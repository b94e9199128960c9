"""One row of a sweep: a boot of one point of the plan, or why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import msgspec

from hw.errors import BusError, GeneralProtection, InputError, MachineStopped
from hw.units import NS_PER_MS
from minikern.core.kernel import BootOptions
from minikern.core.user_files import is_file_name
from minikern.core.variant import Variant, load_variant
from minikern.lab.bands import boot_bands, deviations, doubts_of
from minikern.lab.believed import EIGHTY_PERCENT
from minikern.lab.own import as_change, is_own
from minikern.lab.run import Boot, boot, choose_release
from minikern.lab.spent import spent_in
from minikern.lab.sweep.draws import drawn
from minikern.lab.sweep.machines import input_digest, ready, varied
from minikern.lab.sweep.plan import AS_IS, METRICS, Point
from minikern.lab.sweep.vary import Value

DOUBTS = 12  # kinds of work that a row names as what its uncertainty comes from


class Row(msgspec.Struct):
    """One finished row. Times are simulated ns; with ``error`` there was no boot and they are null."""

    row: int
    machine: str
    kernel: str
    variant: str
    words: str
    draw: int | None
    vary: dict[str, Value]
    times_ns: dict[str, int | None]  # by metric
    total_low_ns: int | None  # the 80 % band of the total
    total_high_ns: int | None
    counts: dict[str, int]  # pieces of work by kind
    doubt_ns: dict[str, int]  # half-width of the total's band by the kinds it comes from, largest first
    inputs_sha256: str
    versions: str
    error: str = ""


def make_row(point: Point) -> Row:
    """Boot one point of a plan. What cannot be booted is a row with its reason."""
    try:
        return _booted(point)
    except (InputError, MachineStopped, BusError, GeneralProtection, OSError) as error:
        return failed_row(point, str(error))
    except Exception as error:  # one row's loss, not the sweep's
        return failed_row(point, f"internal error, please report it: {type(error).__name__}: {error}")


def make_rows(points: Iterable[Point]) -> list[Row]:
    """Boot some points, one after the other."""
    return [make_row(point) for point in points]


def failed_row(point: Point, why: str) -> Row:
    """The row of a point without a boot."""
    nothing: dict[str, int | None] = dict.fromkeys(METRICS)
    return Row(
        point.row, point.machine, _name(point.kernel), _name(point.variant), point.words, point.draw, dict(point.vary),
        nothing, None, None, {}, {}, "", versions(), why or "no reason given",
    )  # fmt: skip


def _booted(point: Point) -> Row:
    machine = ready(point.machine)
    spec = varied(machine.spec, point.vary)
    if point.draw is not None:
        spec = drawn(spec, machine.digest, point.seed, point.draw)
    variant = None if point.variant == AS_IS else _variant(point.variant, is_own(spec, point.kernel))
    kernel = point.kernel if is_file_name(point.kernel) else choose_release(spec, point.kernel).name
    done = boot(spec, variant, point.kernel, point.words, BootOptions(vmemmap=point.vmemmap))
    band = boot_bands(done).get("total")
    row = Row(
        row=point.row,
        machine=point.machine,
        kernel=_name(kernel),
        variant=variant.name if variant else AS_IS,
        words=point.words,
        draw=point.draw,
        vary=dict(point.vary),
        times_ns=_times(done),
        total_low_ns=round(band.low_ms * NS_PER_MS) if band else None,
        total_high_ns=round(band.high_ms * NS_PER_MS) if band else None,
        counts=_counts(done),
        doubt_ns=_doubts(done),
        inputs_sha256=_inputs(point, machine.digest),
        versions=versions(),
    )
    done.kernel.release_memory()
    return row


@lru_cache(maxsize=256)
def _variant(name: str, own: bool) -> Variant:
    return as_change(load_variant(name)) if own else load_variant(name)


def _name(text: str) -> str:
    return Path(text).stem if is_file_name(text) else text


def _times(done: Boot) -> dict[str, int | None]:
    spent = done.kernel.phase_ns()
    unknown = set(spent) - set(METRICS)
    assert not unknown, f"phases without a column: {unknown}"
    whole = {"total": done.total_ns, "residue": done.kernel.ledger.residue_ns()}
    return {name: whole[name] if name in whole else spent.get(name, 0) for name in METRICS}


def _counts(done: Boot) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in done.kernel.ledger.entries():
        if entry.modelled:
            found[entry.kind] = found.get(entry.kind, 0) + entry.pieces
    return dict(sorted(found.items()))


def _doubts(done: Boot) -> dict[str, int]:
    parts = deviations(spent_in(done.kernel), doubts_of(done.spec))
    found = {kind: EIGHTY_PERCENT * ns for kind, ns in [*parts.work.items(), *parts.rest.items()]}
    largest = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:DOUBTS]
    return {kind: round(ns) for kind, ns in largest if round(ns)}


def _inputs(point: Point, machine_digest: str) -> str:
    # Everything the row depends on: what it was made from, not when or where.
    files = [input_digest(name) if is_file_name(name) else name for name in (point.kernel, point.variant)]
    told = [machine_digest, *files, point.words, point.draw, point.seed, point.vary, versions()]
    return hashlib.sha256(msgspec.json.encode(told)).hexdigest()


@lru_cache(maxsize=1)
def versions() -> str:
    """What a row was made with."""
    return " ".join(f"{name}={metadata.version(name)}" for name in ("minikern", "numpy", "scipy", "simpy"))
