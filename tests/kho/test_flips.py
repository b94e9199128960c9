"""Flipped bits in what is handed over: refused in the kernel's words, harmless, or named as lost.

MINIKERN_KHO_FLIPS sets how many are tried.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from hw.errors import InputError, MachineStopped
from minikern.kho import incoming, luo, retrieve, sessions
from minikern.kho.loss import Handed, file_changes, found_by, handed_on, lost
from minikern.kho.populate import add_kho
from minikern.kho.reserve_mem import reserve_mem
from minikern.kho.retrieve_files import incoming_sessions, retrieve_memfd
from minikern.kho.scratch import scratch_array
from minikern.state.kho import KhoState, Memfd
from minikern.state.kho_abi import KHO_DATA, LUO
from minikern.state.memblock import Memblock
from tests.kho.test_handover import PAGE, cold, kept

FLIPS = int(os.environ.get("MINIKERN_KHO_FLIPS", "1500"))
DATA, ARRAY = 0x8000, 0x9000  # where the setup_data node's payload and the array lie for this test
REFUSALS = ("KHO: ", "FDT '", "Node '", "luo: ", "WARNING", "KHO reserve-mem", "failed to")


class NoPages:
    """A page allocator that takes note of nothing."""

    totalram_pages = 0

    def __init__(self) -> None:
        self.allocated: dict[int, int] = {}
        self.lowmem_reserve: dict[tuple[int, int], list[int]] = {}
        self.pages = SimpleNamespace(
            set_private=lambda *_: None, set_refcount=lambda *_: None, init_range=lambda *_: 0
        )

    def release(self, start: int, end: int) -> None:
        self.totalram_pages += end - start

    def zone_of(self, pfn: int) -> Any:
        return SimpleNamespace(managed_pages=0)

    def free_pages(self, pfn: int, order: int) -> None:
        pass


def outcome(k: Any) -> tuple[Handed, list[str], Memfd | None]:
    """A successor takes what lies in memory, as far as it can: what it found, what it said, the memory file."""
    k.memblock, k.page_alloc, k.kho = Memblock(), NoPages(), KhoState(enabled=True, liveupdate=True)
    k.memblock.add(PAGE, 256 << 20)
    said = len(k.log.lines)
    file = None
    try:
        add_kho(k, DATA, KHO_DATA.size)
        reserve_mem(k, "1M:4096:keep")
        retrieve.kho_memory_init(k)
        luo.liveupdate_early_init(k)
        incoming.kexec_metadata(k)
        if incoming_sessions(k):
            file = retrieve_memfd(k, "vm0", 7)
    except (MachineStopped, InputError) as error:
        return found_by(k), [f"KHO: {error}"], None
    return found_by(k), [line.text for line in k.log.lines[said:]], file


class WrittenDown(NamedTuple):
    """A kernel that has written everything down; (address, length) of what a successor reads, and the tree's pages."""

    kernel: Any
    before: Handed
    parts: list[tuple[int, int]]
    tree: list[int]


def written_down() -> WrittenDown:
    first = cold()
    k = first.kernel
    file = kept(first)
    sessions.liveupdate_reboot(k)
    before = handed_on(k)
    out, memory = k.kho.outgoing, k.machine.bus.memory
    assert before is not None
    assert out is not None
    array = scratch_array(k)
    memory.write(ARRAY, array)
    memory.write(DATA, KHO_DATA.pack(out.fdt_phys, PAGE, ARRAY, len(array)))
    tree: list[int] = []
    list(retrieve.walk(lambda address: (tree.append(address), memory.read(address, PAGE))[1], out.map_phys, 1000))
    session = LUO.unpack(memory.read(out.luo_phys, LUO.size))[2]
    parts = [(out.fdt_phys, 400), (ARRAY, len(array)), (DATA, 32), (session, 96), (out.luo_phys, 32), (file.data, 48)]
    return WrittenDown(k, before, parts, tree)


@pytest.fixture(scope="module")
def handed() -> tuple[Any, Handed, list[int]]:
    """A kernel that has written everything down, what it hands on, and the addresses of the bytes it is made of."""
    k, before, parts, tree = written_down()
    bytes_of = [address for start, size in parts for address in range(start, start + size)]
    # In the tree, entries that are used and their neighbours; the rest is zeros alike.
    for page in tree:
        content = k.machine.bus.memory.read(page, PAGE)
        used = [at for at in range(PAGE) if content[at]]
        bytes_of += sorted({page + near for at in used for near in range(max(0, at - 8), min(PAGE, at + 8))})
    return k, before, bytes_of


def flips(bytes_of: list[int]) -> Iterator[tuple[int, int]]:
    chance = random.Random(20261126)
    for _ in range(FLIPS):
        yield chance.choice(bytes_of), chance.randrange(8)


def test_every_flip_is_refused_harmless_or_named(handed: tuple[Any, Handed, list[int]]) -> None:
    k, before, bytes_of = handed
    memory = k.machine.bus.memory
    good, quiet, file = outcome(k)
    assert lost(before, good) == []
    assert file is not None
    kinds: Counter[str] = Counter()
    for address, bit in flips(bytes_of):
        memory.write_int(address, 1, memory.read_int(address, 1) ^ 1 << bit)
        found, said, back = outcome(k)
        memory.write_int(address, 1, memory.read_int(address, 1) ^ 1 << bit)
        named = lost(before, found)
        if any(line.startswith(REFUSALS) for line in said if line not in quiet):
            kinds["refused"] += 1
        elif named:
            kinds["named as lost"] += 1
        elif (back, said) == (file, quiet):
            kinds["harmless"] += 1
        else:
            changes = file_changes(file, back)
            kinds["named of the file" if changes else "another line"] += 1
            assert changes or said != quiet, f"{address:#x}.{bit}: {back} {said}"
    print(kinds)
    assert kinds.total() == FLIPS
    assert kinds["refused"] > FLIPS // 20
    assert kinds["named as lost"] > FLIPS // 20
    assert kinds["named of the file"] + kinds["another line"] < FLIPS // 10, kinds
