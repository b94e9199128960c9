"""A user's struct-page kernel in a real boot: every row it writes is looked at, and its time on this computer is kept.

Simulated time knows nothing of it: a page costs what the machine's unit costs say, whoever writes it.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hw.errors import InputError
from minikern.host.arena import Arena
from minikern.mm.page.struct_page import (
    FIELDS,
    VMEMMAP_START_4LEVEL,
    VMEMMAP_START_5LEVEL,
    Words,
    as_pages,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.lab.algorithms import Found
    from minikern.lab.supervise import Steps

HOOK = "memmap_init_range"
COUNTS = 0x1_FFFFFFFF  # _refcount 1, _mapcount -1
NS_PER_S = 1e9
WARM_UP_ROWS = 16


class PageKernelError(Exception):
    """The user's kernel is wrong; the message is one line."""


class Used(msgspec.Struct, frozen=True):
    """What a kernel did in a boot; ``host_ns`` was measured on this computer, over all threads."""

    name: str
    calls: int
    pages: int
    host_ns: int

    def __str__(self) -> str:
        """One line."""
        rate = self.pages / max(self.host_ns, 1) * NS_PER_S / 1e6
        return (
            f"page kernel {self.name}: {self.pages} struct pages in {self.calls} calls, each page as it must be;"
            f" {self.host_ns / NS_PER_S:.3f} s in it on this computer ({rate:.0f} Mpages/s), compilation apart;"
            " simulated time is as counted"
        )


class PageKernel:
    """The function as the boot's kernel rooms call it."""

    def __init__(self, found: Found, steps: Steps) -> None:
        self.found = found
        self._steps = steps
        self._lock = threading.Lock()
        self._running: dict[int, str] = {}
        self._want = np.zeros((2, 8), dtype=np.uint64)
        self._want[0, 6] = COUNTS
        self._calls = self._pages = self._host_ns = 0

    def __call__(self, words: Words, flags: np.uint64, lru: np.uint64) -> None:
        """Have the function initialise rows. PageKernelError names the first page that is not as it must be."""
        self._begin(f"{self.found.name}, {len(words)} pages from pfn {_pfn(lru):#x}")
        begin = time.perf_counter_ns()
        try:
            self.found.function(words, flags, lru)
        except (Exception, SystemExit) as error:
            told = str(error).strip().partition("\n")[0]
            raise PageKernelError(f"pfn {_pfn(lru):#x}: {type(error).__name__}: {told}") from error
        finally:
            spent = time.perf_counter_ns() - begin
            self._end()
        self._check(words, flags, lru)
        with self._lock:
            self._calls, self._pages, self._host_ns = self._calls + 1, self._pages + len(words), self._host_ns + spent

    def taken(self) -> Used:
        """What it did since this was asked last."""
        with self._lock:
            used = Used(self.found.name, self._calls, self._pages, self._host_ns)
            self._calls = self._pages = self._host_ns = 0
        return used

    def verify(self, k: Kernel) -> None:
        """Look over the whole memory map, as far as it is held: rows beside those given may have been written to."""
        from minikern.verify.page_check import check_memmap

        result = check_memmap(k)
        if not result.ok:
            raise PageKernelError(f"after the boot: {result.message}")

    def _begin(self, text: str) -> None:
        with self._lock:
            self._running[threading.get_ident()] = text
            self._steps.begin(text)

    def _end(self) -> None:
        # Another thread may be in a call that never ends: its step is under way again.
        with self._lock:
            self._running.pop(threading.get_ident(), None)
            if self._running:
                self._steps.begin(next(iter(self._running.values())))
            else:
                self._steps.end()

    def _check(self, words: Words, flags: np.uint64, lru: np.uint64) -> None:
        from minikern.verify.page_check import first_wrong

        want = self._want.copy()
        want[:, 0] = flags
        row = first_wrong(words, want, lru, True, 0, 0, -1)
        if row < 0:
            return
        want[0, 1] = want[0, 2] = int(lru) + 64 * row
        came, wanted = (as_pages(np.ascontiguousarray(rows).reshape(1, 8))[0] for rows in (words[row], want[0]))
        name = next(entry.name for entry in FIELDS if came[entry.name] != wanted[entry.name])
        values = [int(page[name]) & 2**64 - 1 for page in (wanted, came)]
        where = f"pfn {_pfn(lru) + row:#x}, row {row} of {len(words)}"
        raise PageKernelError(f"{where}: field {name}: expected {values[0]:#x}, found {values[1]:#x}")


def _pfn(lru: np.uint64) -> int:
    start = VMEMMAP_START_4LEVEL if int(lru) >= VMEMMAP_START_4LEVEL else VMEMMAP_START_5LEVEL
    return (int(lru) - start) // 64


def load_page_kernel(name: str, steps: Steps) -> PageKernel:
    """The kernel of a file or an entry point, compiled.

    InputError: it has not one function for initialising pages. PageKernelError: that fails on the first few.
    """
    from minikern.lab.algorithms import load_algorithms

    steps.begin(f"loading {name}")
    found = [item for item in load_algorithms(name) if item.hook.name == HOOK]
    steps.end()
    if len(found) != 1:
        raise InputError(f'{name}: {len(found)} functions under @minikern.algorithm("{HOOK}"): expected one')
    kernel = PageKernel(found[0], steps)
    words = Arena(WARM_UP_ROWS * 64).words(WARM_UP_ROWS)
    kernel(words, np.uint64(0), np.uint64(VMEMMAP_START_4LEVEL + 8))  # compiles it
    kernel.taken()
    return kernel
