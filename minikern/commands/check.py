"""``minikern check``."""

from __future__ import annotations

import sys
from typing import Any

import click

from minikern.commands.common import EXIT_FAILED, reported


@click.command()
@click.argument("algorithm", metavar="FILE.py|NAME")
@click.option("--machine", default="", metavar="MACHINE", help="Also try it on the memory of this machine.")
@click.option(
    "--examples", type=click.IntRange(0, 1_000_000), default=150, show_default=True, help="Machines to make up."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@reported
def check(algorithm: str, machine: str, examples: int, as_json: bool) -> None:
    """Check your own struct-page algorithm against a reference, page by page, then time it.

    FILE.py has functions under @minikern.algorithm("HOOK"), compiled by numba or plain Python; NAME is an installed
    entry point of the group minikern.algorithms. The exit status is 1 if a function is wrong.

    \b
    Hook points and their arguments:
      memmap_init_range    words, flags, lru
      deferred_init_range  words, flags, lru, pfn, order, buddy_type
      free_range           words, reserved
      reserve_range        words, reserved
      prep_compound_tails  words, flags, lru, head
      padata_split         start, size, align, min_chunk, max_threads
    """
    from minikern.lab.algorithms import load_algorithms
    from minikern.lab.check import check_algorithm

    found = load_algorithms(algorithm)
    machines = [_machine_case(machine)] if machine else []
    verdicts = [check_algorithm(item, machines, examples) for item in found]
    if as_json:
        _print_json(verdicts)
    else:
        for verdict in verdicts:
            _print(verdict)
    if any(verdict.wrong for verdict in verdicts):
        sys.exit(EXIT_FAILED)


def _machine_case(name: str) -> Any:
    from hw.presets import load_machine
    from minikern.kernel import BootOptions
    from minikern.lab.cases import case_of_kernel
    from minikern.lab.run import boot

    return case_of_kernel(name, boot(load_machine(name), options=BootOptions(vmemmap="window")).kernel)


def _print(verdict: Any) -> None:
    found, wrong = verdict.found, verdict.wrong
    click.echo(f"{found.name} ({found.hook.name}): {'wrong' if wrong else 'right'}")
    if wrong:
        click.echo(f"  {wrong}")
        click.echo(f"  smallest failing machine: {wrong.case.describe()}")
        click.echo(f"  what to do: {found.hook.task}")
    else:
        tried = f"{verdict.hand_picked} hand-picked and {verdict.made_up} made-up machines"
        click.echo(f"  {verdict.pages} pages compared on {tried}")
    if verdict.left_out:
        click.echo(f"  {verdict.left_out} machines were too large for a function that is not compiled")
    if verdict.note:
        click.echo(f"  {verdict.note}")
    _print_timings(verdict)


def _print_timings(verdict: Any) -> None:
    if not verdict.timings:
        return
    own = verdict.timings[0]
    unit = "calls/s" if verdict.found.hook.name == "padata_split" else "Mpages/s"
    scale = 1.0 if unit == "calls/s" else 1e6
    width = max(len(timing.name) for timing in verdict.timings)
    click.echo(f"  measured on this computer, one thread, best of {len(own.samples)}:")
    for timing in verdict.timings:
        ratio = "" if timing is own else f"   {own.name} runs at {own.rate / timing.rate:.3g} of it"
        click.echo(f"    {timing.name:<{width}}  {timing.rate / scale:10.2f} {unit}{ratio}")


def _print_json(verdicts: list[Any]) -> None:
    import msgspec

    body = []
    for verdict in verdicts:
        entry: dict[str, Any] = {"name": verdict.found.name, "hook": verdict.found.hook.name}
        entry |= {"right": verdict.wrong is None, "pages": verdict.pages, "hand_picked": verdict.hand_picked}
        entry |= {"made_up": verdict.made_up, "left_out": verdict.left_out, "note": verdict.note or None}
        if verdict.wrong:
            wrong = verdict.wrong
            entry["wrong"] = {
                "pfn": wrong.pfn,
                "field": wrong.field,
                "expected": wrong.expected,
                "found": wrong.found,
                "machine": wrong.case.describe(),
            }
        entry["timings"] = [{"name": t.name, "per_s": t.rate, "samples": t.samples} for t in verdict.timings]
        body.append(entry)
    click.echo(msgspec.json.format(msgspec.json.encode({"clock": "measured", "results": body}), indent=2).decode())
