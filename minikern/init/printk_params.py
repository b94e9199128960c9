"""What the command line says of the console's voice, and words that matter after the boot only.

The log is kept whole whatever a console shows. Source: kernel/printk/printk.c, init/main.c, init/do_mounts.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import get_bool, get_option
from minikern.core.moduleparam import Parameter, a_bool, early_param, module_param, setup_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def printk_time(k: Kernel, value: str | None) -> bool:
    """``printk.time=``: whether lines are shown with their times. Source: kernel/printk/printk.c @ v6.12"""
    k.log.time = value is None or get_bool(value, k.log.time)
    return a_bool(k, value)


def console_only(k: Kernel, value: str | None) -> bool:
    """``quiet``, ``debug``: what a console shows. Source: init/main.c:quiet_kernel(), debug_kernel() @ v6.12"""
    return True


def loglevel(k: Kernel, value: str | None) -> bool:
    """``loglevel=``: the same by a number. Source: init/main.c:loglevel() @ v6.12"""
    return get_option(value) is not None


def ignore_loglevel_setup(k: Kernel, value: str | None) -> bool:
    """``ignore_loglevel``: a console shows everything. Source: kernel/printk/printk.c:ignore_loglevel_setup()"""
    k.printk("printk: debug: ignoring loglevel setting.")
    return True


def after_boot(k: Kernel, rest: str) -> bool:
    """``root=`` and its like: used after the last line, if at all. Source: init/do_mounts.c @ v6.12"""
    return True


def alone(k: Kernel, rest: str) -> bool:
    """``ro``, ``rw``: nothing may follow. Source: init/do_mounts.c:readonly(), readwrite() @ v6.12"""
    return not rest


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    module_param("printk.time", printk_time),
    early_param("quiet", console_only),
    early_param("debug", console_only),
    early_param("loglevel", loglevel),
    early_param("ignore_loglevel", ignore_loglevel_setup),
    setup_param("ro", alone),
    setup_param("rw", alone),
    setup_param("init=", after_boot),
    setup_param("root=", after_boot),
    setup_param("rootflags=", after_boot),
    setup_param("rootfstype=", after_boot),
)
