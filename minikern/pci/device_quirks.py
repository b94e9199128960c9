"""The table of devices that do not say all about themselves, ``device_quirks.toml``.

Source: drivers/pci/quirks.c @ v6.18
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hw.toml_file import decode_toml
from minikern.state.pci import TYPE_ROOT_PORT, PciDev

DOUBLE_WORD_CTRL = 8  # where the control register is under rule "pch-double-words"

IdRange = Annotated[str, Meta(pattern=r"^[0-9a-f]{4}(-[0-9a-f]{4})?$")]
Vendor = Annotated[str, Meta(pattern=r"^[0-9a-f]{4}$")]
AcsRule = Literal[
    "isolates", "integrated", "root-port", "port", "port-not", "never", "southbridge", "pch", "pch-double-words"
]
AliasRule = Literal["function-0", "function-1", "device-1", "mic-x200", "all-slots"]


class _Row(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Devices of one vendor, all of them if none is listed."""

    what: str
    vendor: Vendor
    devices: list[IdRange] = []

    def matches(self, dev: PciDev) -> bool:
        """True if the row is about ``dev``."""
        if dev.vendor != int(self.vendor, 16):
            return False
        return not self.devices or any(dev.device in _span(text) for text in self.devices)


class AcsQuirk(_Row, frozen=True):
    """Whether devices keep their neighbours apart; ``fork`` names the behaviour that turns the row on."""

    rule: AcsRule
    fork: Literal["", "acs_integrated_endpoints"] = ""


class AliasQuirk(_Row, frozen=True):
    """Under which other functions' ids devices send; ``subsystems`` narrows them down."""

    rule: AliasRule
    subsystems: list[str] = []


class DeviceQuirks(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole table."""

    acs: list[AcsQuirk]
    alias: list[AliasQuirk]


@lru_cache(maxsize=1024)
def _span(text: str) -> range:
    """The device ids a row names: one, or from one to another."""
    first, _, last = text.partition("-")
    return range(int(first, 16), int(last or first, 16) + 1)


@lru_cache(maxsize=1)
def device_quirks() -> DeviceQuirks:
    """The table as it is in the package."""
    path = resources.files("minikern.pci").joinpath("device_quirks.toml")
    return decode_toml(path.read_bytes(), DeviceQuirks, "device_quirks.toml")


def port_rule(dev: PciDev, rule: AcsRule) -> bool:
    """True if a row of the table says ``rule`` of ``dev``, which is a root port."""
    at_root = dev.is_pcie and dev.pcie_type == TYPE_ROOT_PORT
    return at_root and any(row.rule == rule and row.matches(dev) for row in device_quirks().acs)
