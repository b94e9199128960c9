"""``minikern explore``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from hw.numbers import is_count
from minikern.commands.common import EXIT_FAILED, Progress, reported
from minikern.commands.numbers import SEED, Count
from minikern.host.collector import many_small

if TYPE_CHECKING:
    from hw.spec import CpuSpec
    from minikern.lab.explore import Exploration, Finding
    from minikern.lab.explore_acpi import AcpiExploration

Told = TypeVar("Told")
MEANINGS = {
    "INIT": "is told to reset and wait",
    "SIPI": "is told to start",
    "started": "runs its first instruction",
    "stack_taken": "enters real mode's one stack",
    "stack_left": "is in long mode, off that stack",
    "microcode": "has loaded its core's update",
    "ALIVE": "gives its first sign of life",
    "SHOULD_ONLINE": "is told to go on",
    "AP_ONLINE_IDLE": "is online, in its idle loop",
    "ONLINE": "has run all its hotplug states",
    "OFFLINE": "is given up or taken down",
    "taken": "finds its number in use, and spins",
}
MOST_TERMS = 12  # of a turn that are shown


@click.group()
def explore() -> None:
    """Try many legal orders of things that run at once.

    \b
    Example:
      minikern explore smp --cpus 4 --seeds 1000
    """


@explore.command("smp")
@click.option("--cpus", default="4", metavar="N[,sockets=S,cores=C,threads=T]", help="CPUs, two threads a core.")
@click.option("--seeds", default=1000, type=Count(1, 1_000_000), show_default=True, help="Timings to try.")
@click.option("--first-seed", default=0, type=SEED, show_default=True, help="Seed of the first one.")
@click.option("--append", "-a", default="", metavar="WORDS", help="Words for the kernel command line.")
@click.option("--kernel", default="debian-6.12", metavar="RELEASE", show_default=True, help="Kernel release.")
@click.option("--without-lock", is_flag=True, help="Plant a bug: take the lock of the trampoline's stack away.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@reported
def explore_smp_command(
    cpus: str, seeds: int, first_seed: int, append: str, kernel: str, without_lock: bool, as_json: bool
) -> None:
    """Bring CPUs up under many timings and check every one.

    Rules: each present CPU comes online exactly once, one CPU at a time is on the trampoline's stack, no sibling is
    woken before its core's microcode is loaded, no hand-shake is lost, all end in the same state. Exit status 1 when
    one is broken; the shortest way there is shown.

    \b
    Example:
      minikern explore smp --cpus 8 --seeds 200 --without-lock
    """
    from minikern.core.experiment import Experiment
    from minikern.lab.explore import explore_smp

    spec = _cpu_spec(cpus)
    experiment = Experiment(trampoline_lock=not without_lock)
    with Progress("seed", seeds) as step, many_small():
        result = explore_smp(spec, seeds, first_seed, append, kernel, experiment, step)
    _conclude(result, as_json, _print, bool(result.findings))


def _conclude(result: Told, as_json: bool, show: Callable[[Told], None], failed: bool) -> None:
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(result))
    else:
        show(result)
    if failed:
        sys.exit(EXIT_FAILED)


@explore.command("acpi")
@click.argument("sources", nargs=-1, metavar="[MACHINE|FOLDER|acpidump.txt|*.dat]...")
@click.option("--cpus", default=2, type=Count(2, 4), show_default=True, help="Processors asked at once.")
@click.option("--seeds", default=200, type=Count(1, 1_000_000), show_default=True, help="Orders to try.")
@click.option("--first-seed", default=0, type=SEED, show_default=True, help="Seed of the first one.")
@click.option("--with-lock", is_flag=True, help="Respect ACPICA's interpreter lock.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@reported
def explore_acpi_command(
    sources: tuple[str, ...], cpus: int, seeds: int, first_seed: int, with_lock: bool, as_json: bool
) -> None:
    """Ask several processors at once what a boot asks each, term by term in many orders.

    Without the interpreter lock another processor may go on after any term; with it only where ACPICA lets it go.
    Every order has to end as some serial order does: values of all objects, and no error that none of those has. Exit
    status 1 when one does not; the shortest way there is shown. Without SOURCES: firmware made up for it, whose methods
    load a table once and are not declared serialised.

    \b
    Example:
      minikern explore acpi acpidump.txt --seeds 500
    """
    from minikern.lab.explore_acpi import explore_acpi

    with Progress("seed", seeds) as step, many_small():
        result = explore_acpi(list(sources), cpus, seeds, first_seed, with_lock, step)
    _conclude(result, as_json, _print_acpi, bool(result.races))


def _print_acpi(result: AcpiExploration) -> None:
    lock = "the interpreter lock respected" if result.locked else "no interpreter lock"
    click.echo(f"{', '.join(result.processors)} at once, {lock}:")
    click.echo(f"{result.seeds} draws, {result.orders} different orders, {result.outcomes} different ends")
    if result.shortest is None:
        click.echo("every order ended as one after the other does")
        return
    race = result.shortest
    click.echo(f"{len(result.races)} of {result.seeds} ended as no serial order does; the one with fewest turns:")
    click.echo(f"  seed {race.seed}, {race.switches} turns")
    for steps in race.turns():
        terms = [step.term for step in steps]
        shown = terms if len(terms) <= MOST_TERMS else [*terms[:3], "...", *terms[-4:]]
        click.echo(f"  {result.processors[steps[0].who]:<12} {steps[-1].method:<16} {' '.join(shown)}")
    click.echo(f"  {race.text}")


def _cpu_spec(text: str) -> CpuSpec:
    from minikern.describe.adjust import Adjustments, adjust
    from minikern.describe.presets import load_preset

    if is_count(text) and int(text) % 2 == 0:
        text += ",threads=2"
    machine = load_preset("tiny")
    adjust(machine, Adjustments(cpus=text))
    return machine.cpus


def _print(result: Exploration) -> None:
    click.echo(
        f"{result.cpus} CPUs, {result.seeds} timings, {result.orders} different orders,"
        f" {result.fastest_ns / 1e6:.1f} to {result.slowest_ns / 1e6:.1f} simulated ms"
    )
    if result.shortest is None:
        click.echo("every order kept every rule and ended in the same state")
        return
    click.echo(f"{len(result.findings)} of {result.seeds} timings broke a rule; the shortest way to one:")
    _print_trace(result.shortest)


def _print_trace(finding: Finding) -> None:
    click.echo(f"  seed {finding.seed}, {finding.cpus} CPUs: {finding.violation.rule}")
    start = finding.trace[0].at_ns if finding.trace else 0
    for mark in finding.trace:
        meaning = MEANINGS.get(mark.name, "")
        click.echo(f"  {(mark.at_ns - start) / 1e3:12.3f} us  CPU {mark.cpu:<4d} {mark.name:<15}{meaning}".rstrip())
    click.echo(f"  {finding.violation.text}")
