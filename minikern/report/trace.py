"""One recorded boot as Chrome trace events, for Perfetto and speedscope: process = machine, thread = CPU.

Source: "Trace Event Format", the events B and E (begin and end of a slice), i (instant), s and f (flow), M (metadata).
Times are simulated microseconds since power-on, exact to the nanosecond. Slices have no X events (start and duration):
viewers add the two as doubles, and the sum then lies past the start of the slice that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from hw.errors import InputError
from minikern.core.recorder import Mark, Recorder, Span
from minikern.host.output import write_file
from minikern.lab.run import Boot

PID = 1
FLOW_NAME = "INIT/SIPI to alive"
WAITING = "waits for STARTUP"
STAGES = {
    "SIPI": "STARTUP sent",
    "started": "real mode to long mode",
    "stack_left": "to the first sign of life",
    "ALIVE": "alive, waits for SHOULD_ONLINE",
    "SHOULD_ONLINE": "STARTING section",
    "AP_ONLINE_IDLE": "ONLINE section",
    "ONLINE": "",
    "OFFLINE": "",
}
"""What a started CPU does from one mark to the next; an empty text: nothing that is drawn."""


def write_trace(boot: Boot, path: Path) -> None:
    """Write the trace of a boot that was recorded, whole or not at all. InputError: the place cannot be written."""
    write_file(path, msgspec.json.encode(chrome_trace(boot)))


def chrome_trace(boot: Boot) -> dict[str, Any]:
    """The whole trace. InputError: the boot kept no record."""
    recorder = recorder_of(boot)
    cpus = boot.kernel.cpus
    spans = joined(recorder.spans)
    threads = sorted({span.cpu for span in spans} | {mark.cpu for mark in recorder.marks} | {0})
    places = cpus.ids if cpus is not None else {}
    events = [
        *_names(boot, threads, places),
        *_begins_and_ends([*_phases(spans), *_stages(recorder.marks), *(_slice(span) for span in spans)]),
        *_lines(boot),
        *_flows(recorder.marks),
    ]
    return {
        "displayTimeUnit": "ms",
        "otherData": {"machine": boot.spec.name, "boot": boot.name, "clock": "simulated, since power-on"},
        "traceEvents": events,
    }


def recorder_of(boot: Boot) -> Recorder:
    """The boot's record; InputError if it kept none."""
    if boot.kernel.recorder is None:
        raise InputError("this boot was not recorded: boot with record=True")
    return boot.kernel.recorder


def joined(spans: Iterable[Span]) -> list[Span]:
    """The spans with those of one CPU and kind that follow each other without a gap made one; empty ones are dropped.

    Order is by CPU and start. What a span still overlaps at its end is cut off, so that slices only ever nest.
    """
    out: list[Span] = []
    for span in sorted(spans, key=lambda item: (item.cpu, item.start_ns)):
        last = out[-1] if out and out[-1].cpu == span.cpu else None
        if span.total_ns <= 0:
            continue
        if last is not None:
            end = last.start_ns + last.total_ns
            if span.start_ns < end:  # booked afterwards for a stretch in which single pieces were booked too
                out[-1] = last = last._replace(total_ns=span.start_ns - last.start_ns)
                end = span.start_ns
                if not last.total_ns:
                    out.pop()
                    last = None
            if last is not None and end == span.start_ns and (last.kind, last.phase) == (span.kind, span.phase):
                out[-1] = last._replace(total_ns=last.total_ns + span.total_ns, pieces=last.pieces + span.pieces)
                continue
        out.append(span)
    return out


def _us(ns: int) -> float:
    return ns / 1000


def _event(kind: str, tid: int, name: str, at_ns: int, **more: Any) -> dict[str, Any]:
    return {"ph": kind, "pid": PID, "tid": tid, "name": name, "ts": _us(at_ns), **more}


class Slice(NamedTuple):
    """A named stretch of one thread."""

    tid: int
    start_ns: int
    end_ns: int
    name: str
    cat: str
    pieces: int = 1


