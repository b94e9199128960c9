"""``minikern kernel params``."""

from __future__ import annotations

import click

from minikern.commands.common import reported


@click.command("params")
@click.argument("release", default="", metavar="[RELEASE]")
@click.option("--json", "as_json", is_flag=True, help="Print both lists as JSON.")
@reported
def params(release: str, as_json: bool) -> None:
    """List the kernel parameters: those modelled, with who acts on them, and those known to Linux only.

    Without RELEASE, those of all kernels that are listed.

    \b
    Example:
      minikern kernel params debian-6.12 | grep hugepages
    """
    from minikern.core.release import load_release
    from minikern.report.json_text import json_text
    from minikern.report.params import format_parameters, kernel_parameters

    found = kernel_parameters(load_release(release).parameters if release else "")
    if as_json:
        click.echo(json_text(found))
    else:
        click.echo(format_parameters(found), nl=False)
