"""Holes against a search page by page; each rule of the segment list with its code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.kexec.errors import KexecError
from minikern.kexec.segments import Range, Segment, locate_mem_hole, sanity_check_segment_list
from tests import naive_kexec

PAGE = 4096
SPAN = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda pair: (pair[0] * PAGE, sum(pair) * PAGE))


@given(
    st.lists(SPAN, min_size=1, max_size=3), st.lists(SPAN, max_size=4), st.integers(1, 12 * PAGE),
    st.sampled_from([1, PAGE, 2 * PAGE, 8 * PAGE]), st.integers(0, 40 * PAGE), st.booleans(), st.booleans(),
)  # fmt: skip
def test_the_right_hole_is_found(
    ram: list[tuple[int, int]],
    taken: list[tuple[int, int]],
    size: int,
    align: int,
    low: int,
    before_6_8: bool,
    bottom_up: bool,
) -> None:
    pages = -(-size // PAGE) * PAGE
    expected = naive_kexec.locate(ram, taken, pages, max(align, PAGE), low, before_6_8, bottom_up)
    areas = [Range(*span) for span in ram]

    def find() -> int:
        return locate_mem_hole(areas, taken, size, align, low, bottom_up=bottom_up, **rules(before_6_8))

    if expected is None:
        with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
            find()
    else:
        assert find() == expected


LOW, MAIN = Range(0x1000, 0x9FC00), Range(0x100000, 0x7FFDF000)
CRASH = Range(0x6F000000, 0x7F000000)
KERNEL_61, KERNEL_612 = (0x3F98000, 0x200000, 0x1000000), (0x37EE000, 0x200000, 0x1000000)
REAL = [
    (True, [LOW, MAIN], KERNEL_61, [0x9A000, 0x98000, 0x7C000000, 0x7BE99000]),
    (True, [LOW, MAIN, Range(1 << 32, 0x1C0000000)], KERNEL_61, [0x9A000, 0x98000, 0x7C000000, 0x7BE99000]),
    (True, [CRASH], KERNEL_61, [0x7EFFA000, 0x7EFF8000, 0x7B000000, 0x7AE99000]),
    (False, [LOW, MAIN], KERNEL_612, [0x7FFDA000, 0x7FFD8000, 0x7C600000, 0x7FE71000]),
    (False, [LOW, MAIN, Range(1 << 32, 0x140000000)], KERNEL_612, [0x13FFFB000, 0x13FFF9000, 0x13C800000, 0x13C699000]),
    (False, [CRASH], KERNEL_612, [0x7EFFB000, 0x7EFF9000, 0x7B800000, 0x7B699000]),
]
"""kexec_file_load() on Linux 6.1.192 and 6.12.117, PCs of 2, 3 and 5 GiB and crashkernel=256M: what went where."""


def rules(before_6_8: bool) -> dict[str, bool]:
    return {"highest_first": not before_6_8, "end_used": not before_6_8}


@pytest.mark.parametrize(("before_6_8", "ram", "kernel", "addresses"), REAL)
def test_holes_are_those_of_real_kernels(
    before_6_8: bool, ram: list[Range], kernel: tuple[int, int, int], addresses: list[int]
) -> None:
    taken: list[tuple[int, int]] = []
    buffers = [(0x5000, 4096, 0x3000), (0x1110, 4096, 0x3000), kernel, (0x166104, 4096, 16 << 20)]
    for (size, align, low), expected in zip(buffers, addresses, strict=True):
        address = locate_mem_hole(ram, taken, size, align, low, **rules(before_6_8))
        assert address == expected
        taken.append((address, address + -(-size // PAGE) * PAGE))


def segment(mem: int, pages: int = 1, bufsz: int = 0, memsz: int | None = None) -> Segment:
    return Segment("s", bytes(bufsz), mem, pages * PAGE if memsz is None else memsz)


CASES = [
    ([segment((1 << 64) - PAGE, 2)], "EADDRNOTAVAIL", "below 2"),
    ([segment(0x1001)], "EADDRNOTAVAIL", "whole pages"),
    ([segment(0x1000, memsz=100)], "EADDRNOTAVAIL", "whole pages"),
    ([segment((1 << 46) - PAGE)], "EADDRNOTAVAIL", "an end below"),
    ([segment(0x1000, 2), segment(0x2000)], "EINVAL", "no overlap"),
    ([segment(0x1000, 1, PAGE + 1)], "EINVAL", "at most memsz"),
    ([segment(0x1000, 51)], "EINVAL", "half of RAM"),
    ([segment(0x1000, 26), segment(0x100000, 26)], "EINVAL", "in all"),
]


@pytest.mark.parametrize(("segments", "code", "text"), CASES)
def test_each_rule_has_its_code(segments: list[Segment], code: str, text: str) -> None:
    with pytest.raises(KexecError, match=text) as error:
        sanity_check_segment_list(segments, total_pages=100)
    assert error.value.code == code


def test_what_the_rules_allow() -> None:
    sanity_check_segment_list([segment(0x2000), segment(0x1000), segment(0x3000, 48, PAGE)], total_pages=100)
    sanity_check_segment_list([segment(1 << 46)], total_pages=100, destination_bits=52)


def test_the_first_rule_broken_is_the_one_reported() -> None:
    both = [segment(0x1001), segment(0x1000, 80)]
    with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
        sanity_check_segment_list(both, total_pages=100)


def test_crash_segments_stay_in_their_reservation() -> None:
    area = Range(0x10000, 0x20000)
    sanity_check_segment_list([segment(0x10000, 16)], 100, crash=area)
    for outside in (segment(0xF000, 2), segment(0x1F000, 2)):
        with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
            sanity_check_segment_list([outside], 100, crash=area)
