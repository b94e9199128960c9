"""``minikern capture``."""

from __future__ import annotations

from importlib import resources

import click

from minikern.commands.common import reported


@click.command()
@reported
def capture() -> None:
    """Print a shell script that gathers what a boot of a machine needs.

    Read it, copy it to the machine and run it there as root: it needs no more than busybox has, changes nothing and
    writes one archive. Serial numbers, UUIDs, MAC addresses, host and user names stay out; ``--full`` keeps them.

    \b
    Example:
      minikern capture > capture.sh          on the machine: sh capture.sh server.tar
      minikern boot server.tar.xz
    """
    click.echo(resources.files("minikern.describe").joinpath("capture.sh").read_text("utf-8"), nl=False)
