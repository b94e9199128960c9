"""Identity of one CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass



@dataclass(frozen=True)
class CpuInfo:
    """Identity of one CPU; ``features`` holds the names of the features found, as /proc/cpuinfo spells them."""

    vendor: str
    family: int
    model: int
    stepping: int
    model_name: str
    max_leaf: int
    max_extended_leaf: int
    features: frozenset[str]
    hypervisor: str = ""  # a hypervisor the kernel knows

    def has(self, feature: str) -> bool:
        """True if the CPU has ``feature``."""
        return feature in self.features

