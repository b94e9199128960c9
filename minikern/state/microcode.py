"""Microcode updates as the kernel keeps them."""

from __future__ import annotations

from typing import NamedTuple


class AmdPatch(NamedTuple):
    """The patch found, at ``offset`` of the file."""

    offset: int
    size: int
    revision: int




class Signature(NamedTuple):
    """What an update is for: CPUID's signature and a mask of platforms; one CPU has one platform bit."""

    sig: int
    pf: int



class IntelUpdate(NamedTuple):
    """One update of the file, at ``offset``; ``date`` is MMDDYYYY in BCD."""

    offset: int
    size: int
    revision: int
    date: int
    signatures: tuple[Signature, ...]

