"""The command line: parse, call, print. Products go to stdout, everything else to stderr."""

from __future__ import annotations

from importlib import import_module

import click

from minikern import __version__

COMMANDS = {
    "boot": "Print the dmesg of one boot.",
    "compare": "Boot the ladder of variants and print phases and totals side by side.",
    "blame": "Print where the simulated time of one boot went, largest first.",
    "critical-chain": "Print what waited for what on the way to /init.",
    "fit": "A machine with its own unit costs, from the time stamps of its boot logs.",
    "kexec": "Load a kernel, hand over to it, verify it and boot it.",
    "downtime": "The gap in a guest's traffic while its host boots another kernel.",
    "explore": "Try many legal orders of CPU bring-up and check each one.",
    "bench": "Time the struct-page kernels on this computer.",
    "check": "Verify and time an algorithm of your own.",
    "proc": "Print /proc's view of memory after a boot.",
    "machine": "The machines: list them, show one, write one out as files.",
    "capture": "Print a script that gathers a machine into one archive.",
    "acpi": "ACPI tables: the namespace, values, costs, what two versions differ in.",
    "kernel": "The kernels: list them, show one, what changed between them, their parameters.",
    "variant": "The variants: list them, show one.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that ``--help`` costs nothing.

    A command called ``a-name`` is the object ``a_name`` in ``minikern.commands.a_name``.
    """

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an interruption while its modules are loaded ends like one in it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("minikern: interrupted", err=True)
            ctx.exit(130)

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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="minikern")
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
