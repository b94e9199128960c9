"""``minikern check``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from minikern.commands.common import EXIT_FAILED, reported


@click.command()
@click.argument("algorithm", metavar="FILE.py|NAME")
@click.option("--machine", default="", metavar="MACHINE", help="Also try it on the memory of this machine.")
@click.option(
    "--examples", type=click.IntRange(0, 1_000_000), default=150, show_default=True, help="Machines to make up."
)
@click.option(
    "--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds one call may take."
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@reported
def check(algorithm: str, machine: str, examples: int, timeout: float, as_json: bool) -> None:
    """Check your own struct-page algorithm against a reference, page by page, then time it.

    FILE.py has functions under @minikern.algorithm("HOOK"), compiled by numba or plain Python; NAME is an installed
    entry point of the group minikern.algorithms. The exit status is 1 if a function is wrong, crashes or never returns.

    \b
    Hook points and their arguments:
      memmap_init_range    words, flags, lru
      deferred_init_range  words, flags, lru, pfn, order, buddy_type
      free_range           words, reserved
      reserve_range        words, reserved
      prep_compound_tails  words, flags, lru, head
      padata_split         start, size, align, min_chunk, max_threads

    \b
    Example:
      minikern check my_algorithm.py --machine laptop
    """
    from minikern.lab.supervise import supervise

    done = supervise(lambda steps: _check(steps, algorithm, machine, examples, as_json), timeout)
    if done.failure:
        _print_failure(algorithm, done, as_json)
        sys.exit(EXIT_FAILED)
    text, right = done.value
    click.echo(text, nl=False)
    if not right:
        sys.exit(EXIT_FAILED)


def _check(steps: Any, algorithm: str, machine: str, examples: int, as_json: bool) -> tuple[str, bool]:
    # Functions of others run in here, in a process of its own.
    from minikern.lab.algorithms import load_algorithms
    from minikern.lab.check import check_algorithm

    steps.begin(f"loading {algorithm}")
    found = load_algorithms(algorithm)
    steps.end()
    machines = [_machine_case(machine)] if machine else []
    verdicts = [check_algorithm(item, machines, examples, steps) for item in found]
    lines = [_json(verdicts)] if as_json else [line for verdict in verdicts for line in _lines(verdict)]
    return "".join(f"{line}\n" for line in lines), not any(verdict.wrong for verdict in verdicts)


def _print_failure(algorithm: str, done: Any, as_json: bool) -> None:
    if as_json:
        import msgspec

        entry = {"name": algorithm, "right": False, "failure": done.failure, "step": done.step}
        click.echo(msgspec.json.format(msgspec.json.encode({"clock": "measured", "results": [entry]})).decode())
    else:
        click.echo(f"{algorithm}: wrong")
        click.echo(f"  {done.step}: {done.failure}")


def _machine_case(name: str) -> Any:
    from minikern.core.kernel import BootOptions
    from minikern.describe.presets import load_machine
    from minikern.lab.cases import case_of_kernel
    from minikern.lab.run import boot

    return case_of_kernel(name, boot(load_machine(name), options=BootOptions(vmemmap="window")).kernel)


def _lines(verdict: Any) -> Iterator[str]:
    found, wrong = verdict.found, verdict.wrong
    yield f"{found.name} ({found.hook.name}): {'wrong' if wrong else 'right'}"
    if wrong:
        yield f"  {wrong}"
        yield from (f"    {line}" for line in wrong.picture)
        yield f"  smallest failing {_kind(found).noun}: {wrong.case.describe()}"
        yield f"  what to do: {found.hook.task}"
    else:
        kind = _kind(found)
        tried = f"{verdict.hand_picked} hand-picked and {verdict.made_up} made-up {kind.noun}s"
        yield f"  {verdict.compared} {kind.counted} compared on {tried}"
    if verdict.left_out:
        yield f"  {verdict.left_out} {_kind(found).noun}s were too large for a function that is not compiled"
    if verdict.note:
        yield f"  {verdict.note}"
    yield from _timing_lines(verdict)


def _kind(found: Any) -> Any:
    from minikern.lab.kinds.registry import BY_HOOK

    return BY_HOOK[found.hook.name]


def _timing_lines(verdict: Any) -> Iterator[str]:
    clocked = verdict.clocked
    if clocked is None:
        return
    rounds = len(clocked.timings[0].samples)
    memory = f", {clocked.memory}" if clocked.memory else ""
    yield f"  measured on this computer: {clocked.about}{memory}"
    yield f"  best of {rounds} rounds taken in turn, compilation apart; spread is how much slower the median round was"
    if verdict.found.compiled:
        yield f"  the first call, with compilation, took {verdict.first_call_s:.2f} s"
    scale, unit = (1.0, "calls/s") if clocked.unit == "calls" else (1e6, f"M{clocked.unit}/s")
    width = max(len(timing.name) for timing in clocked.timings)
    for threads in dict.fromkeys(timing.threads for timing in clocked.timings):
        yield f"    {threads} thread{'s' if threads > 1 else ''}"
        own, *_ = timings = clocked.of(threads)
        for timing in timings:
            roof = "" if timing.of_roofline is None else f"  {timing.of_roofline:4.0%} of roofline"
            ratio = "" if timing is own else f"  {own.name} runs at {own.rate / timing.rate:.3g} of it"
            rate = f"{timing.rate / scale:10.2f} {unit}"
            yield f"    {timing.name:<{width}}  {rate}  spread {timing.spread:4.0%}{roof}{ratio}"
    if clocked.note:
        yield f"  {clocked.note}"


def _json(verdicts: list[Any]) -> str:
    from minikern.report.json_text import json_text

    body = []
    for verdict in verdicts:
        kind = _kind(verdict.found)
        entry: dict[str, Any] = {"name": verdict.found.name, "hook": kind.hook.name}
        entry |= {"right": verdict.wrong is None, kind.counted: verdict.compared}
        entry |= {"hand_picked": verdict.hand_picked, "made_up": verdict.made_up, "left_out": verdict.left_out}
        entry["note"] = verdict.note or None
        if verdict.wrong:
            wrong = verdict.wrong
            entry["wrong"] = {
                **({wrong.unit: wrong.at} if wrong.unit else {}),
                "field": wrong.field,
                "expected": wrong.expected,
                "found": wrong.found,
                kind.noun: wrong.case.describe(),
                "picture": wrong.picture,
            }
        entry["first_call_s"] = verdict.first_call_s
        clocked = verdict.clocked
        entry["timed_on"] = f"{clocked.about}{clocked.memory and ', '}{clocked.memory}" if clocked else None
        entry["timings"] = [_timing_json(timing, clocked) for timing in clocked.timings] if clocked else []
        body.append(entry)
    return json_text({"clock": "measured", "results": body})


def _timing_json(timing: Any, clocked: Any) -> dict[str, Any]:
    entry = {"name": timing.name, "threads": timing.threads, f"{clocked.unit}_per_s": timing.rate}
    entry |= {"per_s": timing.rate, "spread": timing.spread, "of_roofline": timing.of_roofline}
    return entry | {f"{clocked.unit}_a_sample": timing.amount, "samples": timing.samples, "samples_s": timing.samples}
