"""``minikern machine``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minikern.commands.common import load_machine_fields, machine_options, reported


@click.group()
def machine() -> None:
    """The machines: list them, show one, write one out as files.

    \b
    Example:
      minikern machine dump tiny /tmp/tiny && minikern boot /tmp/tiny
    """


@machine.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the names and titles as JSON.")
@reported
def machine_list(as_json: bool) -> None:
    """List the machines: those that come with minikern and your own.

    \b
    Example:
      minikern machine list
    """
    from minikern.describe.presets import load_machine, machine_names

    rows = [{"name": name, "title": load_machine(name).title} for name in machine_names()]
    if as_json:
        import json

        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']:12s} {row['title']}")


@machine.command("show")
@machine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of TOML.")
@reported
def machine_show(as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """Print the resolved description of a machine as TOML, which then boots as a machine of yours.

    \b
    Example:
      minikern machine show lpc2023 --memory 1T > mine.toml && minikern compare mine.toml
    """
    from hw.memmap import complete_memory
    from hw.spec import check_spec
    from minikern.describe.case import with_costs
    from minikern.lab.run import choose_release
    from minikern.report.json_text import json_text
    from minikern.report.machine_files import spec_toml

    spec, _ = load_machine_fields(machine)
    check_spec(spec)
    complete_memory(spec)
    spec.append = " ".join(part for part in (spec.append, append) if part)
    spec.release = choose_release(spec, kernel).name
    spec = with_costs(spec)
    if as_json:
        click.echo(json_text(spec))
    else:
        click.echo(spec_toml(spec), nl=False)


@machine.command("dump")
@machine_options
@click.argument("folder", type=click.Path(path_type=Path))
@reported
def machine_dump(folder: Path, append: str, kernel: str, **machine: Any) -> None:
    """Write a machine's files into FOLDER, which then boots like a captured machine.

    \b
    Example:
      minikern machine dump laptop my-laptop && minikern boot my-laptop
    """
    from minikern.host.output import new_folder
    from minikern.lab.run import boot as run
    from minikern.report.machine_files import dump_machine

    spec, options = load_machine_fields(machine)
    done = run(spec, None, kernel, append, options)
    with new_folder(folder) as draft:
        dump_machine(done, draft)
    click.echo(str(folder))
