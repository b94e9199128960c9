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
    st.sampled_from([1, PAGE, 2 * PAGE, 8 * PAGE]), st.integers(0, 40 * PAGE),
)  # fmt: skip
def test_the_highest_hole_is_found(
    ram: list[tuple[int, int]], taken: list[tuple[int, int]], size: int, align: int, low: int
) -> None:
    pages = -(-size // PAGE) * PAGE
    expected = naive_kexec.locate(ram, taken, pages, max(align, PAGE), low)
    areas = [Range(*span) for span in ram]
    if expected is None:
        with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
            locate_mem_hole(areas, taken, size, align, low)
    else:
        assert locate_mem_hole(areas, taken, size, align, low) == expected


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
