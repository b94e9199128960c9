"""What the kernel logs of each PCI function while it enumerates, line by line, in both wordings (before and from 6.8).

Source: drivers/pci/probe.c:pci_setup_device(), __pci_read_base(), pci_read_bridge_windows(); drivers/pci/pci.c:
pci_pm_init() @ v5.4, v6.12
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from hw.pci.spec import Address

MAX_FUNCTIONS = 4096
ROM_REGISTERS = {0: 0x30, 1: 0x38}
VIRTUAL_FUNCTION = 0x7F  # the header type such functions seem to have
SHADOWED = "Video device with shadowed ROM"

_WHERE = r"^\S{1,32} ([0-9a-f]{4,8}):([0-9a-f]{2}):([0-1][0-9a-f])\.([0-7]): "
_FUNCTION_LINE = re.compile(_WHERE + r"(.*?)\s*$")
_IDENTITY = re.compile(
    r"^\[([0-9a-f]{4}:[0-9a-f]{4})\] type ([0-9a-f]{2}) class (?:0x)?([0-9a-f]{6})"
    r"(?: (PCIe.*|PCI/.*|conventional.*|CardBus.*))?$"
)
_BAR = re.compile(r"^(?:reg 0x([0-9a-f]{2}): |BAR ([0-5]) |(ROM) )(\[.*\])$")
_BUSES = re.compile(r"^PCI bridge to \[bus ([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]( \(subtractive decode\))?$")
_WINDOW = re.compile(r"^  bridge window (\[.*\])$")
_RANGE = re.compile(r"^\[(io |mem) 0x([0-9a-f]{4,16})(?:-0x([0-9a-f]{4,16}))?( 64bit)?( pref)?( window)?\]$")
_PME = re.compile(r"^PME# supported from((?: D[0-3](?:hot|cold)?)+)$")
_LOW_POWER = re.compile(r"^supports((?: D[12])+)$")
_ENABLING = re.compile(r"^enabling device \(([0-9a-f]{4}) -> [0-9a-f]{4}\)$")
_ADD_SIZE = re.compile(r"^bridge window \[.*\] to \[bus [0-9a-f-]+\] add_size ([0-9a-f]+)(?: add_align [0-9a-f]+)?$")
_END = re.compile(r"^(?:PCI: CLS |Trying to unpack rootfs|Unpacking initramfs|Run /|pci_bus [0-9a-f:]+: resource )")


@dataclass(frozen=True)
class Range:
    """A logged resource; ``end`` is inclusive."""

    kind: str  # "io" or "mem"
    start: int
    end: int
    wide: bool = False
    prefetch: bool = False

    @property
    def size(self) -> int:
        """Bytes in the range."""
        return self.end - self.start + 1


@dataclass
class Seen:
    """A function as its lines tell of it. ``port`` is what newer kernels write after the class, else empty."""

    address: Address
    id: str
    header: int
    class_code: int
    port: str = ""
    bars: dict[int, Range] = field(default_factory=dict)  # by register index
    rom: Range | None = None
    buses: tuple[int, int] | None = None  # secondary and subordinate
    windows: list[Range] = field(default_factory=list)
    subtractive: bool = False
    low_power: list[str] = field(default_factory=list)
    pme: list[str] = field(default_factory=list)
    ext_tag: bool = False
    shadowed: bool = False
    slot: bool = False  # a hot-plug slot
    add_sizes: list[int] = field(default_factory=list)
    command: int | None = None


def parse_range(text: str) -> Range | None:
    """A resource as the kernel prints one; None if it is none or ends before it starts."""
    match = _RANGE.match(text)
    if match is None:
        return None
    start = int(match[2], 16)
    end = int(match[3], 16) if match[3] else start
    return Range(match[1].strip(), start, end, bool(match[4]), bool(match[5])) if start <= end else None


def seen_functions(lines: Iterable[str]) -> dict[Address, Seen]:
    """The functions found while the buses were scanned, in that order, with what later lines add about them.

    Functions that appear afterwards (virtual ones, hot-plugged ones, those of a driver's own domain) are left out.
    """
    found: dict[Address, Seen] = {}
    open_bridge: Seen | None = None  # the lines of its windows follow
    ended = False
    for line in lines:
        match = _FUNCTION_LINE.match(line)
        if match is None:
            ended = ended or bool(found and _END.match(line))
            continue
        address = Address(int(match[1], 16), int(match[2], 16), int(match[3], 16) << 3 | int(match[4]))
        text = match[5]
        seen = found.get(address)
        if seen is None:
            identity = None if ended or len(found) >= MAX_FUNCTIONS else _IDENTITY.match(text)
            if identity is not None and int(identity[2], 16) != VIRTUAL_FUNCTION:
                found[address] = Seen(
                    address, identity[1], int(identity[2], 16), int(identity[3], 16), identity[4] or ""
                )
            open_bridge = None
            continue
        open_bridge = _bridge_line(seen, text, open_bridge)
        _add(seen, text)
    return found


def _bridge_line(seen: Seen, text: str, open_bridge: Seen | None) -> Seen | None:
    """Buses and windows from the first block of a bridge; later ones show what the kernel made of them."""
    if match := _BUSES.match(text):
        if seen.buses is None:
            seen.buses = (int(match[1], 16), int(match[2] or match[1], 16))
            seen.subtractive = bool(match[3])
            return seen
        return None
    window = _WINDOW.match(text)
    if window is None:
        return open_bridge if open_bridge is seen else None
    found = parse_range(window[1])
    if open_bridge is seen and found is not None and len(seen.windows) < 3:
        seen.windows.append(found)
    return open_bridge


def _add(seen: Seen, text: str) -> None:
    if match := _BAR.match(text):
        _add_bar(seen, match)
    elif match := _PME.match(text):
        seen.pme = match[1].split()
    elif match := _LOW_POWER.match(text):
        seen.low_power = match[1].split()
    elif match := _ENABLING.match(text):
        seen.command = int(match[1], 16)
    elif match := _ADD_SIZE.match(text):
        seen.add_sizes.append(int(match[1], 16))
    elif text == "enabling Extended Tags":
        seen.ext_tag = True
    elif text.startswith(SHADOWED):
        seen.shadowed = True
    elif text.startswith("pciehp: Slot #"):
        seen.slot = True


def _add_bar(seen: Seen, match: re.Match[str]) -> None:
    found = parse_range(match[4])
    if found is None:
        return
    register = int(match[1], 16) if match[1] else 0x10 + 4 * int(match[2]) if match[2] else 0
    if match[3] or register == ROM_REGISTERS.get(seen.header):
        seen.rom = seen.rom or found
    elif 0x10 <= register <= 0x24 and not register & 3:
        seen.bars.setdefault(register - 0x10 >> 2, found)
