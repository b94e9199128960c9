"""``minikern acpi``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from minikern.commands.common import EXIT_FAILED, OUTPUT, reported

SOURCE_HELP = "a machine, an acpidump text, a folder of .dat files, or .dat files"


def _sources(command: Callable[..., Any]) -> Callable[..., Any]:
    decorators = [
        click.argument("source", nargs=-1, required=True, metavar="SOURCE..."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        *_reading(),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _reading() -> list[Any]:
    return [
        click.option("--slack", is_flag=True, help="Read tables with the lenience Linux has (machines: always)."),
        click.option("--fill", default="0", metavar="BYTE", help="What the registers of tables alone start as."),
    ]


def _open(sources: Iterable[str], slack: bool, fill: str) -> Any:
    from hw.errors import InputError
    from minikern.lab.acpi_source import open_source

    try:
        byte = int(fill, 0)
    except ValueError:
        byte = -1
    if not 0 <= byte <= 0xFF:
        raise InputError(f"--fill {fill}: expected a byte, as 0xFF")
    return open_source(list(sources), slack or None, byte)


def _print_json(value: Any) -> None:
    import json

    click.echo(json.dumps(value, indent=2))


def _print(lines: Iterable[str]) -> None:
    click.echo("".join(f"{line}\n" for line in lines), nl=False)


@click.group()
def acpi() -> None:
    """Look into ACPI tables: the namespace, values, costs, and what two versions differ in.

    SOURCE is a machine (a preset, a TOML file, a captured folder, a boot log), an acpidump text, a folder of .dat
    files, or .dat files. The registers of tables without a machine are plain memory.

    \b
    Example:
      minikern acpi tree tiny --type Device
      minikern acpi eval acpidump.txt '\\_SB.PCI0._CRS'
    """


@acpi.command()
@_sources
@click.option("--type", "kind", default="", metavar="TYPE", help="Only objects of this type, as Device.")
@click.option("--path", default="", metavar="PATH", help="Only this object and what is below it.")
@reported
def tree(source: tuple[str, ...], as_json: bool, slack: bool, fill: str, kind: str, path: str) -> None:
    """The namespace: every object, its type and value; ids, status and driver of devices.

    \b
    Example:
      minikern acpi tree acpidump.txt --path '\\_SB.PCI0' --json
    """
    from hw.errors import InputError
    from minikern.lab.acpi_tree import rows
    from minikern.report.acpi import tree_lines
    from minikern.state.namespace import Kind

    names = [item.value for item in Kind]
    if kind and kind.lower() not in [name.lower() for name in names]:
        raise InputError(f"--type {kind}: expected one of {', '.join(names)}")
    found = rows(_open(source, slack, fill), kind, path)
    if as_json:
        _print_json(found)
    else:
        _print(tree_lines(found))


@acpi.command(name="eval", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, metavar="SOURCE... PATH [ARGS]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--trace", is_flag=True, help="Also print every term that is executed: method, place in the table, name.")
@click.option("--slack", is_flag=True, help="Read tables with the lenience Linux has (machines: always).")
@click.option("--fill", default="0", metavar="BYTE", help="What the registers of tables alone start as.")
@reported
def evaluate(words: tuple[str, ...], as_json: bool, trace: bool, slack: bool, fill: str) -> None:
    """Evaluate an object and say what its value means. PATH begins with a backslash.

    ARGS are numbers, (01 02) for a buffer, [1 2] for a package, all else strings.

    \b
    Example:
      minikern acpi eval tiny '\\_SB.PCI0._PRT'
      minikern acpi eval dsdt.dat ssdt.dat '\\_OSI' 'Windows 2015' --json
    """
    from minikern.lab.acpi_eval import answer
    from minikern.report.acpi import answer_json, answer_lines

    sources, path, args = _split(words)
    found = answer(_open(sources, slack, fill), path, args, trace)
    if as_json:
        _print_json(answer_json(found))
    else:
        _print(answer_lines(found))
        for line in found.messages:
            click.echo(line, err=True)
    if found.status != "AE_OK":
        click.echo(f"minikern: {path}: {found.status}{found.place}", err=True)
        sys.exit(EXIT_FAILED)


def _split(words: tuple[str, ...]) -> tuple[list[str], str, list[str]]:
    """Sources, path and arguments: the path is the first word after the sources that begins with a backslash."""
    from hw.errors import InputError

    for number, word in enumerate(words):
        if number and word.startswith("\\"):
            return list(words[:number]), word, list(words[number + 1 :])
    raise InputError(f"eval {' '.join(words)}: expected a source and a path that begins with a backslash")


@acpi.command()
@_sources
@reported
def tables(source: tuple[str, ...], as_json: bool, slack: bool, fill: str) -> None:
    """The tables: lengths, checksums, what each adds to the namespace, what overrides what.

    \b
    Example:
      minikern acpi tables acpidump.txt
    """
    from minikern.lab.acpi_tables import rows
    from minikern.report.acpi import table_lines

    found = rows(_open(source, slack, fill))
    if as_json:
        _print_json(found)
    else:
        _print(table_lines(found))


@acpi.command()
@_sources
@click.option("--flame", type=OUTPUT, help="Also write the calls as a flame graph's JSON.")
@reported
def cost(source: tuple[str, ...], as_json: bool, slack: bool, fill: str, flame: Path | None) -> None:
    """What a boot spends in this AML: by table, device, method and register.

    \b
    Example:
      minikern acpi cost lpc2023 --flame flame.json
    """
    import json

    from minikern.host.output import write_file
    from minikern.lab import acpi_cost
    from minikern.report.acpi import cost_lines

    costs = acpi_cost.measure(_open(source, slack, fill))
    groups = {"device": acpi_cost.by_device(costs), "method": acpi_cost.by_method(costs),
              "register": acpi_cost.by_register(costs)}  # fmt: skip
    total = acpi_cost.total_ns(costs)
    if flame is not None:
        text = json.dumps(acpi_cost.flame(costs), indent=1) + "\n"
        write_file(flame, text)
    if as_json:
        _print_json({"total_ns": total, "tables": costs.tables} | {f"by_{word}": rows for word, rows in groups.items()})
    else:
        _print(cost_lines(costs.tables, groups, total))


@acpi.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--slack", is_flag=True, help="Read tables with the lenience Linux has (machines: always).")
@click.option("--fill", default="0", metavar="BYTE", help="What the registers of tables alone start as.")
@reported
def diff(a: str, b: str, as_json: bool, slack: bool, fill: str) -> None:
    """Two firmware versions: what appeared (+), vanished (-), moved (>), changed (~) or costs otherwise ($).

    \b
    Example:
      minikern acpi diff old-acpidump.txt new-acpidump.txt
    """
    from minikern.lab.acpi_diff import difference
    from minikern.report.acpi import difference_lines

    found = difference(_open([a], slack, fill), _open([b], slack, fill))
    if as_json:
        _print_json(found)
    else:
        _print(difference_lines(found))
