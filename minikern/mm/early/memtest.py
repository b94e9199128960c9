"""``memtest=``: write patterns to all free memory and read them back, before anybody uses it.

Source: mm/memtest.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import kstrtouint
from minikern.core.moduleparam import Parameter, early_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

# The order is Linux's: the last one is used first, and the list is gone through backwards.
PATTERNS = (
    0x0000000000000000, 0xFFFFFFFFFFFFFFFF, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0x1111111111111111,
    0x2222222222222222, 0x4444444444444444, 0x8888888888888888, 0x3333333333333333, 0x6666666666666666,
    0x9999999999999999, 0xCCCCCCCCCCCCCCCC, 0x7777777777777777, 0xBBBBBBBBBBBBBBBB, 0xDDDDDDDDDDDDDDDD,
    0xEEEEEEEEEEEEEEEE, 0x7A6C7258554E494C,
)  # fmt: skip
MAX_PASSES = 4 * len(PATTERNS)  # more would only say the same again


def parse_memtest(k: Kernel, value: str | None) -> bool:
    """``memtest``, ``memtest=``: False for what is no number. Source: mm/memtest.c:parse_memtest() @ v6.12"""
    return value is None or kstrtouint(value) is not None


def passes(k: Kernel) -> int:
    """How many patterns the command line asks for; the bare word means all."""
    count = 0
    for name, value in k.cmdline.args:
        if name == "memtest":
            if value is None:
                count = len(PATTERNS)
            else:
                number = kstrtouint(value)
                count = count if number is None else number
    return count


def early_memtest(k: Kernel, end: int) -> None:
    """Log the ranges tested, pass by pass. Emulated memory has no faults. Source: early_memtest(), do_one_pass()"""
    count = passes(k)
    if not count:
        return
    k.printk(f"early_memtest: # of tests: {count}")
    for index in range(count - 1, max(-1, count - 1 - MAX_PASSES), -1):
        pattern = PATTERNS[index % len(PATTERNS)]
        shown = int.from_bytes(pattern.to_bytes(8, "little"), "big")
        for start, stop, _ in k.memblock.free_ranges():
            stop = min(stop, end)
            if start < stop:
                k.printk(f"  {start:#018x} - {stop:#018x} pattern {shown:016x}")


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("memtest", parse_memtest, read_by=passes),
)
