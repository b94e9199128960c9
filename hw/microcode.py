"""Microcode: one revision a core, which its threads share, and the register that loads a newer one.

Source: SDM vol. 3A, "Microcode Update Facilities"; AMD64 APM vol. 2 for PATCH_LOADER.
"""

from __future__ import annotations

from collections.abc import Mapping

from hw import msr as m
from hw.bus import Bus

HEADER_BYTES = 48
"""An update's data, whose address is written to the trigger, lies behind a header of this size. Source: the same."""
REVISION_OFFSET = 4
"""Of the revision, a double word, in the header. Source: the same, "Microcode Update Field Definitions"."""


class Microcode:
    """The microcode of one core. AMD keeps the revision in the low half of its register, Intel in the high half."""

    __slots__ = ("amd", "revision")

    def __init__(self, revision: int = 0, amd: bool = False) -> None:
        self.revision = revision
        self.amd = amd

    @classmethod
    def of_msrs(cls, vendor: str, msrs: Mapping[int, int]) -> Microcode:
        """As firmware left it: the revision of MSR 0x8B."""
        amd = vendor in ("AuthenticAMD", "HygonGenuine")
        value = msrs.get(m.IA32_BIOS_SIGN_ID, 0)
        return cls(value & 0xFFFF_FFFF if amd else value >> 32, amd)

    @property
    def trigger(self) -> int:
        """MSR that takes an update's address."""
        return m.MSR_AMD64_PATCH_LOADER if self.amd else m.IA32_BIOS_UPDT_TRIG

    def sign_id(self) -> int:
        """MSR 0x8B."""
        return self.revision if self.amd else self.revision << 32

    def load(self, bus: Bus, address: int) -> None:
        """Load the update at `address`; one that is not newer is refused, as the register does without a word."""
        header = address if self.amd else address - HEADER_BYTES
        self.revision = max(self.revision, bus.memory.read_int(header + REVISION_OFFSET, 4))
