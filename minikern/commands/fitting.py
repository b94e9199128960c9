"""What the commands share for fitting: a machine with its log's own times, and the line that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hw.files import read_stream
from minikern.commands.standard_input import standard_input
from minikern.host.output import scratch_folder

if TYPE_CHECKING:
    from minikern.describe.case import Case

STANDARD_INPUT = "-"


def spooled(name: str) -> str:
    """``name``, or the file that standard input was put into so that it can be read twice."""
    if name != STANDARD_INPUT:
        return name
    folder = click.get_current_context().with_resource(scratch_folder())
    return str(folder.write("stdin", read_stream(standard_input(), "standard input")))


def timed_spec(spec: Case, name: str, others: tuple[str, ...], no_fit: bool) -> Case:
    """``spec`` with the times its own log or the logs of ``--fit`` tell, and on stderr where they come from."""
    from minikern.describe.presets import is_log

    if not others and spec.startup is None and not is_log(name):
        return spec  # nothing tells of its times, and the fit takes a while to load
    from minikern.lab.fit.timed import timed

    found = timed(spec, name, others, no_fit)
    for note in found.notes:
        click.echo(f"minikern: {note}", err=True)
    return found.spec
