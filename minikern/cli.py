"""The command line: parse, call, print. Products go to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from minikern import __version__

VARIABLE = "_MINIKERN_COMPLETE"
COMMANDS = {
    "boot": "Print the dmesg of one boot.",
    "compare": "Boot the ladder of variants and print phases and totals side by side.",
    "blame": "Print where the simulated time of one boot went, largest first.",
    "critical-chain": "Print what waited for what on the way to /init.",
    "fit": "A machine with its own unit costs, from the time stamps of its boot logs.",
    "kexec": "Load a kernel, hand over to it, verify it and boot it.",
    "downtime": "The gap in a guest's traffic while its host boots another kernel.",
    "report": "Write one page that shows a whole boot.",
    "sweep": "Boot a whole plan: machines x kernels x variants x parameters x drawn costs.",
    "explore": "Try many legal orders of CPU bring-up and check each one.",
    "bench": "Time the struct-page kernels on this computer.",
    "check": "Verify and time an algorithm of your own.",
    "proc": "Print /proc's view of memory after a boot.",
    "machine": "The machines: list them, show one, write one out as files.",
    "capture": "Print a script that gathers a machine into one archive.",
    "acpi": "ACPI tables: the namespace, values, costs, what two versions differ in.",
    "pci": "The PCI tree: functions, windows, sizes, IOMMU groups, costs, what is needed.",
    "kernel": "The kernels: list them, show one, what changed between them, their parameters.",
    "variant": "The variants: list them, show one.",
    "explain": "Say what a line of any boot log means.",
    "picture": "Draw memory, free lists, CPU bring-up, trees, a kexec image or the ladder.",
    "completion": "Print a script that completes words in a shell.",
    "man": "Print the manual page.",
    "learn": "Lessons that run: questions the emulator answers, things to break, functions to write.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that ``--help`` costs nothing.

    A command called ``a-name`` is the object ``a_name`` in ``minikern.commands.a_name``.
    """

    def main(self, *words: Any, **settings: Any) -> Any:
        """Run a command. Whatever is wrong with its words is told in one line, as everything else is."""
        if not settings.get("standalone_mode", True):
            return super().main(*words, **settings)
        settings["standalone_mode"] = False
        try:
            status = super().main(*words, **settings)
        except click.ClickException as error:
            _tell(error)
            sys.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("minikern: interrupted", err=True)
            sys.exit(130)
        sys.exit(status if isinstance(status, int) else 0)

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **settings: Any) -> click.Context:
        """The context of one command line. click.UsageError: a word of it is no text."""
        _check_words(args)
        return super().make_context(info_name, args, *more, **settings)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"minikern.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return self._completed(command)

    @staticmethod
    def _completed(command: click.Command) -> click.Command:
        # Only a shell that completes words asks for what may stand where.
        if VARIABLE not in os.environ:
            return command
        from minikern.commands.completion import with_completion

        return with_completion(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _check_words(words: Sequence[str]) -> None:
    for number, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError as error:
            where = f"byte {len(word[: error.start].encode())} of word {number}"
            raise click.UsageError(f"the command line is not UTF-8 text: {where}") from None


def _tell(error: click.ClickException) -> None:
    from minikern.host.terminal import one_line

    if type(error).__name__ == "NoArgsIsHelpError":  # click 8.2: a group without a command is asked for its help
        error.show()
        return
    context = getattr(error, "ctx", None)
    hint = f" ({context.command_path} --help)" if context is not None else ""
    click.echo(f"minikern: {one_line(error.format_message())}{hint}", err=True)


# Colour is left to the streams: a pipe gets every byte, also those that look like colour.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "color": True}


def _show_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        from minikern.commands.versions import version_text

        click.echo(version_text(__version__))
        ctx.exit()


@click.group(cls=LazyGroup, context_settings=SETTINGS)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Versions.")
def main() -> None:
    """Boot-path emulator: boots a described machine through a faithful miniature of the Linux x86-64 boot path.

    MACHINE is a preset (see `minikern machine list`), a TOML file, the boot log of any Linux machine (plain or packed;
    - reads it from standard input), or a folder captured from a real machine.

    \b
    Examples:
      minikern compare                       which optimisation pays on the built-in server
      dmesg | minikern compare -             which one pays on this computer, by its own boot log
      minikern boot laptop | less            the boot log of a made-up laptop
      minikern boot tiny --numa 128M,cpus=0 --numa 128M,cpus=1
    """
