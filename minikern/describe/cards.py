"""Cards in CardBus slots: a kernel finds them once the slot's driver is there, long after the buses were scanned."""

from __future__ import annotations

from collections.abc import Iterable

from hw.pci.config import ConfigSpace
from hw.pci.spec import PciFunctionSpec

SECONDARY, SUBORDINATE = 0x19, 0x1A


def without_cards(functions: Iterable[PciFunctionSpec]) -> tuple[list[PciFunctionSpec], int]:
    """The functions that are no cards, and how many are: those on buses behind a bridge to such a slot."""
    found = list(functions)
    behind = {(one.address().segment, bus) for one in found for bus in _buses(one)}
    kept = [one for one in found if (one.address().segment, one.address().bus) not in behind]
    return kept, len(found) - len(kept)


def _buses(function: PciFunctionSpec) -> range:
    """The buses behind the slots of a function."""
    if function.raw:
        first, last = function.raw[SECONDARY], function.raw[SUBORDINATE]
        cardbus = ConfigSpace(function.raw).is_cardbus
    else:
        first, last = function.secondary or 0, function.subordinate or 0
        cardbus = function.kind == "cardbus"
    return range(max(first, function.address().bus + 1), last + 1) if cardbus and first else range(0)
