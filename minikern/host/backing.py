"""How much of the memory map this computer holds: all of it, a window that is written round and round, or nothing."""

from __future__ import annotations

import contextlib
import mmap
import sys
from pathlib import Path
from typing import NamedTuple

from hw.errors import InputError
from minikern.host.nodes import STRETCH_SHIFT, host_nodes

MIB = 1 << 20
WINDOW_BYTES = 128 * MIB
NODE_WINDOW_BYTES = 64 << STRETCH_SHIFT  # one stretch for each node of this computer
CPU_WINDOW_BYTES = 4 * MIB  # two sections' maps: one is written, the next handed out
LLC_FALLBACK_BYTES = 64 * MIB
WINDOW_LIMIT_BYTES = 1024 * MIB
STORED_LIMIT_BYTES = 128 << 30  # of struct pages, those of 8 TiB: seconds of storing, where 64 TiB take minutes
BACKINGS = ("auto", "full", "window", "counted")
ROW_BYTES = 64  # one struct page


class Backing(NamedTuple):
    """How a memory map is kept: ``slots`` struct pages have a place (None: all), none of them if it is ``counted``."""

    slots: int | None = None
    counted: bool = False


def choose_backing(sections: int, section_bytes: int, asked: str, looked_at: bool = False) -> Backing:
    """The backing of a map of ``sections`` of ``section_bytes`` each.

    ``auto`` keeps the whole map when it fits into a quarter of the memory this computer has available, and counts it
    when it is larger than can be stored in a while, unless its pages are ``looked_at``; a window that was not asked for
    and is not looked at is a small one. Raises InputError for an unknown backing, and for one that this computer has
    not the memory or the time for.
    """
    if asked not in BACKINGS:
        raise InputError(f"unknown memory-map backing {asked!r}: expected one of {', '.join(BACKINGS)}")
    size = sections * section_bytes
    if asked == "counted":
        return Backing(counted=True)
    if asked == "full":
        _check_room(size)
        return Backing()
    if asked == "auto" and size <= available_bytes() // 4:
        return Backing()
    if size > STORED_LIMIT_BYTES:
        if asked == "auto" and not looked_at:
            return Backing(counted=True)
        most = f"at most {_gib(STORED_LIMIT_BYTES)} to be stored"
        raise InputError(f"--vmemmap window: {_gib(size)} of struct pages: expected {most}; use --vmemmap counted")
    return Backing((window_bytes() if looked_at or asked == "window" else small_window_bytes()) // ROW_BYTES)


def _check_room(size: int) -> None:
    room = available_bytes()
    if size > room:
        instead = "window or counted" if size <= STORED_LIMIT_BYTES else "counted"
        needs = f"needs {_gib(size)} of this computer's memory for struct pages, {_gib(room)} are available"
        raise InputError(f"--vmemmap full: {needs}: expected a smaller machine; use --vmemmap {instead}")


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def available_bytes() -> int:
    """Memory of this computer that new work may use, as far as this process may; 1 GiB where the host does not say."""
    return min(_available_on_host(), _below_limit())


def mapped_bytes() -> int:
    """What this process has mapped; 0 where the host does not say. Source: proc_pid_statm(5)"""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_bytes().split()[0]) * mmap.PAGESIZE
    return 0


def _below_limit() -> int:
    if sys.platform != "linux":
        return sys.maxsize
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(0, soft - mapped_bytes())


def _available_on_host() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return 1024 * MIB


def window_bytes() -> int:
    """Size of the window: more than the last-level cache, or writing it would not be writing memory."""
    wanted = WINDOW_BYTES
    while wanted <= last_level_cache_bytes() and wanted < WINDOW_LIMIT_BYTES:
        wanted *= 2
    return wanted


def small_window_bytes() -> int:
    """Size of a window that need not remember much: room for every CPU to write, and little to be faulted in.

    The built-in kernel stores past the caches: its stores reach memory in a window that would fit into them, too.
    """
    nodes = host_nodes()
    return min(window_bytes(), max(len(nodes) * NODE_WINDOW_BYTES, sum(map(len, nodes)) * CPU_WINDOW_BYTES))


def last_level_cache_bytes() -> int:
    """Largest cache of CPU 0, 64 MiB where the host does not say."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = path.read_text(encoding="ascii").strip()
            sizes.append(int(text[:-1]) * units[text[-1]])
    return max(sizes, default=LLC_FALLBACK_BYTES)