def _begins_and_ends(slices: Sequence[Slice]) -> Iterator[dict[str, Any]]:
    """Thread by thread in the order of time; what ends at a moment ends before anything begins there."""
    open_slices: list[Slice] = []

    def close(until_ns: int | None, tid: int) -> Iterator[dict[str, Any]]:
        while open_slices and (until_ns is None or open_slices[-1].tid != tid or open_slices[-1].end_ns <= until_ns):
            done = open_slices.pop()
            yield _event("E", done.tid, done.name, done.end_ns, cat=done.cat, **_args(done))

    for item in sorted(slices, key=lambda one: (one.tid, one.start_ns, -one.end_ns)):
        yield from close(item.start_ns, item.tid)
        yield _event("B", item.tid, item.name, item.start_ns, cat=item.cat, **_args(item))
        open_slices.append(item)
    yield from close(None, 0)


def _args(item: Slice) -> dict[str, Any]:
    # speedscope writes arguments behind the name, so there are as few as possible.
    return {"args": {"pieces": item.pieces}} if item.pieces > 1 else {}


def _slice(span: Span) -> Slice:
    return Slice(span.cpu, span.start_ns, span.start_ns + span.total_ns, span.kind, span.phase, span.pieces)


def _names(boot: Boot, threads: Sequence[int], places: Any) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": PID, "tid": 0, "name": "process_name", "args": {"name": f"{boot.spec.name}, {boot.name}"}}
    for cpu in threads:
        place = places.get(cpu)
        where = f" (package {place.package}, core {place.core}, thread {place.thread})" if place else ""
        name = f"CPU {cpu}{where}"
        yield {"ph": "M", "pid": PID, "tid": cpu, "name": "thread_name", "args": {"name": name}}
        yield {"ph": "M", "pid": PID, "tid": cpu, "name": "thread_sort_index", "args": {"sort_index": cpu}}


def _phases(spans: Sequence[Span]) -> Iterator[Slice]:
    """One slice over each stretch of the boot CPU's work in one phase."""
    run: list[Span] = []
    for span in [*(span for span in spans if span.cpu == 0), None]:
        if run and (span is None or span.phase != run[-1].phase):
            start, end = run[0].start_ns, run[-1].start_ns + run[-1].total_ns
            yield Slice(0, start, end, run[0].phase, "phase")
            run = []
        if span is not None:
            run.append(span)


def _stages(marks: Sequence[Mark]) -> Iterator[Slice]:
    last: dict[int, Mark] = {}
    for mark in marks:
        if mark.name not in STAGES or (mark.name == "SIPI" and mark.cpu in last):
            continue
        before = last.get(mark.cpu)
        if before is None and mark.at_ns:
            yield Slice(mark.cpu, 0, mark.at_ns, WAITING, "bring-up")  # so viewers begin every thread at power-on
        if before is not None and STAGES[before.name] and mark.at_ns > before.at_ns:
            yield Slice(mark.cpu, before.at_ns, mark.at_ns, STAGES[before.name], "bring-up")
        last[mark.cpu] = mark


def _lines(boot: Boot) -> Iterator[dict[str, Any]]:
    for line in boot.kernel.log.lines:
        yield _event("i", 0, line.text, line.at_ns, cat="log", s="t")


def _flows(marks: Sequence[Mark]) -> Iterator[dict[str, Any]]:
    """An arrow from the boot CPU's first STARTUP message to each CPU's first sign of life."""
    sent: dict[int, Mark] = {}
    for mark in marks:
        if mark.name == "SIPI":
            sent.setdefault(mark.cpu, mark)
        elif mark.name == "ALIVE" and mark.cpu in sent:
            start = sent.pop(mark.cpu)
            yield _event("s", 0, FLOW_NAME, start.at_ns, cat="flow", id=mark.cpu)
            yield _event("f", mark.cpu, FLOW_NAME, mark.at_ns - 1, cat="flow", id=mark.cpu, bp="e")
