"""``minikern kernel``: what is known of the kernels that are emulated."""

from __future__ import annotations

import click

from minikern.commands.kernel_params import params


@click.group()
def kernel() -> None:
    """The kernels: what is known of their parameters.

    \b
    Example:
      minikern kernel params debian-6.12
    """


kernel.add_command(params)
