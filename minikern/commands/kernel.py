"""``minikern kernel``: what is known of the kernels that are emulated."""

from __future__ import annotations

import click

from minikern.commands.kernel_params import params
from minikern.commands.kernel_show import kernel_forks, kernel_list, kernel_show


@click.group()
def kernel() -> None:
    """The kernels: what each is, what changed from one to the next, which parameters they know.

    \b
    Examples:
      minikern kernel forks 6.1 6.12       what changed in the boot path, and by which commit
      minikern kernel params debian-6.12
    """


for command in (kernel_list, kernel_show, kernel_forks, params):
    kernel.add_command(command)
