"""The log as dmesg prints it."""

from __future__ import annotations

from minikern.core.kernel import Kernel
from minikern.core.printk import Level, LogLine

NS_PER_S = 1_000_000_000


def format_dmesg(kernel: Kernel) -> str:
    """All lines with their time stamps, ``[seconds.microseconds]``; ``printk.time=0`` leaves them out.

    Lines of debug level are left out for a machine made from a log that has none of them.

    Source: kernel/printk/printk.c:print_time() @ v6.12
    """
    return "".join(f"{line}\n" for line in dmesg_lines(kernel))


def dmesg_lines(kernel: Kernel) -> list[str]:
    """The same line by line. A text may hold what ends a line elsewhere, so that splitting it again gives others."""
    stamped = kernel.log.time
    return [f"{stamp(line.ts_ns) if stamped else ''}{line.text}" for line in printed_lines(kernel)]


def printed_lines(kernel: Kernel) -> list[LogLine]:
    """The lines that format_dmesg() shows."""
    lowest = Level.DEBUG if kernel.release.facts.debug_lines else Level.INFO
    return [line for line in kernel.log.lines if line.level <= lowest]


def stamp(ts_ns: int) -> str:
    """The time stamp of one line."""
    seconds, rest = divmod(ts_ns, NS_PER_S)
    return f"[{seconds:5d}.{rest // 1000:06d}] "
