"""lspci's hexadecimal dumps (-x, -xxx, -xxxx), read and written.

Source: pciutils lspci(8), options -x and -F
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hw.errors import InputError
from hw.pci.config import COMMON, ConfigSpace
from hw.pci.spec import Address, parse_address

_HEAD = re.compile(r"^((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])(?:\s+(.*))?$")
_BYTES = re.compile(r"^([0-9a-fA-F]{1,3}0):((?: [0-9a-fA-F]{2}){1,16})\s*$")
LINE_BYTES = 16
MAX_BYTES = 4096
MAX_FUNCTIONS = 1 << 14  # 64 full buses, more than any machine has; each is booted


@dataclass
class LspciDevice:
    """One function of a dump: its address, the rest of its heading as it stood, and its bytes."""

    address: Address
    title: str
    config: bytes
    with_domain: bool = True

    def heading(self) -> str:
        """The function's heading line."""
        place = str(self.address)
        if not self.with_domain and self.address.segment == 0:
            place = place.split(":", 1)[1]
        return f"{place} {self.title}".rstrip()


def parse_lspci(text: str, where: str = "lspci dump") -> list[LspciDevice]:
    """Functions of a dump, in its order; text lines between heading and bytes (-v) are passed over.

    InputError names ``where``, line and what was expected: bytes without a heading, out of order, or beyond 4096; or
    too many functions.
    """
    devices: list[LspciDevice] = []
    for number, line in enumerate(text.splitlines(), 1):
        head = _HEAD.match(line)
        if head:
            address = parse_address(head[1], f"{where}:{number}")
            if len(devices) == MAX_FUNCTIONS:
                raise InputError(f"{where}:{number}: more than {MAX_FUNCTIONS} functions: expected one machine's")
            devices.append(LspciDevice(address, head[2] or "", b"", head[1].count(":") == 2))
            continue
        row = _BYTES.match(line)
        if not row:
            continue
        if not devices:
            raise InputError(f"{where}:{number}: bytes before any function's heading (such as 00:1f.0 ...)")
        offset, chunk = int(row[1], 16), bytes.fromhex(row[2])
        if offset != len(devices[-1].config) or offset + len(chunk) > MAX_BYTES:
            came = f"offset {offset:#x} after {len(devices[-1].config):#x} bytes"
            raise InputError(f"{where}:{number}: {came}: expected rows of 16 without gaps, at most 4096 bytes")
        devices[-1].config += chunk
    return devices


def format_lspci(devices: Iterable[LspciDevice]) -> str:
    """The dump lspci would print: heading, rows of 16 bytes, an empty line after each function."""
    return "".join(f"{line}\n" for device in devices for line in _device_lines(device))


def _device_lines(device: LspciDevice) -> Iterator[str]:
    yield device.heading()
    for offset in range(0, len(device.config), LINE_BYTES):
        yield f"{offset:02x}: {device.config[offset : offset + LINE_BYTES].hex(' ')}"
    yield ""


def describe(address: Address, space: ConfigSpace) -> LspciDevice:
    """A function's entry with the heading lspci -n prints: class, ids and revision as numbers."""
    ids = f"{space.get(COMMON, 'vendor'):04x}:{space.get(COMMON, 'device'):04x}"
    title = f"{space.get(COMMON, 'class_code') >> 8:04x}: {ids}"
    revision = space.get(COMMON, "revision")
    if revision:
        title += f" (rev {revision:02x})"
    return LspciDevice(address, title, bytes(space.data))
