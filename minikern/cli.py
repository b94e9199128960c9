"""The command line: parse, call, print. Products go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from hw.errors import InputError, MachineStopped
from minikern import __version__

if TYPE_CHECKING:
    from hw.spec import MachineSpec
    from minikern.config import Variant
    from minikern.kernel import BootOptions

EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_INTERRUPTED = 1, 2, 3, 130
DEFAULT_MACHINE = "lpc2023"

P = ParamSpec("P")
R = TypeVar("R")


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The machine argument and the options that change it."""
    decorators = [
        click.argument("machine", default=DEFAULT_MACHINE, metavar="[MACHINE]"),
        click.option("--cpus", default="", metavar="N[,sockets=S,cores=C,threads=T]", help="Processors, as QEMU's -smp."),
        click.option("--memory", default="", metavar="SIZE", help="Memory size, for instance 4G."),
        click.option("--numa", multiple=True, metavar="SIZE[,cpus=LIST]", help="One NUMA node; repeat for each."),
        click.option("--numa-distance", multiple=True, metavar="SRC,DST=VAL", help="Distance of two nodes."),
        click.option("--append", "-a", default="", metavar="WORDS", help="Words added to the kernel command line."),
        click.option("--kernel", default="", metavar="RELEASE", help="Kernel release instead of the machine's own."),
        click.option(
            "--vmemmap",
            type=click.Choice(["auto", "full", "window"]),
            default="auto",
            show_default=True,
            help="Keep the whole memory map, or compute it into a rotating window.",
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors into one line on stderr and the exit status that fits."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except InputError as error:
            click.echo(f"minikern: {error}", err=True)
            sys.exit(EXIT_USAGE)
        except MachineStopped as error:
            click.echo(f"minikern: the machine stopped: {error}", err=True)
            sys.exit(EXIT_STOPPED)
        except BrokenPipeError:
            # The reader of our output went away, as in `minikern boot | head`.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except KeyboardInterrupt:
            click.echo("minikern: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)

    return wrapper


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="minikern")
def main() -> None:
    """Boot-path emulator: boots a described machine through a faithful miniature of the Linux x86-64 boot path.

    MACHINE is a preset (see `minikern machine list`), a TOML file, or a folder captured from a real machine.

    \b
    Examples:
      minikern compare                       which optimisation pays on the built-in server
      minikern boot laptop | less            the boot log of a made-up laptop
      minikern boot tiny --numa 128M,cpus=0 --numa 128M,cpus=1
    """


@main.command()
@machine_options
@click.option("--variant", default="", metavar="NAME", help="Boot as this rung of the ladder.")
@click.option("--check", is_flag=True, help="Verify the whole memory map after the boot.")
@click.option("--json", "as_json", is_flag=True, help="Lines with their times, phases and the ledger as JSON.")
@reported
def boot(variant: str, check: bool, as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """Print the dmesg of one boot.

    \b
    Example:
      minikern boot lpc2023 --variant hvo-skip | grep HugeTLB
    """
    from minikern.lab.run import boot as run
    from minikern.report.dmesg import format_dmesg

    spec, options = _machine(machine)
    try:
        done = run(spec, _variant(variant), kernel, append, options)
    except MachineStopped as error:
        stopped = getattr(error, "kernel", None)
        if stopped is not None and not as_json:
            click.echo(format_dmesg(stopped), nl=False)
            click.echo(f"Kernel panic - not syncing: {error}")
        raise
    if as_json:
        from minikern.report.boot_json import boot_json

        click.echo(boot_json(done))
    else:
        click.echo(format_dmesg(done.kernel), nl=False)
    if check:
        _check(done)


def _check(done: Any) -> None:
    from minikern.mm.page_check import check_memmap

    result = check_memmap(done.kernel)
    click.echo(f"minikern: {result}", err=True)
    if not result.ok:
        sys.exit(EXIT_FAILED)


@main.command()
@machine_options
@click.option("--variants", default="", metavar="A,B,...", help="Rungs to boot instead of the whole ladder.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg|png", help="Draw one bar a log line.")
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reported
def compare(
    variants: str, plot: Path | None, markdown: bool, as_json: bool, append: str, kernel: str, **machine: Any
) -> None:
    """Boot the ladder of variants and print phases and totals side by side.

    \b
    Example:
      minikern compare lpc2023 --variants deferred,parallel-smp --plot ladder.svg
    """
    from minikern.lab.compare import choose_variants, run_ladder

    spec, options = _machine(machine)
    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    if plot is not None:
        _check_plot_target(plot)
    with _progress("booting", len(chosen)) as step:
        ladder, logs = run_ladder(spec, chosen, kernel, append, options, step)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(ladder), indent=2).decode())
    else:
        from minikern.report.tables import ladder_sheets

        _print_sheets(ladder_sheets(ladder), markdown)
    if plot is not None:
        from minikern.report.plot import plot_ladder

        plot_ladder(ladder, logs, plot)


def _check_plot_target(path: Path) -> None:
    # Said before the boots, not after them.
    from minikern.report.plot import FORMATS

    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot: {path}: expected a file ending in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"--plot: {path.parent} is no folder")


