"""A user's struct-page kernel in commands that boot: ``--page-kernel``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from hw.errors import InputError
from minikern.commands.common import EXIT_FAILED, reported, tell

CALL_SECONDS = 60.0  # one call of it may take so long

page_kernel_option = click.option(
    "--page-kernel", default="", metavar="FILE.py|NAME", help="Initialise struct pages by a function of your own."
)


def guarded(name: str, work: Callable[[Any], None], vmemmap: str) -> None:
    """Do a command's ``work``; with a kernel of a stranger in a process of its own, which may crash or hang.

    ``work`` is given the kernel, None without a ``name``. The exit status is 1 if the kernel is wrong, crashes or does
    not end.
    """
    if not name:
        work(None)
        return
    if vmemmap == "counted":
        raise InputError("--page-kernel: pages are only counted, nobody initialises them: expected another --vmemmap")
    from minikern.lab.supervise import supervise

    done = supervise(lambda steps: _inside(steps, name, work), CALL_SECONDS)
    if done.failure:
        tell(f"--page-kernel {name}: {done.step}: {done.failure}")
        sys.exit(EXIT_FAILED)
    if done.value:
        sys.exit(done.value)


def _inside(steps: Any, name: str, work: Callable[[Any], None]) -> int:
    """The work, in the process of its own; its exit status."""
    from minikern.host.jit import teach_numba
    from minikern.lab.page_kernel import PageKernelError, load_page_kernel

    teach_numba()

    @reported
    def run() -> None:
        try:
            work(load_page_kernel(name, steps))
        except PageKernelError as error:
            tell(f"--page-kernel {name}: {error}")
            sys.exit(EXIT_FAILED)

    try:
        run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_FAILED
    return 0
