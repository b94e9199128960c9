"""What came out of checking algorithms: as text, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from minikern.lab.check import Verdict
from minikern.lab.check_time import Clocked, Timing
from minikern.lab.kinds.kind import Wrong
from minikern.lab.kinds.registry import BY_HOOK
from minikern.report.json_text import json_text

WIDTH = 110


def check_text(verdicts: Sequence[Verdict]) -> str:
    """Everything, a function after the other."""
    return "".join(f"{line}\n" for verdict in verdicts for line in _lines(verdict))


def _lines(verdict: Verdict) -> Iterator[str]:
    found, wrong, kind = verdict.found, verdict.wrong, BY_HOOK[verdict.found.hook.name]
    yield f"{found.name} ({found.hook.name}): {'wrong' if wrong else 'right'}"
    if wrong:
        yield f"  {wrong}"
        yield from (f"    {line}" for line in wrong.picture)
        yield f"  smallest failing {kind.noun}: {wrong.case.describe()}"
        yield from textwrap.wrap(f"what to do: {found.hook.task}", WIDTH, initial_indent="  ", subsequent_indent="    ")
    else:
        tried = f"{verdict.hand_picked} hand-picked and {verdict.made_up} made-up {kind.noun}s"
        yield f"  {verdict.compared} {kind.counted} compared on {tried}"
    if verdict.left_out:
        yield f"  {verdict.left_out} {kind.noun}s were too large for a function that is not compiled"
    if verdict.note:
        yield f"  {verdict.note}"
    if kind.merit and verdict.merits:
        yield f"  {kind.merit.about}: " + ", ".join(f"{name} {count}" for name, count in verdict.merits.items())
    if verdict.clocked is not None:
        yield from _timing_lines(verdict, verdict.clocked)


def _timing_lines(verdict: Verdict, clocked: Clocked) -> Iterator[str]:
    memory = f", {clocked.memory}" if clocked.memory else ""
    rounds = len(clocked.timings[0].samples)
    yield f"  measured on this computer: {clocked.about}{memory}"
    yield f"  best of {rounds} rounds taken in turn, compilation apart; spread is how much slower the median round was"
    if verdict.found.compiled:
        yield f"  the first call, with compilation, took {verdict.first_call_s:.2f} s"
    for threads in dict.fromkeys(timing.threads for timing in clocked.timings):
        yield f"    {threads} thread{'s' if threads > 1 else ''}"
        timings = clocked.of(threads)
        yield from (f"    {line}" for line in _table(timings, clocked.unit))
    if clocked.note:
        yield f"  {clocked.note}"
    if clocked.busy:
        yield "  rounds differ by half and more: this computer had other work; measure again when it has none"


def _table(timings: Sequence[Timing], counted: str) -> Iterator[str]:
    own = timings[0]
    scale, unit = (1.0, "calls/s") if counted == "calls" else (1e6, f"M{counted}/s")
    width = max(len(timing.name) for timing in timings)
    for timing in timings:
        roof = "" if timing.of_roofline is None else f"  {timing.of_roofline:4.0%} of roofline"
        ratio = "" if timing is own else f"  {own.name} is {own.rate / timing.rate:.3g} times as fast"
        rate = f"{timing.rate / scale:10.2f} {unit}"
        yield f"{timing.name:<{width}}  {rate}  spread {timing.spread:4.0%}{roof}{ratio}"


def check_json(verdicts: Sequence[Verdict]) -> str:
    """Everything, with every sample."""
    return json_text({"clock": "measured", "results": [_entry(verdict) for verdict in verdicts]}) + "\n"


def _entry(verdict: Verdict) -> dict[str, Any]:
    kind, clocked = BY_HOOK[verdict.found.hook.name], verdict.clocked
    entry: dict[str, Any] = {"name": verdict.found.name, "kind": kind.name, "hook": kind.hook.name}
    entry |= {"right": verdict.wrong is None, kind.counted.replace(" ", "_"): verdict.compared}
    entry |= {"hand_picked": verdict.hand_picked, "made_up": verdict.made_up, "left_out": verdict.left_out}
    entry["note"] = verdict.note or None
    if verdict.wrong:
        entry["wrong"] = _wrong_entry(verdict.wrong, kind.noun)
    entry["merit"] = {"about": kind.merit.about, "counts": verdict.merits} if kind.merit and verdict.merits else None
    entry["first_call_s"] = verdict.first_call_s
    entry["timed_on"] = f"{clocked.about}{clocked.memory and ', '}{clocked.memory}" if clocked else None
    entry["busy"] = clocked.busy if clocked else None
    entry["timings"] = [_timing_entry(timing, clocked.unit) for timing in clocked.timings] if clocked else []
    return entry


def _wrong_entry(wrong: Wrong, noun: str) -> dict[str, Any]:
    place = {wrong.unit: wrong.at} if wrong.unit else {}
    said = {"field": wrong.field, "expected": wrong.expected, "found": wrong.found}
    return {**place, **said, noun: wrong.case.describe(), "picture": wrong.picture}


def _timing_entry(timing: Timing, unit: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": timing.name, "threads": timing.threads, f"{unit}_per_s": timing.rate}
    entry |= {"per_s": timing.rate, "spread": timing.spread, "of_roofline": timing.of_roofline}
    return entry | {f"{unit}_a_sample": timing.amount, "samples": timing.samples, "samples_s": timing.samples}


def failure_text(name: str, step: str, failure: str, as_json: bool) -> str:
    """What is said of a function that crashed or never ended, and took its process with it."""
    if as_json:
        entry = {"name": name, "right": False, "failure": failure, "step": step}
        return json_text({"clock": "measured", "results": [entry]}) + "\n"
    return f"{name}: wrong\n  {step}: {failure}\n"