@main.command()
@machine_options
@click.option("--variant", default="", metavar="NAME", help="Boot as this rung of the ladder.")
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@reported
def blame(variant: str, markdown: bool, as_json: bool, append: str, kernel: str, **machine: Any) -> None:
    """Print where the simulated time of one boot went, largest first.

    \b
    Example:
      minikern blame lpc2023 --variant parallel-smp | head -20
    """
    from minikern.lab.run import boot as run
    from minikern.report import tables

    spec, options = _machine(machine)
    done = run(spec, _variant(variant), kernel, append, options)
    rows = tables.blame(done.kernel.ledger.entries())
    if as_json:
        import msgspec

        body = {"machine": spec.name, "variant": done.name, "clock": "simulated", "total_ns": done.total_ns}
        body["entries"] = [row._asdict() for row in rows]  # type: ignore[assignment]
        click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
        return
    title = f"{spec.name}, {done.name}: {done.total_ns / 1e6:.1f} simulated ms to /init"
    _print_sheets([tables.blame_sheet(rows, done.total_ns, title)], markdown)


@main.group()
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
    """List the machines that come with minikern."""
    from hw.presets import load_preset, preset_names

    rows = [{"name": name, "title": load_preset(name).title} for name in preset_names()]
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
    """Print the resolved description of a machine as TOML."""
    import msgspec

    from hw.memmap import complete_memory
    from hw.spec import check_spec
    from minikern.lab.run import choose_release
    from minikern.report.machine_files import spec_toml

    spec, _ = _machine(machine)
    check_spec(spec)
    complete_memory(spec)
    spec.append = " ".join(part for part in (spec.append, append) if part)
    spec.release = choose_release(spec, kernel).name
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(spec), indent=2).decode())
    else:
        click.echo(spec_toml(spec), nl=False)


@machine.command("dump")
@machine_options
@click.argument("folder", type=click.Path(path_type=Path))
@reported
def machine_dump(folder: Path, append: str, kernel: str, **machine: Any) -> None:
    """Write a machine's files into FOLDER, which then boots like a captured machine."""
    from minikern.lab.run import boot as run
    from minikern.report.machine_files import dump_machine
    from minikern.report.output import new_folder

    spec, options = _machine(machine)
    done = run(spec, None, kernel, append, options)
    with new_folder(folder) as draft:
        dump_machine(done, draft)
    click.echo(str(folder))


def _machine(fields: dict[str, Any]) -> tuple[MachineSpec, BootOptions]:
    from hw.adjust import Adjustments, adjust
    from hw.presets import load_machine
    from minikern.kernel import BootOptions

    spec = load_machine(fields["machine"])
    adjust(spec, Adjustments(fields["cpus"], fields["memory"], fields["numa"], fields["numa_distance"]))
    return spec, BootOptions(vmemmap=fields["vmemmap"])


def _variant(name: str) -> Variant | None:
    from minikern.config import load_variant

    return load_variant(name) if name else None


def _print_sheets(sheets: list[Any], markdown: bool) -> None:
    if markdown:
        click.echo("\n".join(sheet.markdown() for sheet in sheets), nl=False)
        return
    from rich.console import Console

    from minikern.report.tables import print_sheets

    console = Console()
    # Piped output is as wide as its contents; a terminal folds.
    print_sheets(sheets, console if console.is_terminal else Console(width=200))


class _Progress:
    """A bar on stderr for steps that are named as they begin; nothing where stderr is no terminal."""

    def __init__(self, what: str, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True),
            transient=True, disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=steps)
        self._what = what
        self._started = False

    def __call__(self, name: str) -> None:
        self._bar.update(self._task, description=f"{self._what} {name}", advance=1 if self._started else 0)
        self._started = True

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()


def _progress(what: str, steps: int) -> _Progress:
    return _Progress(what, steps)
