"""``minikern man``: the manual page, from what the commands say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from minikern.commands.common import reported

SECTION = 1


@click.command()
@reported
def man() -> None:
    """Print the manual page, in the form that man reads.

    \b
    Example:
      minikern man | man -l -
      minikern man > ~/.local/share/man/man1/minikern.1
    """
    root = click.get_current_context().find_root()
    click.echo(manual(root), nl=False)


def manual(root: click.Context) -> str:
    """The page: the group, then every command with its arguments, options and examples."""
    from minikern.api.offered import VERSION

    group = root.command
    assert isinstance(group, click.Group)
    out = [f'.TH MINIKERN {SECTION} "" "minikern {VERSION}" "User Commands"', ".SH NAME"]
    out += ["minikern \\- boot a described machine through a miniature of the Linux boot path", ".SH SYNOPSIS"]
    out += [".B minikern", ".I COMMAND", "[OPTION...] [ARGUMENT...]", ".SH DESCRIPTION", *_text(group.help or "")]
    out.append(".SH COMMANDS")
    for name in group.list_commands(root):
        command = group.get_command(root, name)
        assert command is not None
        out += _command(click.Context(command, root, f"minikern {name}"))
    out += [".SH EXIT STATUS", *_statuses()]
    return "".join(f"{line}\n" for line in out)


def _command(ctx: click.Context) -> Iterator[str]:
    command = ctx.command
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield f'.SS "{_escaped(ctx.info_name or "")} {_escaped(pieces)}"'
    yield from _text(command.help or "")
    for param in command.params:
        record = param.get_help_record(ctx)
        if record is not None:
            yield from (".TP", f".B {_escaped(record[0])}", _escaped(record[1]) or "\\&")
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from _command(click.Context(inner, ctx, f"{ctx.info_name} {name}"))


def _text(text: str) -> Iterator[str]:
    """Paragraphs of a help text; those that begin with a backspace keep their lines."""
    for part in re.split(r"\n\s*\n", text.strip()):
        as_it_is = part.lstrip(" ").startswith("\b")
        lines = [line for line in part.strip("\b\n").splitlines() if line.strip("\b ")]
        yield ".PP"
        if as_it_is:
            yield from (".nf", *(_escaped(line) for line in lines), ".fi")
        else:
            yield _escaped(" ".join(line.strip() for line in lines))


def _escaped(text: str) -> str:
    """Text as roff reads it: a hyphen that is meant as one, no line that looks like a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")
    return f"\\&{text}" if text[:1] in (".", "'") else text


def _statuses() -> Iterator[str]:
    for status, meaning in (("0", "fine"), ("1", "the thing checked failed"), ("2", "bad usage or input"),
                            ("3", "the emulated machine stopped")):  # fmt: skip
        yield from (".TP", f".B {status}", meaning)
