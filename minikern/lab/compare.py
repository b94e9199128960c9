"""The ladder: one machine under several variants, phase by phase, beside published figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from hw.errors import InputError
from hw.spec import MachineSpec
from minikern.config import Variant, load_variants
from minikern.kernel import BootOptions
from minikern.lab.figures_table import Comparison, compare_figures, load_figures
from minikern.lab.run import Boot, boot

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


class Ladder(msgspec.Struct):
    """A finished comparison."""

    machine: str
    clock: str
    boundary: str
    rungs: list[Rung]
    talk: list[Comparison]


def choose_variants(spec: MachineSpec, names: Sequence[str]) -> list[Variant]:
    """The variants asked for in the order given, or the whole ladder less what this machine cannot boot."""
    known = load_variants()
    for name in names:
        if name not in known:
            raise InputError(f"unknown variant {name!r}: expected one of {', '.join(known)}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    return [variant for variant in known.values() if variant.ladder and _possible(spec, variant)]


def _possible(spec: MachineSpec, variant: Variant) -> bool:
    return all(spec.needs.get(key) or (key == "pci" and spec.pci.needed) for key in variant.needs.values())


def run_ladder(
    spec: MachineSpec,
    variants: Sequence[Variant],
    release: str = "",
    append: str = "",
    options: BootOptions | None = None,
    on_rung: Callable[[str], None] = lambda name: None,
) -> tuple[Ladder, dict[str, list[LinePoint]]]:
    """Boot every variant in turn; ``on_rung`` is told each name before its boot. Returns the ladder and the logs.

    Only one booted kernel is alive at a time; a finished one leaves its figures and log lines.
    """
    figures = load_figures(spec.figures) if spec.figures else None
    rungs: list[Rung] = []
    talk: list[Comparison] = []
    logs: dict[str, list[LinePoint]] = {}
    for variant in variants:
        on_rung(variant.name)
        done = boot(spec, variant, release, append, options)
        rungs.append(_rung(done, variant, rungs))
        lines = done.kernel.log.lines
        logs[variant.name] = [LinePoint(line.ts_ns / NS_PER_MS, line.phase, line.text) for line in lines]
        if figures is not None:
            talk += compare_figures(figures, {variant.name: done})
        done.kernel.release_memory()
    if figures is not None:
        order = {(row.name, row.variant): index for index, row in enumerate(figures.row)}
        talk.sort(key=lambda row: order[(row.name, row.variant)])
    return Ladder(spec.name, "simulated", "first log line with a running clock to 'Run /init'", rungs, talk), logs


def _rung(done: Boot, variant: Variant, earlier: Sequence[Rung]) -> Rung:
    kernel = done.kernel
    spent = kernel.phase_ns()
    unknown = set(spent) - set(PHASES)
    assert not unknown, f"phases without a column: {unknown}"
    residue_ns = kernel.ledger.residue_ns()
    base = next((rung for rung in earlier if rung.variant == variant.against), None)
    total_ms = done.total_ns / NS_PER_MS
    rows = [entry for entry in kernel.ledger.entries() if not entry.modelled]
    return Rung(
        variant=variant.name,
        title=variant.title,
        total_ms=round(total_ms, 3),
        phases={name: round(spent.get(name, 0) / NS_PER_MS, 3) for name in PHASES},
        residue_ms=round(residue_ns / NS_PER_MS, 3),
        residue_share=round(residue_ns / done.total_ns, 4) if done.total_ns else 0.0,
        residue=[ResidueItem(entry.kind, round(entry.total_ns / NS_PER_MS, 3)) for entry in rows],
        against=base.variant if base else "",
        saved_ms=round(base.total_ms - total_ms, 3) if base else None,
        command_line=kernel.cmdline.text,
    )
