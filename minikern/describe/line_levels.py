"""The level of a real log's line: consoles get lines of debug level only if the command line asks for them."""

from __future__ import annotations

import re

from minikern.core.printk import Level

# What kernels of 5.4 to 6.16 print with KERN_DEBUG while they start. Sources: arch/x86/kernel/e820.c,
# arch/x86/kernel/cpu/mtrr/generic.c, mm/percpu.c, mm/mm_init.c (mm/page_alloc.c) @ v5.10, v6.12
_DEBUG = re.compile(
    r"e820: (?:update|remove|reserve RAM buffer) |pcpu-alloc: |PCI: pci_cache_line_size set"
    r"|MTRR (?:default type|(?:fixed|variable) ranges)|  [0-9A-F]{5}-[0-9A-F]{5} |  \d (?:base [0-9A-F]{9}|disabled$)"
    r"|On node \d+ totalpages: |  \w+ zone: \d+ pages"
)


def level_of(text: str) -> Level:
    """Debug for lines that are known to be of that level, else the level of most lines."""
    return Level.DEBUG if _DEBUG.match(text) else Level.INFO
