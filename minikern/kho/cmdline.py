"""``kho=``, ``kho_scratch=`` and ``liveupdate=``. Source: kernel/liveupdate/kexec_handover.c, luo_core.c @ v7.2"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minikern.core.cmdline import kstrtobool, memparse
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level
from minikern.state.kho import ScratchSizes

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

UINT_MAX = 2**32 - 1
SCALE_CHARS = 11  # buffer of the percentage, with its end
MIB_SHIFT = 20


def kho_parse_enable(k: Kernel, value: str | None) -> bool:
    """``kho=``: set scratch aside and hand over, or not."""
    enabled = kstrtobool(value)
    k.kho.enabled = k.kho.enabled if enabled is None else enabled
    return enabled is not None


def early_liveupdate_param(k: Kernel, value: str | None) -> bool:
    """``liveupdate=``: offer the orchestrator to user space, or not. Source: kernel/liveupdate/luo_core.c"""
    enabled = kstrtobool(value)
    k.kho.liveupdate = k.kho.liveupdate if enabled is None else enabled
    return enabled is not None


def kho_parse_scratch_size(k: Kernel, value: str | None) -> bool:
    """``kho_scratch=N%`` or ``LOWMEM,GLOBAL,PERNODE``, not all of them 0."""
    if not value:
        return False
    if value.endswith("%"):
        return _parse_scale(k, value[:-1])
    sizes = _three_sizes(value)
    if sizes is None or not sum(sizes):
        return False
    k.kho.explicit = sizes
    lowmem, global_, pernode = (size >> MIB_SHIFT for size in sizes)
    k.printk(f"KHO: scratch areas: lowmem: {lowmem}MiB global: {global_}MiB pernode: {pernode}MiB", Level.NOTICE)
    return True


def _parse_scale(k: Kernel, digits: str) -> bool:
    if len(digits) + 1 > SCALE_CHARS or not re.fullmatch(r"\+?[0-9]+", digits) or int(digits) > UINT_MAX:
        return False
    k.kho.scale = int(digits)
    k.printk(f"KHO: scratch scale is {k.kho.scale}%", Level.NOTICE)
    return True


def _three_sizes(text: str) -> ScratchSizes | None:
    sizes = []
    for index in range(3):
        if index and not text.startswith(","):
            return None
        text = text.removeprefix(",") if index else text
        size, rest = memparse(text)
        if rest == text:
            return None
        sizes.append(size)
        text = rest
    return None if text else ScratchSizes(*sizes)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("kho", kho_parse_enable),
    early_param("kho_scratch", kho_parse_scratch_size),
    early_param("liveupdate", early_liveupdate_param),
)
