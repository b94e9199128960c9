"""``minikern explore``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hw.numbers import is_count
from minikern.commands.common import EXIT_FAILED, Progress, reported

if TYPE_CHECKING:
    from hw.spec import CpuSpec
    from minikern.lab.explore import Exploration, Finding


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


@click.group()
def explore() -> None:
    """Try many legal orders of things that run at once.

    \b
    Example:
      minikern explore smp --cpus 4 --seeds 1000
    """


@explore.command("smp")
@click.option("--cpus", default="4", metavar="N[,sockets=S,cores=C,threads=T]", help="CPUs, two threads a core.")
@click.option("--seeds", default=1000, type=click.IntRange(1, 1_000_000), show_default=True, help="Timings to try.")
@click.option("--first-seed", default=0, type=click.IntRange(0), show_default=True, help="Seed of the first one.")
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
    with Progress("seed", seeds) as step:
        result = explore_smp(spec, seeds, first_seed, append, kernel, experiment, step)
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(result))
    else:
        _print(result)
    if result.findings:
        sys.exit(EXIT_FAILED)


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
