"""``minikern explain``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from hw.errors import InputError
from minikern.commands.common import EXIT_FAILED, reported
from minikern.commands.standard_input import standard_input

READING_WIDTH = 80
STANDARD_INPUT = "-"
MAX_LINES = 1 << 14  # seconds of looking them up; a boot has some hundred


@click.command()
@click.argument("line", nargs=-1, required=True, metavar="LINE|-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def explain(line: tuple[str, ...], as_json: bool) -> None:
    """Say what a line of a boot log means: of any log, with or without its time stamp.

    The words need no quotes; - reads lines from standard input. The exit status is 1 if nothing is known of a line.

    \b
    Example:
      minikern explain 'smp: Brought up 2 nodes, 128 CPUs'
      minikern explain kho=on                               what a word on the kernel's line brings
      dmesg | grep -i tsc | minikern explain -
    """
    from minikern.report.explain import explanation_of

    given = _typed() if line == (STANDARD_INPUT,) else [" ".join(line)]
    found = [(text, explanation_of(text, others=True)) for text in given if text.strip()]
    if as_json:
        from minikern.report.json_text import json_text

        rows = [{"line": text, "known": item is not None, **_fields(item)} for text, item in found]
        click.echo(json_text(rows))
    else:
        for number, (text, item) in enumerate(found):
            click.echo("\n" * (number > 0) + text)
            for row in _told(text, item):
                click.echo(click.wrap_text(row, READING_WIDTH, "  ", "    "))
    if not all(item for _, item in found):
        sys.exit(EXIT_FAILED)


def _typed() -> list[str]:
    """The lines of standard input. InputError: more than a log has."""
    from hw.files import read_stream
    from minikern.describe.dmesg_forms import MAX_LINE
    from minikern.describe.dmesg_text import MAX_LOG_BYTES

    data = read_stream(standard_input(), "standard input", MAX_LOG_BYTES)
    lines = data.decode("utf-8", "replace").split("\n")
    if len(lines) > MAX_LINES:
        raise InputError(f"standard input: {len(lines)} lines: expected at most {MAX_LINES}: grep those that matter")
    return [one[:MAX_LINE] for one in lines]


def _fields(item: Any) -> dict[str, str]:
    if item is None:
        return {}
    return {"function": item.function, "says": item.says, "strange": item.strange, "counted": item.counted()}


def _told(text: str, item: Any) -> Iterator[str]:
    if item is None:
        yield "nothing is known of this line here"
        return
    yield f"{item.function}: {item.says}"
    if item.strange:
        yield f"If strange: {item.strange}"
    if counted := item.counted():
        yield f"Counted: {counted}"
    if names := _terms(text):
        yield f"See minikern learn glossary {', '.join(names)}"


def _terms(text: str) -> list[str]:
    from minikern.learn.glossary import mentioned

    return [term.name for term in mentioned(text)]
