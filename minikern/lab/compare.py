"""The ladder: one machine under several variants, phase by phase, beside published figures."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import msgspec

from hw.errors import InputError
from minikern.core.cost_table import times_of
from minikern.core.kernel import BootOptions
from minikern.core.variant import Variant, load_variant, load_variants
from minikern.describe.case import Case
from minikern.lab.figures_table import Comparison, compare_figures, load_figures
from minikern.lab.run import Boot, boot, choose_release
from minikern.lab.verdict import Payoff, headline, payoffs, prices

PHASES = ("early memory", "smp", "deferred", "acpi", "pci", "hugepages", "rest")
NS_PER_MS = 1_000_000


class ResidueItem(msgspec.Struct):
    """Time without a mechanism, by name."""

    name: str
    ms: float


class LinePoint(msgspec.Struct):
    """One log line as a plot needs it."""

    ms: float
    phase: str
    text: str


class Rung(msgspec.Struct):
    """One boot of the ladder. All times are simulated ms, ``host_ns`` is measured and only there when asked for."""

    variant: str
    title: str
    total_ms: float
    phases: dict[str, float]
    residue_ms: float
    residue_share: float
    residue: list[ResidueItem]
    against: str
    saved_ms: float | None
    command_line: str
    phases_ms: dict[str, float] = {}  # ``phases``, by a key that says the unit
    gives_up: list[str] = []  # what its options exclude, with when that ends


class Ladder(msgspec.Struct):
    """A finished comparison."""

    machine: str
    clock: str
    boundary: str
    rungs: list[Rung]
    talk: list[Comparison]
    times: str = "model"  # host: unit costs of memory and digest work were measured on this computer
    release: str = ""  # of the machine's own kernel
    payoffs: list[Payoff] = []
    verdict: str = ""
    prices: list[str] = []  # what rungs cost because their options exclude others


def choose_variants(spec: Case, names: Sequence[str]) -> list[Variant]:
    """The variants asked for in the order given, or the whole ladder less what this machine cannot boot."""
    if not names:
        return [variant for variant in load_variants().values() if variant.ladder and _possible(spec, variant)]
    chosen: dict[str, Variant] = {}
    for text in dict.fromkeys(names):
        variant = load_variant(text)
        if variant.name in chosen:
            raise InputError(f"{text}: there is a variant {variant.name!r} already: expected another name")
        chosen[variant.name] = variant
    return list(chosen.values())


def _possible(spec: Case, variant: Variant) -> bool:
    return all(spec.needs.get(key) or (key == "pci" and spec.pci.needed) for key in variant.needs.values())


class _Order(NamedTuple):
    """One rung still to be booted."""

    spec: Case
    variant: Variant
    release: str
    append: str
    options: BootOptions


class _Finished(NamedTuple):
    """What a finished boot leaves: its rung (not yet held against another), its lines, its published figures."""

    rung: Rung
    lines: list[LinePoint]
    talk: list[Comparison]


def run_ladder(
    spec: Case,
    variants: Sequence[Variant],
    release: str = "",
    append: str = "",
    options: BootOptions | None = None,
    on_rung: Callable[[str], None] = lambda name: None,
) -> tuple[Ladder, dict[str, list[LinePoint]]]:
    """Boot every variant; ``on_rung`` is told each name when its result is waited for. Returns the ladder and the logs.

    Boots are independent and simulated, so they run side by side where the host can, with the same results.
    """
    orders = [_Order(spec, variant, release, append, options or BootOptions()) for variant in variants]
    finished: list[_Finished] = []
    with contextlib.closing(_boot_all(orders)) as results:
        for order in orders:
            on_rung(order.variant.name)
            finished.append(next(results))
    rungs: list[Rung] = []
    for result in finished:
        rungs.append(_held_against(result.rung, rungs))
    talk = [row for result in finished for row in result.talk]
    if spec.figures:
        order_of = {(row.name, row.variant): index for index, row in enumerate(load_figures(spec.figures).row)}
        talk.sort(key=lambda row: order_of[(row.name, row.variant)])
    logs = {result.rung.variant: result.lines for result in finished}
    boundary = "first log line with a running clock to 'Run /init'"
    own = choose_release(spec, release)
    found = payoffs(rungs, {one.name: one for one in variants}, own, f"{spec.append} {append}")
    ladder = Ladder(
        spec.name, "simulated", boundary, rungs, talk, times_of(spec.costs), own.name, found, headline(found, own.name),
        prices(rungs),
    )
    return ladder, logs


def _boot_all(orders: Sequence[_Order]) -> Generator[_Finished, None, None]:
    # Forked workers start with everything imported. A full memory map is kept by one process only: it fills the memory.
    workers = min(len(orders), os.cpu_count() or 1)
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform == "linux"
    if workers < 2 or not forks or any(order.options.vmemmap == "full" for order in orders):
        yield from map(_boot_one, orders)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))
    try:
        yield from pool.map(_boot_one, orders)
    finally:
        pool.shutdown(cancel_futures=True)


def _boot_one(order: _Order) -> _Finished:
    try:
        done = boot(order.spec, order.variant, order.release, order.append, order.options)
    except Exception as error:
        error.__dict__.pop("kernel", None)  # a whole kernel does not travel between processes
        raise
    lines = [LinePoint(line.ts_ns / NS_PER_MS, line.phase, line.text) for line in done.kernel.log.lines]
    figures = load_figures(order.spec.figures) if order.spec.figures else None
    talk = compare_figures(figures, {order.variant.name: done}) if figures else []
    rung = _rung(done, order.variant)
    done.kernel.release_memory()
    return _Finished(rung, lines, talk)


def _held_against(rung: Rung, earlier: Sequence[Rung]) -> Rung:
    base = next((other for other in earlier if other.variant == rung.against), None)
    if base is None:
        return msgspec.structs.replace(rung, against="")
    return msgspec.structs.replace(rung, saved_ms=round(base.total_ms - rung.total_ms, 3))


def _rung(done: Boot, variant: Variant) -> Rung:
    kernel = done.kernel
    spent = kernel.phase_ns()
    unknown = set(spent) - set(PHASES)
    assert not unknown, f"phases without a column: {unknown}"
    residue_ns = kernel.ledger.residue_ns()
    total_ms = done.total_ns / NS_PER_MS
    rows = [entry for entry in kernel.ledger.entries() if not entry.modelled]
    phases = {name: round(spent.get(name, 0) / NS_PER_MS, 3) for name in PHASES}
    return Rung(
        variant=variant.name,
        title=variant.title,
        total_ms=round(total_ms, 3),
        phases=phases,
        phases_ms=phases,
        residue_ms=round(residue_ns / NS_PER_MS, 3),
        residue_share=round(residue_ns / done.total_ns, 4) if done.total_ns else 0.0,
        residue=[ResidueItem(entry.kind, round(entry.total_ns / NS_PER_MS, 3)) for entry in rows],
        against=variant.against,
        saved_ms=None,
        command_line=kernel.cmdline.text,
        gives_up=[f"{item.what} ({item.wanted} excludes {item.lost} before {item.until})" for item in kernel.conflicts],
    )
