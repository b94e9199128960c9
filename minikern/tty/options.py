"""Parameters of consoles: how much they are told, which there are, and the early ones.

Source: init/main.c, kernel/printk/printk.c, arch/x86/kernel/early_printk.c, drivers/tty/serial/earlycon.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import get_option
from minikern.core.console import LOGLEVEL_DEBUG, LOGLEVEL_QUIET
from minikern.core.moduleparam import Parameter, early_param
from minikern.tty.early import setup_early_printk, setup_earlycon

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def quiet_kernel(k: Kernel, value: str | None) -> bool:
    """``quiet``: only what is worse than a warning."""
    k.consoles.loglevel = LOGLEVEL_QUIET
    return True


def debug_kernel(k: Kernel, value: str | None) -> bool:
    """``debug``: everything."""
    k.consoles.loglevel = LOGLEVEL_DEBUG
    return True


def loglevel(k: Kernel, value: str | None) -> bool:
    """``loglevel=N``: what is below N."""
    level = get_option(value)
    if level is not None:
        k.consoles.loglevel = level
    return level is not None


def ignore_loglevel_setup(k: Kernel, value: str | None) -> bool:
    """``ignore_loglevel``: everything, whatever else is said."""
    k.consoles.ignore_loglevel = True
    k.printk("printk: debug: ignoring loglevel setting.")
    return True


def keep_bootcon_setup(k: Kernel, value: str | None) -> bool:
    """``keep_bootcon``: early consoles stay."""
    k.consoles.keep_bootcon = True
    k.printk("printk: debug: skip boot console de-registration.")
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("quiet", quiet_kernel),
    early_param("debug", debug_kernel),
    early_param("loglevel", loglevel),
    early_param("ignore_loglevel", ignore_loglevel_setup),
    early_param("keep_bootcon", keep_bootcon_setup),
    early_param("earlyprintk", setup_early_printk),
    early_param("earlycon", setup_earlycon),
    early_param("console", setup_earlycon),  # a place is as good as a name here
)
