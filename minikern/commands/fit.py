"""``minikern fit``."""

from __future__ import annotations

from pathlib import Path

import click

from minikern.commands.common import OUTPUT, reported, show_sheets
from minikern.commands.waiting import Waiting


@click.command()
@click.argument("logs", nargs=-1, required=True, metavar="LOG...")
@click.option("-o", "--output", type=OUTPUT, metavar="FILE.toml", help="Write the machine there.")
@click.option("--systemd", default="", metavar="FILE", help="What systemd-analyze printed after the first log's boot.")
@click.option("--explain", is_flag=True, help="Which cost rests on what, what stayed assumed, what nothing explains.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def fit(logs: tuple[str, ...], output: Path | None, systemd: str, explain: bool, markdown: bool, as_json: bool) -> None:
    """Make a machine with its own unit costs from the time stamps of one or several of its boot logs.

    The first log describes the machine; the others sharpen its costs.

    \b
    Example:
      minikern fit server-dmesg.txt.gz -o my-server.toml && minikern boot my-server.toml
      dmesg | minikern fit - --explain
    """
    from minikern.commands.fitting import spooled
    from minikern.describe.beside import lay_startup
    from minikern.lab.fit.measured_total import told_apart
    from minikern.lab.fit.timed import fit_together
    from minikern.lab.fit.write import write_spec
    from minikern.report import fit as report

    with Waiting("fitting"):
        fitted = fit_together([spooled(name) for name in logs])
    if systemd:
        lay_startup(fitted.spec, Path(systemd))
    if fitted.spec.startup is not None:
        fitted.notes += told_apart(fitted.spec.startup, fitted.real_total_ns)
    click.echo(f"minikern: {fitted.summary()}", err=True)
    for note in fitted.notes:
        click.echo(f"minikern: {note}", err=True)
    if output is not None:
        write_spec(fitted.spec, output)
    if as_json:
        click.echo(report.fit_json(fitted))
    elif explain or output is None:
        show_sheets(report.fit_sheets(fitted, explain), markdown)
