"""What the commands share: the machine argument, errors as exit statuses, tables, progress."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from hw.errors import BusError, GeneralProtection, InputError, MachineStopped
from minikern.commands.numbers import Count

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from minikern.core.kernel import BootOptions
    from minikern.core.variant import Variant
    from minikern.describe.case import Case
    from minikern.lab.run import Boot

EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED, EXIT_INTERRUPTED = 1, 2, 3, 130
DEFAULT_MACHINE = "lpc2023"
LEAST_WIDTH = 20
SILENT_SECONDS = 1.0  # before a bar is drawn
NATURAL_WIDTH = 200  # columns that hold every table unfolded

P = ParamSpec("P")


class OutputPath(click.ParamType):  # type: ignore[type-arg] # generic since click 8.3 only
    """A file to be written: whatever is no place for one is refused before anything is booted."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from minikern.host.output import check_place

        path = Path(value)
        try:
            check_place(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return path


OUTPUT = OutputPath()
R = TypeVar("R")


def machine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The machine argument and the options that change it."""
    decorators = [
        click.argument("machine", default=DEFAULT_MACHINE, metavar="[MACHINE]"),
        click.option("--cpus", default="", metavar="N[,sockets=S,cores=C,threads=T]", help="CPUs, as QEMU's -smp."),
        click.option("--cpu", default="", metavar="NAME[,guest]", help="Processor, as 'Xeon Gold 6154' or 'Milan'."),
        click.option("--memory", default="", metavar="SIZE", help="Memory size, for instance 4G."),
        click.option("--nodes", type=Count(1, 1024), metavar="N", help="NUMA nodes of equal shares."),
        click.option("--numa", multiple=True, metavar="SIZE[,cpus=LIST]", help="One NUMA node; repeat for each."),
        click.option("--numa-distance", multiple=True, metavar="SRC,DST=VAL", help="Distance of two nodes."),
        click.option("--acpi", default="", metavar="FILE|FOLDER", help="ACPI tables: acpidump's text, or .dat files."),
        click.option("--pci", default="", metavar="FILE", help="PCI functions: lspci -xxxx."),
        click.option("--config", default="", metavar="FILE", help="The kernel's configuration."),
        click.option("--systemd", default="", metavar="FILE", help="What systemd-analyze printed after that boot."),
        click.option("--fault", multiple=True, metavar="KIND=CPUS[:N]", help="Break CPUs: dead=3, slow=2:15 (ms), ..."),
        click.option("--append", "-a", default="", metavar="WORDS", help="Words added to the kernel command line."),
        click.option("--kernel", default="", metavar="NAME|FILE", help="Kernel instead of the machine's own."),
        click.option("--costs", default="", metavar="FILE", help="Unit costs over the machine's: ns, source."),
        click.option(
            "--measured",
            multiple=True,
            metavar="[VARIANT:]PHASE=MS",
            help="A time known of the machine, as deferred=88: unit costs follow.",
        ),
        click.option(
            "--vmemmap",
            type=click.Choice(["auto", "full", "window", "counted"]),
            default="auto",
            show_default=True,
            help="Keep the whole memory map, compute it into a rotating window, or only count its pages.",
        ),
        click.option(
            "--times",
            type=click.Choice(["model", "host"]),
            default="model",
            show_default=True,
            help="Unit costs of memory and digest work: the machine's, or measured on this computer now.",
        ),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def fit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where a boot log's times come from."""
    for decorate in (
        click.option("--no-fit", is_flag=True, help="Leave the time stamps of a boot log alone."),
        click.option("--fit", multiple=True, metavar="LOG", help="Times from another boot of the machine; repeatable."),
    ):
        command = decorate(command)
    return command


def reported(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors into one line on stderr and the exit status that fits."""

    @wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = command(*args, **kwargs)
            if sys.stdout is not None:  # closed by the shell: >&-
                sys.stdout.flush()
            return result
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except InputError as error:
            tell(error)
            _drop_output(error)
            sys.exit(EXIT_USAGE)
        except (MachineStopped, BusError, GeneralProtection) as error:
            tell(f"the machine stopped: {error}")
            sys.exit(EXIT_STOPPED)
        except BrokenPipeError:
            # The reader of our output went away, as in `minikern boot | head`.
            _drop_output()
            sys.exit(0)
        except KeyboardInterrupt:
            tell("interrupted")
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:
            if os.environ.get("MINIKERN_TRACEBACK"):
                raise
            said, status = unforeseen(error)
            tell(said)
            _drop_output(error)
            sys.exit(status)

    return wrapper


def unforeseen(error: Exception) -> tuple[str, int]:
    """What is said of an error that no room told in its own words, and the exit status."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "this computer has not the memory for it (see --vmemmap window)", EXIT_STOPPED
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read", EXIT_USAGE
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}", EXIT_USAGE
    what = f"{type(error).__name__}: {error}"
    return f"internal error, please report it: {what} (MINIKERN_TRACEBACK=1 shows where)", EXIT_STOPPED


def tell(what: object) -> None:
    """One line on stderr."""
    from minikern.host.terminal import one_line

    click.echo(f"minikern: {one_line(str(what))}", err=True)


def _drop_output(error: Exception | None = None) -> None:
    # What is still buffered cannot be written; without this Python would try once more at exit.
    from minikern.host.terminal import OutputLost

    if sys.stdout is not None and (error is None or isinstance(error, OutputLost)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def load_machine_fields(fields: dict[str, Any]) -> tuple[Case, BootOptions]:
    from hw.faults import add_fault, without_effect
    from hw.spelling import check_names
    from minikern.commands.fitting import spooled, timed_spec
    from minikern.core.cost_table import load_costs
    from minikern.core.kernel import BootOptions
    from minikern.describe.adjust import Adjustments, adjust
    from minikern.describe.presets import load_machine
    from minikern.lab.figures_table import figure_names

    if "fit" in fields:
        fields["machine"] = spooled(fields["machine"])
    spec = load_machine(fields["machine"])
    _lay_beside(spec, [fields.get(name, "") for name in ("acpi", "pci", "config", "systemd")])
    if spec.figures:
        check_names(f"{fields['machine']}: figures", "set of published figures", [spec.figures], figure_names())
    for note in spec.notes:
        click.echo(f"minikern: {note}", err=True)
    if "fit" in fields:
        spec = timed_spec(spec, fields["machine"], fields["fit"], fields["no_fit"])
    told = ("cpus", "cpu", "memory", "numa", "numa_distance")
    adjust(spec, Adjustments(**{name: fields[name] for name in told}, nodes=fields["nodes"] or 0))
    for option in fields["fault"]:
        add_fault(spec.faults, option)
    for line in without_effect(spec.faults, spec.boot.microcode):
        click.echo(f"minikern: {line}", err=True)
    if any(fields[name] for name in ("cpus", "cpu", "memory", "nodes", "numa", "fault")):
        spec.told = {}  # it is another machine on purpose
    if fields.get("times") == "host":
        _measure_costs(spec)
    if fields.get("costs"):
        spec.costs = {**spec.costs, **load_costs(Path(fields["costs"]))}
    return _measured(spec, fields["measured"]), BootOptions(vmemmap=fields["vmemmap"])


def _lay_beside(spec: Case, names: list[str]) -> None:
    if any(names):
        from minikern.describe.beside import Beside, lay_over

        lay_over(spec, Beside(*names))


def _measured(spec: Case, told: tuple[str, ...]) -> Case:
    # What its description or the command line says of its times, of a boot with the kernel and the words asked for.
    if not spec.measured and not told:
        return spec
    from minikern.lab.fit.measured import fit_measured, parse_measured

    spec.measured = [*spec.measured, *map(parse_measured, told)]
    asked = click.get_current_context().params
    fitted = fit_measured(spec, asked.get("kernel") or "", asked.get("append") or "")
    for note in fitted.notes[len(spec.notes) :]:
        click.echo(f"minikern: {note}", err=True)
    return fitted


def tell_differences(done: Boot) -> None:
    """Say in one line which figures of a boot are not those of the log its machine was made from."""
    if not done.spec.told:
        return
    from minikern.report.boot_json import unlike_its_log

    if found := unlike_its_log(done):
        click.echo(f"minikern: not as its log says: {', '.join(found)}", err=True)


def _measure_costs(spec: Case) -> None:
    # Once, before anything is booted or forked: all rungs of a ladder stand on the same rates.
    from minikern.lab.host_costs import host_costs

    measured = host_costs()
    spec.costs = {**spec.costs, **measured}
    spec.figures = ""  # published figures are of the machine's own rates
    example = f"a struct page takes {measured['struct_page_init'].ns:.2f} ns"
    what = f"{len(measured)} unit costs of memory and digest work measured on this computer ({example})"
    click.echo(f"minikern: --times host: {what}; all other costs are the machine's", err=True)


def tell_unmodelled(spec: Case, variants: Iterable[Variant | None], append: str, kernel: str) -> None:
    """Say once which words of these boots' command lines Linux knows and minikern does not model."""
    from minikern.init.params import unmodelled_words
    from minikern.lab.run import choose_release, command_line

    release = choose_release(spec, kernel)
    lines = [command_line(spec, variant, append) for variant in variants]
    words = dict.fromkeys(word for line in lines for word in unmodelled_words(line, release))
    if words:
        click.echo(f"minikern: known to Linux, not modelled here: {' '.join(words)}", err=True)


def tell_skipped(boots: Iterable[Boot]) -> None:
    """Say which PCI functions a boot was asked to leave out, and what for."""
    from minikern.lab.pci_skipped import skipped_text

    for text in dict.fromkeys(filter(None, map(skipped_text, boots))):
        click.echo(f"minikern: {text}", err=True)


def load_named_variant(name: str) -> Variant | None:
    from minikern.core.variant import load_variant

    return load_variant(name) if name else None


def variant_of(spec: Case, kernel: str, name: str) -> Variant | None:
    """The variant called ``name`` as this machine boots it: where its own boot is on record, a change to that."""
    from minikern.lab.own import is_own, on_machine

    chosen = load_named_variant(name)
    if chosen is None:
        return None
    if is_own(spec, kernel) and chosen.against:
        tell(f"{chosen.name}: what it changes over {chosen.against}, on the kernel and the words of the log")
    return on_machine(spec, kernel, chosen)


def show_sheets(sheets: list[Any], markdown: bool) -> None:
    if markdown:
        click.echo("\n".join(sheet.markdown() for sheet in sheets), nl=False)
        return
    from minikern.host.terminal import console
    from minikern.report.tables import print_sheets

    print_sheets(sheets, console(width=max(console().width, NATURAL_WIDTH)), told_width())


def told_width() -> int:
    """Columns no line is longer than: on a terminal, or where COLUMNS says so; 0 in a pipe, which takes any width."""
    from minikern.host.terminal import console, told_size

    told = sys.stdout.isatty() or told_size("COLUMNS")
    return max(console().width, LEAST_WIDTH) if told else 0


class Progress:
    """A bar on stderr for steps that are named as they begin, once a second has passed and where somebody waits."""

    def __init__(self, what: str, steps: int) -> None:
        from minikern.commands.waiting import somebody_waits

        self._what = what
        self._steps = steps
        self._begun = time.monotonic()
        self._named = 0
        self._shown = somebody_waits()
        self._bar: RichProgress | None = None

    def __call__(self, name: str) -> None:
        self._named += 1
        if not self._shown or time.monotonic() - self._begun < SILENT_SECONDS:
            return
        if self._bar is None:
            self._bar = self._drawn()
        # No refresh thread: boots are forked beside the bar.
        self._bar.update(self._bar.task_ids[0], description=f"{self._what} {name}", completed=self._named - 1)
        self._bar.refresh()

    def _drawn(self) -> RichProgress:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        from minikern.host.terminal import console

        bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console(stderr=True),
            transient=True, auto_refresh=False,
        )  # fmt: skip
        bar.add_task(self._what, total=self._steps)
        bar.start()
        return bar

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()
