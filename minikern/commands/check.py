"""``minikern check``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from hw.errors import InputError
from minikern.commands.common import EXIT_FAILED, OUTPUT, reported
from minikern.commands.numbers import Count
from minikern.commands.page_kernel import limits_of, memory_option, timeout_option
from minikern.commands.waiting import Waiting


class Asked(NamedTuple):
    """What is to be checked, and how it is told."""

    algorithm: str
    machine: str
    examples: int
    as_json: bool
    benchmark: bool


@click.command()
@click.argument("algorithm", metavar="FILE.py|NAME")
@click.option("--new", "kind", default="", metavar="KIND", help="Write a right function of this kind to FILE.py.")
@click.option("--machine", default="", metavar="MACHINE", help="Struct pages: also try it on this machine's memory.")
@click.option(
    "--examples", type=Count(0, 1_000_000), default=150, show_default=True, help="Inputs to make up."
)
@timeout_option
@memory_option
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON.")
@click.option("--benchmark-json", type=OUTPUT, metavar="FILE", help="Write timings as pytest-benchmark does.")
@reported
def check(
    algorithm: str,
    kind: str,
    machine: str,
    examples: int,
    timeout: float,
    memory_limit: str,
    as_json: bool,
    benchmark_json: Path | None,
) -> None:
    """Check an algorithm of your own against an independent judge, then time it beside the built-in ones.

    FILE.py has functions under @minikern.algorithm("HOOK"), compiled by numba or plain Python; NAME is an installed
    entry point of the group minikern.algorithms. The exit status is 1 if a function is wrong, crashes, never returns or
    takes too much memory, 2 if the file does not load or a function returns what is no answer at all.

    \b
    Kinds, their hooks and arguments:
      struct-page     memmap_init_range    words, flags, lru
      deferred-pages  deferred_init_range  words, flags, lru, pfn, order, buddy_type
      free-pages      free_range           words, reserved
      reserve-pages   reserve_range        words, reserved
      compound-tails  prep_compound_tails  words, flags, lru, head
      padata-split    padata_split         start, size, align, min_chunk, max_threads
      bring-up        bring_up_order       cpus, limit
      digest          kexec_digest         data, sizes
      hvo             hvo_share            order, heads, reserved, fake_heads
      memblock        memblock_find        memory, reserved, size, align, start, end, nid, bottom_up
      zone-fallback   zone_fallback        node, distances, pages, highest
      deferred-split  deferred_split       ranges, threads
      free-merge      free_merge           blocks, pfn, order, borders

    \b
    Example:
      minikern check --new hvo my_hvo.py && minikern check my_hvo.py
      minikern check my_algorithm.py --machine laptop --benchmark-json mine.json
    """
    from minikern.host.output import write_file
    from minikern.lab.supervise import supervise
    from minikern.report.check import failure_text

    if kind:
        _write_new(kind, Path(algorithm))
        return
    limits = limits_of(timeout, memory_limit)
    asked = Asked(algorithm, machine, examples, as_json, benchmark_json is not None)
    with Waiting(f"checking {algorithm}"):
        done = supervise(lambda steps: _check(steps, asked), *limits)
    if done.failure:
        click.echo(failure_text(algorithm, done.step, done.failure, as_json), nl=False)
        sys.exit(EXIT_FAILED)
    text, right, timings = done.value
    click.echo(text, nl=False)
    if benchmark_json is not None:
        write_file(benchmark_json, timings)
    if not right:
        sys.exit(EXIT_FAILED)


def _write_new(kind: str, path: Path) -> None:
    from minikern.host.output import write_file
    from minikern.lab.kinds.registry import kind_named
    from minikern.lab.kinds.template import template

    text = template(kind_named(kind))
    if path.suffix != ".py":
        raise InputError(f"--new: {path}: expected a file ending in .py")
    if path.exists():
        raise InputError(f"--new: {path}: already there: name a new file")
    write_file(path, text)
    click.echo(f"minikern: {path} written: minikern check {path}", err=True)


def _check(steps: Any, asked: Asked) -> tuple[str, bool, str]:
    # Functions of others run in here, in a process of its own.
    from minikern.api.offered import VERSION
    from minikern.commands.bench import host
    from minikern.host.jit import teach_numba
    from minikern.lab.algorithms import load_algorithms
    from minikern.lab.check import check_algorithm
    from minikern.report.benchmark_json import benchmark_json
    from minikern.report.check import check_json, check_text

    teach_numba()  # most files want it, and its import takes longer than some limits
    steps.begin(f"loading {asked.algorithm}")
    with contextlib.redirect_stdout(sys.stderr):
        found = load_algorithms(asked.algorithm)
    steps.end()
    machines = [_machine_case(asked.machine)] if asked.machine else []
    verdicts = []
    for item in found:  # what they print is none of the product
        own = machines if item.hook.arguments[0] == "words" or item.hook.name == "padata_split" else []
        with contextlib.redirect_stdout(sys.stderr):
            verdicts.append(check_algorithm(item, own, asked.examples, steps))
    text = check_json(verdicts) if asked.as_json else check_text(verdicts)
    right = not any(verdict.wrong for verdict in verdicts)
    return text, right, benchmark_json(verdicts, host(), VERSION) if asked.benchmark else ""


def _machine_case(name: str) -> Any:
    from minikern.core.kernel import BootOptions
    from minikern.describe.presets import load_machine
    from minikern.lab.cases import case_of_kernel
    from minikern.lab.run import boot

    return case_of_kernel(name, boot(load_machine(name), options=BootOptions(vmemmap="window")).kernel)
