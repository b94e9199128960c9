"""Which functions a boot left out by ``pci=probe_only=``, and what is lost with them."""

from __future__ import annotations

from collections import defaultdict

from minikern.lab.run import Boot

BASE_CLASSES = {
    0x01: "disk controllers",
    0x02: "network",
    0x03: "displays",
    0x04: "sound and video",
    0x06: "bridges",
    0x07: "serial and modem ports",
    0x09: "input devices",
    0x0C: "USB and other serial buses",
    0x12: "accelerators",
}
"""Source: PCI Code and ID Assignment Specification 1.11, 1"""
MAX_PLACES = 8


def skipped_text(boot: Boot) -> str:
    """One line: how many functions were not set up, by what they are for; empty if none was left out."""
    if not boot.kernel.pci.skipped:
        return ""
    found = {(dev.bus.segment, dev.bus.number, dev.devfn) for dev in boot.kernel.pci.devices}
    lost: dict[str, list[str]] = defaultdict(list)
    total = 0
    for function in boot.kernel.machine.topology.functions():
        total += 1
        if tuple(function.address) not in found:
            name = BASE_CLASSES.get(function.config.read(0x0B, 1), "others")
            lost[name].append(str(function.address).removeprefix("0000:"))
    count = sum(map(len, lost.values()))
    parts = [_part(name, lost[name]) for name in [*BASE_CLASSES.values(), "others"] if name in lost]
    return f"pci=probe_only leaves {count} of {total} functions out, and what is behind them: {'; '.join(parts)}"


def _part(name: str, places: list[str]) -> str:
    shown = " ".join(places[:MAX_PLACES])
    more = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    return f"{name} {shown}{more}"
