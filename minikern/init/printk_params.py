"""Whether the log shows times, and words that matter after the boot only.

Source: kernel/printk/printk.c, init/do_mounts.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import get_bool
from minikern.core.moduleparam import Parameter, a_bool, module_param, setup_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def printk_time(k: Kernel, value: str | None) -> bool:
    """``printk.time=``: whether lines are shown with their times. Source: kernel/printk/printk.c @ v6.12"""
    k.log.time = value is None or get_bool(value, k.log.time)
    return a_bool(k, value)


def after_boot(k: Kernel, rest: str) -> bool:
    """``root=`` and its like: used after the last line, if at all. Source: init/do_mounts.c @ v6.12"""
    return True


def alone(k: Kernel, rest: str) -> bool:
    """``ro``, ``rw``: nothing may follow. Source: init/do_mounts.c:readonly(), readwrite() @ v6.12"""
    return not rest


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    module_param("printk.time", printk_time),
    setup_param("ro", alone),
    setup_param("rw", alone),
    setup_param("init=", after_boot),
    setup_param("root=", after_boot),
    setup_param("rootflags=", after_boot),
    setup_param("rootfstype=", after_boot),
)
