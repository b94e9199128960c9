"""The ladder: one machine under several variants, phase by phase, beside published figures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from hw.errors import BusError, GeneralProtection, InputError, MachineStopped
from hw.units import NS_PER_MS
from minikern.core.cost_table import times_of
from minikern.core.kernel import BootOptions
from minikern.core.ledger import Entry
from minikern.core.variant import Variant, load_variant, load_variants
from minikern.describe.case import Case
from minikern.describe.startup import Startup
from minikern.host.children import forked_map
from minikern.host.nodes import usable_cpus
from minikern.lab.bands import Band, boot_bands, doubts_of, saving_band
from minikern.lab.believed import Doubts
from minikern.lab.figures_table import Comparison, compare_figures, load_figures
from minikern.lab.handover_price import HandoverPrice, handover_price
from minikern.lab.own import AS_LOGGED, Offers, is_own, offers, own_boot
from minikern.lab.page_kernel import PageKernel, Used
from minikern.lab.pci_skipped import skipped_text
from minikern.lab.run import Boot, boot, choose_release
from minikern.lab.spent import TOTAL, Spent, spent_in
from minikern.lab.verdict import Payoff, headline, own_headline, payoffs, prices

PHASES = ("early memory", "smp", "deferred", "acpi", "pci", "hugepages", "rest")
LARGEST = 8  # pieces of unexplained time that are named under the rungs


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
    band: Band | None = None  # of the total; null where no unit cost states an interval
    saved_band: Band | None = None
    failed: str = ""  # why there is no boot
    phases_ms: dict[str, float] = {}  # ``phases``, by a key that says the unit
    loses: str = ""  # PCI functions that it leaves out, by what they are for
    gives_up: list[str] = []  # what its options exclude, with when that ends
    gives_up_for: str = ""  # the variant or release that brings the option
    given_up_ms: float | None = None  # what the same boot would save by having both
    given_up_band: Band | None = None
    page_kernel: Used | None = None  # a user's own kernel: what it did, measured on this computer
    handover: HandoverPrice | None = None  # with Kexec HandOver: who initialises struct pages


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
    there: list[str] = []  # optimisations the boot of a log has already
    startup: Startup | None = None  # the whole start, as systemd measured it
    rest: list[ResidueItem] = []  # of the machine's own boot: the largest pieces that no rung touches


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
    """What a finished boot leaves: its rung (not yet held against another), its lines, its published figures.

    ``spent`` is what its time went into.
    """

    rung: Rung
    lines: list[LinePoint]
    talk: list[Comparison]
    spent: Spent
    both: tuple[float, Spent] | None = None  # ms of the same boot, had it what its options exclude, and where they went
    refused: bool = False  # the machine or its words are wrong, nothing ran


def run_ladder(
    spec: Case,
    variants: Sequence[Variant],
    release: str = "",
    append: str = "",
    options: BootOptions | None = None,
    on_rung: Callable[[str], None] = lambda name: None,
) -> tuple[Ladder, dict[str, list[LinePoint]]]:
    """Boot every variant; ``on_rung`` is told each name when its result is waited for. Returns the ladder and the logs.

    Boots are independent and simulated, so they run side by side where the host can, with the same results. Nobody
    looks at their pages, which are counted and not stored unless ``options`` ask for it.
    """
    how = counted_unless_asked(options or BootOptions())
    orders = [_Order(spec, variant, release, append, how) for variant in variants]
    finished: list[_Finished] = []
    with contextlib.closing(_boot_all(orders)) as results:
        for order in orders:
            on_rung(order.variant.name)
            finished.append(next(results))
    if all(result.rung.failed for result in finished):
        raise (InputError if finished[0].refused else MachineStopped)(finished[0].rung.failed)
    doubts = doubts_of(spec)
    done: dict[str, _Finished] = {}
    for result in finished:
        done[result.rung.variant] = result._replace(rung=_held_against(result, done, doubts))
    rungs = [result.rung for result in done.values()]
    talk = [row for result in finished for row in result.talk]
    if spec.figures:
        order_of = {(row.name, row.variant): index for index, row in enumerate(load_figures(spec.figures).row)}
        talk.sort(key=lambda row: order_of[(row.name, row.variant)])
    logs = {result.rung.variant: result.lines for result in finished}
    boundary = "first log line with a running clock to 'Run /init'"
    own = choose_release(spec, release)
    found = payoffs(rungs, {**load_variants(), **{one.name: one for one in variants}}, own, f"{spec.append} {append}")
    ladder = Ladder(spec.name, "simulated", boundary, rungs, talk, times_of(spec.costs), own.name, found)
    ladder.prices, ladder.startup = prices(rungs), spec.startup
    ladder.verdict = headline(found, own.name)
    if rungs[0].variant == AS_LOGGED:
        ladder.rest = untouched(rungs)
        ladder.verdict = own_headline(rungs[0].total_ms, found, ladder.rest)
    return ladder, logs


def counted_unless_asked(options: BootOptions) -> BootOptions:
    """The options of a boot of which only times are shown: log and ledger of a counted map are those of a stored one.

    A struct-page kernel that was asked for by name or file has pages to write.
    """
    stored = options.vmemmap != "auto" or options.page_kernel is not None or options.kernel
    return options if stored else replace(options, vmemmap="counted")


def ladder_of(
    spec: Case,
    chosen: Sequence[Variant],
    named: bool,
    kernel: str = "",
    append: str = "",
    options: BootOptions | None = None,
    on_rung: Callable[[str], None] = lambda name: None,
) -> tuple[Ladder, dict[str, list[LinePoint]]]:
    """The ladder this machine has: where a boot of it is on record, that boot with one change each.

    ``named`` says that somebody asked for just the variants ``chosen``. Raises what run_ladder() raises.
    """
    if is_own(spec, kernel):
        return run_own_ladder(spec, chosen if named else [], append, options, on_rung)
    return run_ladder(spec, chosen, kernel, append, options, on_rung)


def run_own_ladder(
    spec: Case,
    asked: Sequence[Variant],
    append: str = "",
    options: BootOptions | None = None,
    on_rung: Callable[[str], None] = lambda name: None,
) -> tuple[Ladder, dict[str, list[LinePoint]]]:
    """The boot of a log, and the same with each optimisation it has not. Raises what boot() raises if none boots."""
    offered = own_offers(spec, asked, append)
    ladder, logs = run_ladder(spec, [own_boot(), *offered.to_boot], "", append, options, on_rung)
    ladder.there = offered.there
    return ladder, logs


def own_offers(spec: Case, asked: Sequence[Variant], append: str) -> Offers:
    """What can be tried on the boot of a log: the variants asked for, or each optimisation it has not."""
    known = {**load_variants(), **{variant.name: variant for variant in asked}}
    possible = {name: variant for name, variant in known.items() if _possible(spec, variant)}
    return offers(possible, [variant.name for variant in asked], choose_release(spec), f"{spec.append} {append}")


def untouched(rungs: Sequence[Rung]) -> list[ResidueItem]:
    """The largest pieces of the first rung's unexplained time that every other rung has too."""
    booted = [{item.name: item.ms for item in rung.residue} for rung in rungs if not rung.failed]
    kept = {name: min(pieces.get(name, 0.0) for pieces in booted) for name in booted[0]}
    largest = sorted(kept.items(), key=lambda piece: -piece[1])[:LARGEST]
    return [ResidueItem(name, ms) for name, ms in largest if ms > 0]


