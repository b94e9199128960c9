"""Many legal orders of two processors' evaluations, without the interpreter lock or with it: do all end as one after
the other would?

What is evaluated is what a boot asks of each processor: that it hears what the kernel can do, then its idle states.
"""

from __future__ import annotations

import copy
import itertools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.errors import InputError
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.evaluate import RECURSION
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.processor_setup import ask_idle_states, inform_processor, processors
from minikern.acpi.region_buffers import buffered_spaces
from minikern.acpi.turns import Step, Turns
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel, source_tables
from minikern.state.acpi import AcpiState, Table
from minikern.state.namespace import Node, shown

MOST_TOGETHER = 4  # all their serial orders are run
State = tuple[dict[str, str], tuple[str, ...]]  # value of every object, and the lines that tell of errors


@dataclass
class Race:
    """One order that ends as no serial order does: what differs, and the terms that were run, by processor."""

    seed: int
    text: str
    steps: list[Step]

    @property
    def switches(self) -> int:
        """How often another processor went on."""
        return len(self.turns()) - 1

    def turns(self) -> list[list[Step]]:
        """The terms, those together that one processor ran at a stretch."""
        return [list(group) for _, group in itertools.groupby(self.steps, key=lambda step: step.who)]


@dataclass
class AcpiExploration:
    """What was tried and what was found."""

    processors: list[str]
    locked: bool
    seeds: int
    orders: int = 0
    outcomes: int = 0  # different ends
    races: list[Race] = field(default_factory=list)
    shortest: Race | None = None


def explore_acpi(
    sources: list[str], together: int, seeds: int, first_seed: int, locked: bool,
    on_seed: Callable[[str], None] = lambda name: None,
) -> AcpiExploration:
    """Evaluate ``together`` processors under ``seeds`` orders; no sources: firmware made up for it.

    InputError: the tables have not so many processors.
    """
    tables = source_tables(sources) if sources else made_up_tables()
    kernel = bare_kernel(tables)
    loaded = _loaded(kernel, tables)
    nodes = processors(loaded)
    if len(nodes) < together:
        raise InputError(f"the tables have {len(nodes)} processors that are there: expected at least {together}")
    serial = [_end(loaded, together, order=order)[0] for order in itertools.permutations(range(together))]
    result = AcpiExploration([shown(node.path) for node in nodes[:together]], locked, seeds)
    orders: set[tuple[Step, ...]] = set()
    ends = set()
    for seed in range(first_seed, first_seed + seeds):
        on_seed(str(seed))
        state, turns = _end(loaded, together, seed=seed, locked=locked)
        orders.add(tuple(turns.steps))
        ends.add((tuple(sorted(state[0].items())), state[1]))
        text = "they wait for each other for ever" if turns.stuck else _difference(state, serial)
        if text:
            result.races.append(Race(seed, text, turns.steps))
    result.orders, result.outcomes = len(orders), len(ends)
    result.shortest = min(result.races, key=lambda race: (race.switches, len(race.steps)), default=None)
    return result


def _loaded(kernel: Kernel, tables: list[DumpedTable]) -> Interpreter:
    places = [Table(item.signature, number, len(item.data), item.data) for number, item in enumerate(tables, 1)]
    kernel.log.lines.clear()
    kernel.acpi = AcpiState(tables=places)
    acpi_load_tables(kernel, slack=True, spaces=buffered_spaces())
    run = kernel.acpi.interpreter
    assert isinstance(run, Interpreter)
    acpi_initialize_objects(kernel, run)
    return run


def _copied(loaded: Interpreter) -> Interpreter:
    """A namespace of its own for one order: firmware's set-up, which may wait for hardware, is done once for all."""
    kernel, limit = loaded.k, sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION)
    try:
        run = copy.deepcopy(loaded, {id(kernel): kernel})
    finally:
        sys.setrecursionlimit(limit)
    kernel.acpi.interpreter, kernel.acpi.namespace = run, run.namespace
    kernel.log.lines.clear()
    return run


def _end(
    loaded: Interpreter, together: int, order: Sequence[int] = (), seed: int = 0, locked: bool = True
) -> tuple[State, Turns]:
    """Evaluate on a copy: one after the other in ``order``, else in turns."""
    run = _copied(loaded)
    kernel, nodes = run.k, processors(run)[:together]
    work = [partial(_ask, run, node) for node in nodes]
    turns = Turns(run, random.Random(seed), locked)
    with run.account.kept():
        if order:
            for who in order:
                work[who]()
        else:
            turns.together(work)
    errors = (line.text for line in kernel.log.lines if "rror" in line.text or "Warning" in line.text)
    return (_values(run), tuple(sorted(errors))), turns


def _ask(run: Interpreter, node: Node) -> None:
    inform_processor(run, node)
    ask_idle_states(run, node)


def _values(run: Interpreter) -> dict[str, str]:
    return {node.path: f"{node.kind.value} {_text(node.value)}" for node in run.namespace.walk()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return repr(value) if isinstance(value, int | str | bytearray) else ""


def _difference(state: State, serial: list[State]) -> str:
    """What differs from the serial end that is nearest, "" where there is one that is the same."""
    return min((_told(state, one) for one in serial), key=len)


def _told(state: State, one: State) -> str:
    told = list(_changes(state[0], one[0]))
    told += [line for line in state[1] if line not in one[1]]
    return "; ".join(told)


def _changes(now: dict[str, str], before: dict[str, str]) -> Iterator[str]:
    for path in sorted(now.keys() | before.keys()):
        if now.get(path) != before.get(path):
            yield f"{shown(path)} is {now.get(path, 'not there')}, one after the other {before.get(path, 'not there')}"


def made_up_tables() -> list[DumpedTable]:
    """Firmware that loads a table once and counts who asked, in methods that are not declared serialised."""
    told, count, seen = (aml.name_path(name) for name in ("\\TOLD", "\\COUN", "\\SEEN"))
    more = sdt("SSDT", 2, aml.name("\\DYN0", aml.ONE), TableIds())
    once = aml.if_(aml.equal(told, aml.ZERO), [
        aml.store(aml.ONE, told), aml.load("\\MORE", aml.local(0)), aml.increment(seen)])  # fmt: skip
    body = [once, aml.store(aml.add(count, aml.ONE), aml.local(1)), aml.store(aml.local(1), count)]
    idle = aml.package([aml.ONE, aml.package([aml.buffer(bytes(17)), aml.ONE, aml.ONE, aml.ONE])])
    cpus = [aml.processor(f"C{number:03X}", number, [
        aml.method("_PDC", 1, [aml.call("\\PDCL")]), aml.method("_CST", 0, [aml.increment(seen), aml.return_(idle)]),
    ]) for number in range(MOST_TOGETHER)]  # fmt: skip
    names = [aml.name(name, aml.ZERO) for name in ("TOLD", "COUN", "SEEN")]
    terms = [*names, aml.name("MORE", aml.buffer(more)), aml.method("PDCL", 0, body), aml.scope("\\_SB", cpus)]
    return [DumpedTable("DSDT", 0, sdt("DSDT", 2, b"".join(terms), TableIds()))]
