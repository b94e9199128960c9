"""Which PCI functions the boot of a log could not do without: disks, network, console, and the bridges before them."""

from __future__ import annotations

import re

from hw.pci.spec import Address, PciFunctionSpec, PciSpec
from minikern.describe.dmesg_log import Log

STORAGE, NETWORK, DISPLAY = 0x01, 0x02, 0x03
SERIAL_CONTROLLER = 0x0700
BASE_CLASS, SUB_CLASS = 16, 8

_CONSOLE = re.compile(r"^(?:Kernel command line|Command line): .*\bconsole=tty(?!S)")
_SERIAL_ONLY = re.compile(r"^(?:Kernel command line|Command line): .*\bconsole=ttyS")


def needed_functions(log: Log, pci: PciSpec) -> list[str]:
    """vendor:device of what must be set up, each once, in order of places.

    Disk and network controllers, the display unless the console is a serial line alone, serial controllers, and every
    bridge above one of them.
    """
    serial_only = log.first(_SERIAL_ONLY.pattern) is not None and log.first(_CONSOLE.pattern) is None
    functions = {function.address(): function for function in pci.functions}
    above = {
        (at.segment, function.secondary): at for at, function in functions.items() if function.secondary
    }
    chosen: set[Address] = set()
    for at, function in functions.items():
        here: Address | None = at if _needed(function, serial_only) else None
        while here is not None and here not in chosen:
            chosen.add(here)
            here = above.get((here.segment, here.bus))
    return list(dict.fromkeys(functions[at].id for at in sorted(chosen)))


def _needed(function: PciFunctionSpec, serial_only: bool) -> bool:
    base = function.class_code >> BASE_CLASS
    if base == DISPLAY:
        return not serial_only
    return base in (STORAGE, NETWORK) or function.class_code >> SUB_CLASS == SERIAL_CONTROLLER
