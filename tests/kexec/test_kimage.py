"""Page lists: sources never lie in the way, and relocation brings every byte home, whatever pages the kernel gave."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import MachineStopped
from hw.memory import PhysicalMemory
from minikern.kexec.errors import KexecError
from minikern.kexec.kimage import Kimage
from minikern.kexec.relocate import relocate_kernel
from minikern.kexec.segments import Segment
from tests import naive_kexec

PAGE = 4096


def build(seed: int, counts: list[int]) -> tuple[PhysicalMemory, Kimage]:
    """Segments of random sizes, and a kernel that gives pages in and around them in random order."""
    rng = random.Random(seed)
    memory, segments, at = PhysicalMemory(), [], 0x10
    for index, pages in enumerate(counts):
        at += rng.randrange(3)
        body = rng.randbytes(rng.randrange(pages * PAGE + 1))
        segments.append(Segment(str(index), body, at * PAGE, pages * PAGE))
        at += pages
    pages = list(range(0x8, at + sum(counts) + 10))
    rng.shuffle(pages)
    for page in pages:
        memory.write(page * PAGE, rng.randbytes(16))
    rng.shuffle(segments)
    kimage = Kimage(memory, segments, 0, iter([page * PAGE for page in pages]))
    for segment in segments:
        kimage.load_segment(segment)
    kimage.terminate()
    return memory, kimage


CASES = (st.integers(0, 10_000), st.lists(st.integers(1, 12), min_size=1, max_size=4))


def expected(segment: Segment) -> bytes:
    return segment.buf.ljust(segment.memsz, b"\0")


@settings(max_examples=60, deadline=None)
@given(*CASES, st.booleans())
def test_relocation_brings_every_byte_home(seed: int, counts: list[int], preserve: bool) -> None:
    memory, kimage = build(seed, counts)
    kimage.check()
    done = relocate_kernel(memory, kimage.head, kimage.swap_page, preserve)
    assert done.pages == sum(counts)
    for segment in kimage.segments:
        assert memory.read(segment.mem, segment.memsz) == expected(segment)


@settings(max_examples=40, deadline=None)
@given(*CASES, st.booleans())
def test_all_memory_ends_as_page_by_page(seed: int, counts: list[int], preserve: bool) -> None:
    memory, kimage = build(seed, counts)
    twin, same = build(seed, counts)
    relocate_kernel(memory, kimage.head, kimage.swap_page, preserve)
    naive_kexec.relocate(twin, same.head, same.swap_page, preserve)
    assert memory.read(0, 0x100 * PAGE) == twin.read(0, 0x100 * PAGE)


def test_a_list_of_many_pages_of_entries() -> None:
    pages = 1300  # 511 entries a page: three pages of them
    memory = PhysicalMemory()
    segment = Segment("big", bytes(range(256)) * (16 * pages), 0x100000, pages * PAGE)
    kimage = Kimage(memory, [segment], 0, iter(range(0x1000000, 0x2000000, PAGE)))
    kimage.load_segment(segment)
    kimage.terminate()
    kimage.check()
    assert relocate_kernel(memory, kimage.head, kimage.swap_page, True).pages == pages
    assert memory.read(segment.mem, segment.memsz) == segment.buf


def test_memory_runs_out() -> None:
    segment = Segment("s", b"x", 0x10000, 4 * PAGE)
    with pytest.raises(KexecError, match="ENOMEM"):
        Kimage(PhysicalMemory(), [segment], 0, iter([0x1000, 0x2000, 0x3000])).load_segment(segment)


@pytest.mark.parametrize("words", [[0x5000 | 2], [0x1000 | 1, 0x2000 | 8], [0x5008] * 512])
def test_a_list_without_end_stops_the_machine(words: list[int]) -> None:
    memory = PhysicalMemory()
    memory.write(0x5000, b"".join(word.to_bytes(8, "little") for word in words))
    with pytest.raises(MachineStopped, match="relocate_kernel"):
        relocate_kernel(memory, 0x5000 | 2, 0x9000, True)


def test_a_damaged_list_is_walked_in_its_own_order() -> None:
    for words in ([0x1000 | 1, 0x2000 | 8, 0x1000 | 8, 4], [0x1000 | 1, 0x2000 | 8, 0x3000 | 8, 0x4000 | 8, 4]):
        memory, twin = PhysicalMemory(), PhysicalMemory()
        for one in (memory, twin):
            one.write(0x5000, b"".join(word.to_bytes(8, "little") for word in words))
            for page in range(1, 5):
                one.write(page * PAGE, bytes([page]) * PAGE)
        relocate_kernel(memory, 0x5000 | 2, 0x9000, True)
        naive_kexec.relocate(twin, 0x5000 | 2, 0x9000, True)
        assert memory.read(0, 0xA000) == twin.read(0, 0xA000)
