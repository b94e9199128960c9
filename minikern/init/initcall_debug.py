"""``initcall_debug``: a line before and after each initcall, for bootgraph.pl and its like.

Lengths of functions are a build's own and unknown here: each stands as ``+0x0/0x0``.
Source: init/main.c:trace_initcall_start_cb(), trace_initcall_finish_cb() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, a_bool, module_param
from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KERNEL_INIT = 1  # the process that runs them
NS_PER_US = 1000


@contextmanager
def initcall(k: Kernel, function: str) -> Iterator[None]:
    """What runs inside is initcall ``function``. Source: init/main.c:do_one_initcall() @ v6.12"""
    if not k.cmdline.get_bool("initcall_debug", False):
        yield
        return
    k.printk(f"calling  {function}+0x0/0x0 @ {KERNEL_INIT}", Level.DEBUG)
    started = k.machine.clock.now
    yield
    spent = _usecs(k, k.machine.clock.now - started)
    k.printk(f"initcall {function}+0x0/0x0 returned 0 after {spent} usecs", Level.DEBUG)


def _usecs(k: Kernel, spent_ns: int) -> int:
    return spent_ns // NS_PER_US if k.behaviour.initcall_usecs else spent_ns >> 10


PARAMETERS: tuple[Parameter[Kernel], ...] = (module_param("initcall_debug", a_bool, read_by=initcall),)
