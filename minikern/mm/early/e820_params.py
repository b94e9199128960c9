"""``mem=`` and ``memmap=``: the user's changes of the memory map.

Source: arch/x86/kernel/e820.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import memparse, strtoull
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level
from minikern.mm.early.e820 import (
    ULLONG_MAX,
    debug_change,
    e820__range_add,
    e820__range_remove,
    e820__range_update,
    logged_change,
    logged_type,
)
from minikern.state.e820 import Type

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def parse_memopt(k: Kernel, value: str | None) -> bool:
    """``mem=``: forget RAM from there on. Source: arch/x86/kernel/e820.c:parse_memopt() @ v6.12"""
    if value is None:
        return False
    if value == "nopentium":
        k.printk("mem=nopentium ignored! (only supported on x86_32)", Level.WARNING)
        return False
    k.e820.user_defined = True  # even a size that is none makes the map the user's
    size, _ = memparse(value)
    if size:
        _remove_ram_from(k, size)
    return size != 0


def _remove_ram_from(k: Kernel, start: int) -> None:
    debug_change(k, "remove", start, ULLONG_MAX - start, logged_type(k, Type.RAM))
    k.e820.table = e820__range_remove(k.e820.table, start, ULLONG_MAX - start, Type.RAM, True)


def parse_memmap_opt(k: Kernel, value: str | None) -> bool:
    """``memmap=``: comma-separated changes. Source: arch/x86/kernel/e820.c:parse_memmap_opt() @ v6.12"""
    for word in (value or "").split(","):
        if word:
            _parse_memmap_one(k, word)
    return True


def _parse_memmap_one(k: Kernel, word: str) -> None:
    if word.startswith("exactmap"):
        k.e820.table, k.e820.user_defined = [], True
        return
    size, rest = memparse(word)
    if rest == word:
        return
    k.e820.user_defined = True
    sign, where = rest[:1], rest[1:]
    start, tail = memparse(where)
    added = {"@": Type.RAM, "#": Type.ACPI, "$": Type.RESERVED, "!": Type.PRAM}
    if sign in added:
        e820__range_add(k, start, size, added[sign])
    elif sign == "%":
        _retype(k, start, size, tail)
    else:
        _remove_ram_from(k, size)


def _retype(k: Kernel, start: int, size: int, tail: str) -> None:
    # "%start-old+new": types are plain numbers, and whatever follows them makes the word void.
    old = new = 0
    if tail.startswith("-"):
        old, tail = strtoull(tail[1:])
    if tail.startswith("+"):
        new, tail = strtoull(tail[1:])
    old, new = old & 0xFFFF_FFFF, new & 0xFFFF_FFFF  # enum e820_type
    if tail:
        return
    if old and new:
        debug_change(k, "update", start, size, logged_change(k, old, new))
        k.e820.table = e820__range_update(k.e820.table, start, size, old, new)
    elif new:
        e820__range_add(k, start, size, new)
    else:
        debug_change(k, "remove", start, size, logged_type(k, old) if old else "")
        k.e820.table = e820__range_remove(k.e820.table, start, size, old, bool(old))


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("mem", parse_memopt),
    early_param("memmap", parse_memmap_opt),
)
