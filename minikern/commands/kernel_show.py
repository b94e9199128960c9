"""``minikern kernel list``, ``show`` and ``forks``."""

from __future__ import annotations

import json

import click

from minikern.commands.common import reported


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print names, versions and titles as JSON.")
@reported
def kernel_list(as_json: bool) -> None:
    """List the kernels: those that come with minikern and your own.

    \b
    Example:
      minikern kernel list
    """
    from minikern.core.release import load_release, own_release_names, release_names
    from minikern.core.version import parse_version

    own = own_release_names()
    found = [load_release(name) for name in [*release_names(), *own]]
    found.sort(key=lambda one: (parse_version(one.version), one.name))
    if as_json:
        rows = [{"name": one.name, "version": one.version, "title": one.title, "own": one.name in own} for one in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        click.echo(f"{one.name:12} {one.version:9} {one.title}{' (yours)' if one.name in own else ''}")


@click.command("show")
@click.argument("kernel", metavar="NAME|FILE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, every behaviour with its origin.")
@reported
def kernel_show(kernel: str, as_json: bool) -> None:
    """Print a kernel as a file, which then boots as one of yours; what follows from its version as comments.

    \b
    Example:
      minikern kernel show debian-6.12 > mine.toml && minikern boot tiny --kernel mine.toml
    """
    from minikern.core.release import load_release
    from minikern.report.kernels import release_json, release_toml

    release = load_release(kernel)
    if as_json:
        click.echo(json.dumps(release_json(release), indent=2))
    else:
        click.echo(release_toml(release), nl=False)


@click.command("forks")
@click.argument("after", default="", metavar="[AFTER")
@click.argument("until", default="", metavar="[UNTIL]]")
@click.option("--field", multiple=True, metavar="NAME", help="Only this behaviour; repeat for more.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reported
def kernel_forks(after: str, until: str, field: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """What changed in the boot path, when, and by which commit; after one version, until another.

    \b
    Examples:
      minikern kernel forks 6.1 6.12       what a user of 6.1 gets with 6.12
      minikern kernel forks --field smp_scheme --field delay_reuse
    """
    from hw.spelling import check_names
    from minikern.core.behaviour import Behaviour
    from minikern.core.forks import forks_between
    from minikern.host.terminal import console
    from minikern.report.json_text import json_text
    from minikern.report.kernels import forks_markdown, forks_table

    check_names("--field", "behaviour", field, Behaviour.__struct_fields__)
    found = [fork for fork in forks_between(after, until) if not field or fork.field in field]
    if as_json:
        click.echo(json_text(found))
    elif markdown:
        click.echo(forks_markdown(found), nl=False)
    else:
        console(highlight=False).print(forks_table(found))
