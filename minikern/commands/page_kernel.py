"""A user's struct-page kernel in commands that boot: ``--page-kernel``, and what code of a stranger may take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from hw.errors import InputError
from hw.units import parse_size
from minikern.commands.common import EXIT_FAILED, reported, tell
from minikern.commands.numbers import SECONDS

LEAST_MEMORY = 256 << 20  # libraries need as much
timeout_option = click.option(
    "--timeout", type=SECONDS, default=60.0, show_default=True, help="Seconds one call of your function may take."
)
memory_option = click.option(
    "--memory-limit", default="4G", show_default=True, metavar="SIZE", help="Memory your function may take beside."
)


class Limits(NamedTuple):
    """What a function of a stranger's may take: seconds for one call, bytes in all."""

    seconds: float
    memory: int


def limits_of(timeout: float, memory_limit: str) -> Limits:
    """The limits that the options say. InputError: less memory than the libraries need."""
    memory = parse_size(memory_limit, "--memory-limit")
    if memory < LEAST_MEMORY:
        raise InputError(f"--memory-limit: {memory_limit}: expected 256M or more, libraries need as much")
    return Limits(timeout, memory)


def page_kernel_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option for a kernel of one's own, and its limits."""
    decorators = [
        click.option(
            "--page-kernel",
            default="",
            metavar="FILE.py|NAME",
            help="Initialise struct pages by a function of your own.",
        ),
        timeout_option,
        memory_option,
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def guarded(name: str, work: Callable[[Any], None], vmemmap: str, limits: Limits) -> None:
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

    done = supervise(lambda steps: _inside(steps, name, work), *limits)
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
