"""``minikern variant``."""

from __future__ import annotations

import click

from minikern.commands.common import reported


@click.group()
def variant() -> None:
    """The variants: ways to boot, and what each is held against.

    \b
    Example:
      minikern variant show hvo-skip > mine.toml && minikern compare --variants hugepages,mine.toml
    """


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
    for one in found:
        click.echo(f"{one.name:24}{'* ' if one.ladder else '  '}{one.title}")
        if one.requires:
            click.echo(f"{'':26}needs {one.requires}")
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