def _boot_all(orders: Sequence[_Order]) -> Generator[_Finished, None, None]:
    # Forked, and not on Dask as a sweep's rows are: that need not be installed, and to import it and start two workers
    # takes as long as the ladder, while a forked one has everything imported and the machine read; it ends with this
    # process. A full memory map is kept by one process only: it fills the memory; and a user's kernel is watched in
    # one. Huge pages are most of the work that differs between rungs.
    alone = any(order.options.vmemmap == "full" or order.options.page_kernel for order in orders)
    workers = 1 if alone else len(usable_cpus())
    yield from forked_map(_boot_one, orders, workers, long=lambda order: "hugepages=" in order.variant.append)


def _boot_one(order: _Order) -> _Finished:
    try:
        done = boot(order.spec, order.variant, order.release, order.append, order.options)
    except (InputError, MachineStopped, BusError, GeneralProtection) as error:
        return _Finished(_no_rung(order.variant, str(error)), [], [], Spent(), None, isinstance(error, InputError))
    lines = [LinePoint(line.ts_ns / NS_PER_MS, line.phase, line.text) for line in done.kernel.log.lines]
    # What excludes something the variant asks for is not the boot that the figures were published of.
    figures = load_figures(order.spec.figures) if order.spec.figures and not done.kernel.conflicts else None
    talk = compare_figures(figures, {order.variant.name: done}) if figures else []
    rung = _rung(done, order.variant)
    rung.band = boot_bands(done).get(TOTAL)
    if isinstance(order.options.page_kernel, PageKernel):
        rung.page_kernel = order.options.page_kernel.taken()
        order.options.page_kernel.verify(done.kernel)
    spent = spent_in(done.kernel)
    lifted = {key: value for conflict in done.kernel.conflicts for key, value in conflict.lifted.items()}
    done.kernel.release_memory()
    return _Finished(rung, lines, talk, spent, _with_both(order, lifted) if lifted else None)


