"""Kexec HandOver's state in one kernel: what it sets aside, what it was handed, what it will hand on.

Addresses and sizes in bytes. Source: kernel/liveupdate/kexec_handover.c @ v7.2
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minikern.state.fdt import Tree


class Scratch(NamedTuple):
    """One scratch area: memory in which nothing handed over ever lies."""

    addr: int
    size: int


class Reservation(NamedTuple):
    """Memory that ``reserve_mem=`` keeps under a name."""

    name: str
    start: int
    size: int


class ScratchSizes(NamedTuple):
    """Sizes asked for with ``kho_scratch=``."""

    lowmem: int
    global_: int
    pernode: int


@dataclass(frozen=True, order=True)
class Blocks:
    """``count`` preserved blocks of 2**order pages, side by side."""

    phys: int
    order: int
    count: int = 1

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count << 12 + self.order


@dataclass
class Incoming:
    """What the kernel before handed over: the root tree, where it lies, and the blocks its memory map names.

    ``fdt_phys`` 0: the memory map could not be read, and nothing else is taken either.
    """

    fdt_phys: int
    tree: Tree
    blocks: list[Blocks] = field(default_factory=list)


@dataclass
class KhoState:
    """``enabled`` follows the command line, and a failure to set scratch aside takes it back.

    ``explicit`` are the sizes asked for; without them an area is ``scale`` percent of what the kernel itself reserved.
    ``scratch_phys`` is where the array of areas lies.
    """

    enabled: bool = False
    scale: int = 200
    explicit: ScratchSizes | None = None
    scratch: list[Scratch] = field(default_factory=list)
    scratch_phys: int = 0
    reservations: list[Reservation] = field(default_factory=list)
    incoming: Incoming | None = None
    liveupdate: bool = False
    liveupdate_num: int = 0  # live updates so far, by the orchestrator's count
    kexec_count: int = 0  # kernels that have handed over before this one, in a row
