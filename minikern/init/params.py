"""The command line is parsed: first the early options, later all other parameters; and who acts on which word.

Source: init/main.c:parse_early_param(), start_kernel(), kernel/params.c:parse_args() @ v6.12
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from minikern.core.cmdline import CommandLine, dashes
from minikern.core.moduleparam import Kind
from minikern.core.param_table import ParameterTable
from minikern.core.parameters import BY_CONFIG, Parameters, listed, load_parameters
from minikern.core.printk import Level
from minikern.init.declared import declared

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.core.release import Release

CONSOLE = "console"  # early consoles are offered this word too, early parameter or not


@lru_cache(maxsize=1)
def parameter_table() -> ParameterTable[Kernel]:
    """What all rooms declare."""
    return ParameterTable(declared())


def known_parameters(k: Kernel) -> Parameters:
    """The names this kernel knows, whether anybody here acts on them or not."""
    configured = frozenset(name for name, option in BY_CONFIG.items() if k.config.enabled(option))
    return load_parameters(k.release.parameters, configured)


def unmodelled_words(line: CommandLine, release: Release) -> list[str]:
    """The words of ``line`` that this release of Linux knows and nobody here gives an effect."""
    known = load_parameters(release.parameters, frozenset(BY_CONFIG))
    return parameter_table().unmodelled(known, listed(release.parameters)[Kind.RAW], line.args)


def parse_early_param(k: Kernel) -> None:
    """Early options, in the order given. Source: init/main.c:parse_early_param(), do_early_param() @ v6.12"""
    known, table = known_parameters(k), parameter_table()
    for name, value in k.cmdline.args:
        if dashes(name) in known.early or name == CONSOLE:
            for accepted in table.handed_over(Kind.EARLY, k, name, value):
                if not accepted:
                    k.printk(f"Malformed early option '{name}'", Level.WARNING)


def parse_args(k: Kernel) -> None:
    """All other parameters, in the order given; what nobody knows is kept for init.

    Source: init/main.c:unknown_bootoption(), kernel/params.c:parse_args() @ v6.12
    """
    known, table = known_parameters(k), parameter_table()
    for name, value in k.cmdline.args:
        for accepted in table.handed_over(Kind.PARAM, k, name, value):
            if not accepted:
                k.printk(f"Booting kernel: `{value or ''}' invalid for parameter `{name}'", Level.ERR)
        k.init_words.word(known, name, value, table.do_setup(k, name, value))


def kernel_command_line(k: Kernel) -> None:
    """The command line again, what its words do one after the other, and those that are no kernel parameters.

    Source: init/main.c:start_kernel(), print_unknown_bootoptions() @ v6.12
    """
    k.printk(f"Kernel command line: {k.cmdline.text}", Level.NOTICE)
    parse_args(k)
    words = " ".join(k.init_words.unknown)
    if words:
        k.printk(f'Unknown kernel command line parameters "{words}", will be passed to user space.', Level.NOTICE)
