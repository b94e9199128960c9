"""``minikern variant``."""

from __future__ import annotations

import textwrap

import click

from minikern.commands.common import reported, told_width

BESIDE = 60  # columns from which a title stands beside a name


@click.group()
def variant() -> None:
    """The variants: ways to boot, and what each is held against.

    \b
    Example:
      minikern variant show hvo-skip > mine.toml && minikern compare --variants hugepages,mine.toml
    """


def _folded(head: str, text: str, width: int) -> str:
    """One entry in ``width`` columns (0: in one line), its words whole and below each other."""
    if not width:
        return head + text
    beside = width >= BESIDE  # else below its name
    indent = " " * (len(head) if beside else 4)
    fold = textwrap.TextWrapper(
        width,
        initial_indent=head if beside else indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    above = "" if beside or not head.strip() else f"{head.rstrip()}\n"
    return above + fold.fill(text)


@variant.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def variant_list(as_json: bool) -> None:
    """List the variants: those that come with minikern and your own.

    \b
    Example:
      minikern variant list
    """
    import json

    from minikern.core.variant import load_variants

    found = load_variants().values()
    if as_json:
        keys = ("name", "title", "extends", "against", "requires", "ladder")
        click.echo(json.dumps([{key: getattr(one, key) for key in keys} for one in found], indent=2))
        return
    width = told_width()
    for one in found:
        click.echo(_folded(f"{one.name:24}{'* ' if one.ladder else '  '}", one.title, width))
        if one.requires:
            click.echo(_folded(" " * 26, f"needs {one.requires}", width))
    click.echo("\n* on the ladder that `minikern compare` boots unless told otherwise")


@variant.command("show")
@click.argument("name", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def variant_show(name: str, as_json: bool) -> None:
    """Print a variant, with all that it extends, as a file, which then boots as one of yours.

    \b
    Example:
      minikern variant show parallel-smp
    """
    from minikern.core.variant import load_variant
    from minikern.report.json_text import json_text
    from minikern.report.kernels import variant_toml

    found = load_variant(name)
    if as_json:
        click.echo(json_text(found))
    else:
        click.echo(variant_toml(found), nl=False)
