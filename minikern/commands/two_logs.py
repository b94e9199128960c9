"""What ``compare`` and ``report`` do with two boot logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hw.errors import InputError

if TYPE_CHECKING:
    from minikern.lab.two_boots import OneBoot


def refuse_options(*allowed: str) -> None:
    """Two finished boots are taken as they are: whatever would change a machine or a boot has no meaning."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and isinstance(parameter, click.Option) and name not in allowed:
            raise InputError(f"{parameter.opts[0]}: two boot logs are compared as they are: expected one log with it")


def read_two_boots(first: str, second: str) -> tuple[OneBoot, OneBoot]:
    """The boots of two logs. InputError: what is given is no boot log."""
    from minikern.commands.fitting import STANDARD_INPUT, spooled
    from minikern.describe.presets import is_log
    from minikern.lab.fit.calibrate import split_name
    from minikern.lab.two_boots import read_boot

    if first == second == STANDARD_INPUT:
        raise InputError("-: standard input holds one log: expected the other one's name")
    boots = []
    for name in (first, second):
        path = spooled(name)
        if not is_log(path):
            raise InputError(f"{name}: expected a boot log to hold against another: FILE or FILE:N")
        boots.append(read_boot(name, *split_name(path)))
    return boots[0], boots[1]
