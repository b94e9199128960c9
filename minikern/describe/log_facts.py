"""What a boot's lines say of its machine in figures, to hold an emulated boot against the log it was made from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_ONCE = {
    "last_pfn": re.compile(r"^(?:e820: )?last_pfn = (0x[0-9a-f]+)"),
    "memory": re.compile(r"^Memory: \d+[kK]/(\d+)[kK] available"),
    "CPUs": re.compile(r"^(?:smp: )?Brought up (?:\d+ nodes?, )?(\d+) CPUs?"),
}
_NODE = re.compile(r"^\s*node\s+(\d+): \[mem 0x")
_ZONE = re.compile(r"^ *(DMA|DMA32|Normal|Movable) +(\[mem 0x[0-9a-f]+-0x[0-9a-f]+\]|empty)$")
_IOAPIC = re.compile(r"^IOAPIC\[(\d+)\]: ")
_FUNCTION = re.compile(r"^pci ([0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]): \[[0-9a-f]{4}:[0-9a-f]{4}\] type ")


def log_facts(lines: Iterable[str]) -> dict[str, str]:
    """Figures by their names; what the lines do not tell is left out."""
    facts: dict[str, str] = {}
    counted: dict[str, set[str]] = {}
    for line in lines:
        for name, pattern in _ONCE.items():
            if match := pattern.match(line):
                facts.setdefault(name, match[1])
        if match := _ZONE.match(line):
            facts.setdefault(f"zone {match[1]}", match[2])
        for name, pattern in (("nodes", _NODE), ("I/O APICs", _IOAPIC), ("PCI functions", _FUNCTION)):
            if match := pattern.match(line):
                counted.setdefault(name, set()).add(match[1])
    return facts | {name: str(len(found)) for name, found in counted.items()}


def differences(told: Mapping[str, str], lines: Iterable[str]) -> list[str]:
    """Each figure that is another one in ``lines`` than ``told``, with both."""
    found = log_facts(lines)
    return [f"{name} {found.get(name, 'none')} (log: {text})" for name, text in told.items() if found.get(name) != text]
