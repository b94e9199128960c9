"""What the kernel logs of each PCI function while it enumerates, line by line, in both wordings (before and from 6.8).

Source: drivers/pci/probe.c:pci_setup_device(), __pci_read_base(), pci_read_bridge_windows(); drivers/pci/pci.c:
pci_pm_init() @ v5.4, v6.12
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

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
_BAR = re.compile(r"^(?:reg 0x([0-9a-f]{2,3}): |BAR ([0-5]) |(ROM) )(\[.*\])$")
_BUSES = re.compile(r"^PCI bridge to \[bus ([0-9a-f]{2})(?:-([0-9a-f]{2}))?\]( \(subtractive decode\))?$")
_WINDOW = re.compile(r"^ {1,2}bridge window (\[.*\])$")
_RANGE = re.compile(r"^\[(io |mem) 0x([0-9a-f]{4,16})(?:-0x([0-9a-f]{4,16}))?( 64bit)?( pref)?( window)?\]$")
_PME = re.compile(r"^PME# supported from((?: D[0-3](?:hot|cold)?)+)$")
_LOW_POWER = re.compile(r"^supports((?: D[12])+)$")
_ENABLING = re.compile(r"^enabling device \(([0-9a-f]{4}) -> [0-9a-f]{4}\)$")
_ADD_SIZE = re.compile(r"^bridge window \[.*\] to \[bus [0-9a-f-]+\] add_size ([0-9a-f]+)(?: add_align [0-9a-f]+)?$")
_VF_BAR = re.compile(r"^VF BAR ([0-5]) (\[.*\])$")
_VF_TOTAL = re.compile(
    r"^(?:VF\(n\) BAR\d space: \[.*\] \(contains BAR(\d) for (\d{1,5}) VFs\)"
    r"|VF BAR \d \[.*\]: contains BAR (\d) for (\d{1,5}) VFs)$"
)
_LINK = re.compile(
    r"^[\d.]+ Gb/s available PCIe bandwidth, limited by (\d{1,2}(?:\.\d)?) GT/s(?: PCIe)? x(\d{1,2}) link"
    r" at ([0-9a-f]{4,8}):([0-9a-f]{2}):([0-1][0-9a-f])\.([0-7])"
    r" \(capable of [\d.]+ Gb/s with (\d{1,2}(?:\.\d)?) GT/s(?: PCIe)? x(\d{1,2}) link\)$"
)
_CLAIMED = re.compile(r"^quirk: \[io +0x([0-9a-f]{4})-0x[0-9a-f]{4}\] claimed by (.{1,40})$")
_DECODE = re.compile(r"^ICH7 LPC Generic IO decode ([1-4]) PIO at ([0-9a-f]{4}) \(mask ([0-9a-f]{4})\)$")
SPEEDS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
VF_REGISTERS = range(0x124, 0xFF8)  # an extended capability's BARs
VF_FIRST_BAR = 0x24
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


class Limit(NamedTuple):
    """What a device's link could do, and the link on its way that holds it down. Speeds are 1 (2.5 GT/s) to 6."""

    max_speed: int
    max_width: int
    where: Address
    speed: int
    width: int


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
    vf_bars: dict[int, Range] = field(default_factory=dict)  # of one virtual function, by index
    total_vfs: int = 0
    vf_pending: tuple[int, Range] | None = None  # a register whose index the next line tells
    vf_at: int = 0  # where the capability lies; 0: no line tells
    link: Limit | None = None
    opened: bool = False  # a port of a PCH that isolates by the chipset's registers
    ports: dict[str, int] = field(default_factory=dict)  # where chipset functions without a BAR are, by name
    decodes: dict[int, tuple[int, int]] = field(default_factory=dict)  # base and mask of ports on the LPC bus
    bus_numbers_checked: bool = True  # as the firmware left that port


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
    elif match := _VF_BAR.match(text):
        _add_vf_bar(seen, int(match[1]), match[2])
    elif match := _VF_TOTAL.match(text):
        seen.total_vfs = int(match[2] or match[4])
        _place_vf_bar(seen, int(match[1] or match[3]))
    elif match := _LINK.match(text):
        seen.link = _limit(match)
    elif text == "enabling Extended Tags":
        seen.ext_tag = True
    elif text.startswith(SHADOWED):
        seen.shadowed = True
    elif match := _CLAIMED.match(text):
        seen.ports[match[2]] = int(match[1], 16)
    elif match := _DECODE.match(text):
        seen.decodes[int(match[1])] = (int(match[2], 16), int(match[3], 16))
    elif text == "Enabling MPC IRBNCE":
        seen.bus_numbers_checked = False
    elif text == "Intel PCH root port ACS workaround enabled":
        seen.opened = True
    elif text.startswith("pciehp: Slot #"):
        seen.slot = True


def _add_bar(seen: Seen, match: re.Match[str]) -> None:
    found = parse_range(match[4])
    if found is None:
        return
    register = int(match[1], 16) if match[1] else 0x10 + 4 * int(match[2]) if match[2] else 0
    if register in VF_REGISTERS:
        seen.vf_pending = (register, found)
    elif match[3] or register == ROM_REGISTERS.get(seen.header):
        seen.rom = seen.rom or found
    elif 0x10 <= register <= 0x24 and not register & 3:
        seen.bars.setdefault(register - 0x10 >> 2, found)


def _add_vf_bar(seen: Seen, index: int, text: str) -> None:
    found = parse_range(text)
    if found is not None:
        seen.vf_bars.setdefault(index, found)


def _place_vf_bar(seen: Seen, index: int) -> None:
    """The register of the line before was the ``index``-th of the capability."""
    if seen.vf_pending is not None and index <= 5:
        register, found = seen.vf_pending
        seen.vf_bars.setdefault(index, found)
        seen.vf_at = max(0, register - VF_FIRST_BAR - 4 * index)
    seen.vf_pending = None


def _limit(match: re.Match[str]) -> Limit | None:
    speed, most = SPEEDS.get(float(match[1])), SPEEDS.get(float(match[7]))
    width, widest = int(match[2]), int(match[8])
    if speed is None or most is None or not 1 <= width <= 32 or not 1 <= widest <= 32:
        return None
    where = Address(int(match[3], 16), int(match[4], 16), int(match[5], 16) << 3 | int(match[6]))
    return Limit(most, widest, where, speed, width)
