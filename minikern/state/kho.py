"""Kexec HandOver's state in one kernel: what it sets aside, what it was handed, what it will hand on.

Addresses and sizes in bytes. Source: kernel/liveupdate/kexec_handover.c @ v7.2
"""

from __future__ import annotations

from collections.abc import Sequence
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
    blocks: list[Blocks] = field(default_factory=list)  # that nobody has asked for yet
    found: tuple[Blocks, ...] = ()
    pages_alone: int = 0  # of them, struct pages that would have been deferred


@dataclass
class Outgoing:
    """What this kernel will hand on: the root tree's page and a copy of it, and the root page of the memory map.

    ``luo_phys`` is the orchestrator's header, 0 where it is not offered.
    """

    fdt_phys: int
    map_phys: int
    page: bytearray
    luo_phys: int = 0
    tracked: dict[int, set[int]] | None = None  # kho-v1: block numbers by order, written down when all are known
    blobs: list[tuple[str, int]] = field(default_factory=list)  # kho-v1: names and addresses, written down with them


@dataclass
class Memfd:
    """A memory file: its folios as (pfn, order) in the order of the file. ``data`` is where its description lies."""

    size: int
    folios: Sequence[tuple[int, int]]
    seals: int = 1  # F_SEAL_SEAL, as every memfd made without MFD_ALLOW_SEALING has
    pos: int = 0
    data: int = 0


@dataclass
class Session:
    """Files by token, in the order in which they were given."""

    name: str
    files: dict[int, Memfd] = field(default_factory=dict)


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
    outgoing: Outgoing | None = None
    sessions_phys: int = 0  # where the sessions that were handed over are written down
    sessions: list[Session] = field(default_factory=list)
    liveupdate: bool = False
    liveupdate_num: int = 0  # live updates so far, by the orchestrator's count
    kexec_count: int = 0  # kernels that have handed over before this one, in a row
