"""Memory given back at the end of a boot: what is freed, when it is not, and that the page lists stay right."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.release import load_release
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.mm.buddy.free_reserved import free_reserved_area, image_layout
from minikern.verify.page_check import check_memmap


def lines(k: Any) -> list[str]:
    return [line.text for line in k.log.lines if line.text.startswith("Freeing ")]


def freed(k: Any) -> int:
    return sum(int(re.findall(r"memory: (\d+)K", line)[0]) for line in lines(k)) // 4


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_the_image_gives_back_what_the_lines_say(release: str) -> None:
    k = boot(load_preset("tiny"), release=release).kernel
    image, layout = k.release.image, image_layout(k)
    for start, end in layout:
        assert start % 4096 == end % 4096 == 0
        assert image.text_start <= start <= end <= image.brk_start
    assert sum(layout.init) // 2 < layout.smp_locks[0] < layout.decrypted[0]
    names = [re.findall(r"Freeing (.*) memory", line)[0] for line in lines(k)]
    assert names[0] == "SMP alternatives"
    assert "unused decrypted" in names
    for part, kib in ((layout.init, image.init_kib), (layout.decrypted, image.decrypted_kib)):
        assert part[1] - part[0] == kib << 10
        for address in (part[0], part[1] - 4096):
            assert not int(k.vmemmap.page(address >> 12)["flags"]) & k.page_alloc.pages.flags.reserved
    found = check_memmap(k)
    assert found.ok, found.message


@pytest.mark.parametrize(
    ("append", "kept"),
    [("retain_initrd", "initrd"), ("maxcpus=1", "SMP alternatives"), ("maxcpus=1 noreplace-smp", "")],
)
def test_what_is_kept(append: str, kept: str) -> None:
    plain = boot(load_preset("tiny"), release="debian-6.12").kernel
    k = boot(load_preset("tiny"), release="debian-6.12", append=append).kernel
    missing = [line for line in lines(plain) if line not in lines(k)]
    if not kept or not any(kept in line for line in lines(plain)):
        assert missing == []
        return
    assert [re.findall(r"Freeing (.*) memory", line)[0] for line in missing] == [kept]
    assert plain.page_alloc.totalram_pages - k.page_alloc.totalram_pages == freed(plain) - freed(k)


def test_only_whole_pages_inside_of_memory_are_freed() -> None:
    k = boot(load_preset("tiny"), append="retain_initrd").kernel
    before = k.page_alloc.nr_free_pages()
    assert free_reserved_area(k, 0x1800, 0x2800, "half pages") == 0
    assert free_reserved_area(k, 1 << 44, (1 << 44) + 8192, "no memory") == 0
    assert free_reserved_area(k, 0x2000, 0x4000, "two pages") == 2
    assert k.page_alloc.nr_free_pages() == before + 2
    assert lines(k)[-1] == "Freeing two pages memory: 8K"
    k.page_alloc.check()
    found = check_memmap(k)
    assert found.ok, found.message


@given(st.lists(st.integers(0, 9000), min_size=8, max_size=8))
def test_no_sizes_make_parts_overlap_or_leave_the_image(kib: list[int]) -> None:
    release = copy.deepcopy(load_release("debian-6.12"))
    image = release.image
    image.code_kib, image.rodata_kib, image.init_kib, image.bss_kib = kib[:4]
    image.text_rodata_gap_kib, image.rodata_data_gap_kib, image.smp_locks_kib, image.decrypted_kib = kib[4:]
    kernel: Any = SimpleNamespace(release=release)
    parts = sorted(image_layout(kernel))
    assert image.text_start <= parts[0][0]
    assert parts[-1][1] <= image.brk_start
    assert all(start <= end for start, end in parts)
    filled = [part for part in parts if part[0] < part[1]]
    assert all(one[1] <= other[0] for one, other in pairwise(filled))