def _with_both(order: _Order, lifted: Mapping[str, Any]) -> tuple[float, Spent]:
    variant = msgspec.structs.replace(order.variant, behaviour={**order.variant.behaviour, **lifted})
    done = boot(order.spec, variant, order.release, order.append, order.options)
    found = done.total_ns / NS_PER_MS, spent_in(done.kernel)
    done.kernel.release_memory()
    return found


def _by_name(entries: Sequence[Entry]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for entry in entries:
        sums[entry.kind] = sums.get(entry.kind, 0) + entry.total_ns
    return sums


def _no_rung(variant: Variant, why: str) -> Rung:
    phases = dict.fromkeys(PHASES, 0.0)
    return Rung(variant.name, variant.title, 0.0, phases, 0.0, 0.0, [], "", None, "", failed=why)


def _held_against(result: _Finished, earlier: Mapping[str, _Finished], doubts: Doubts) -> Rung:
    rung = result.rung
    if result.both is not None:
        both_ms, spent = result.both
        rung.given_up_ms = round(result.rung.total_ms - both_ms, 3)
        rung.given_up_band = saving_band(rung.given_up_ms * NS_PER_MS, result.spent, spent, doubts)
    before = list(earlier.values())
    base = earlier.get(rung.against) or (before[-1] if before else None)  # what it is held against was not asked for
    if base is None or base.rung.failed:
        return msgspec.structs.replace(rung, against="")
    saved = round(base.rung.total_ms - rung.total_ms, 3)
    sure = saving_band(saved * NS_PER_MS, base.spent, result.spent, doubts)
    return msgspec.structs.replace(rung, against=base.rung.variant, saved_ms=saved, saved_band=sure)


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
        residue=[ResidueItem(name, round(ns / NS_PER_MS, 3)) for name, ns in _by_name(rows).items()],
        against=variant.against,
        saved_ms=None,
        command_line=kernel.cmdline.text,
        loses=skipped_text(done),
        gives_up=[f"{item.what} ({item.wanted} excludes {item.lost} before {item.until})" for item in kernel.conflicts],
        gives_up_for=_brought_by(done, variant),
        handover=handover_price(kernel, done.spec),
    )


def _brought_by(done: Boot, variant: Variant) -> str:
    for conflict in done.kernel.conflicts:
        if not variant.config.get(conflict.wanted):
            return f"{conflict.subject} on {done.kernel.release.name}"
    return variant.name
