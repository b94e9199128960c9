"""The memory map: sanitising, changes by the command line, gaps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.config import Config
from minikern.mm.early.e820 import e820__range_remove, e820__range_update, e820__update_table, e820_end_pfn, type_name
from minikern.mm.early.e820_resources import largest_gap, register_nosave_regions
from minikern.state.e820 import E820State, Entry, Type
from tests import naive
from tests.support import behaviour_of

SAMPLE = Path(__file__).parents[3] / "../shared/corpora/e820/sanitize-sample.json"

entries = st.lists(
    st.builds(Entry, st.integers(0, 60), st.integers(0, 30), st.sampled_from([1, 2, 3, 4, 5, 7])),
    min_size=2,
    max_size=12,
)


@given(entries)
def test_update_table_is_the_byte_by_byte_map(table: list[Entry]) -> None:
    result = e820__update_table(table)
    assert result is not None
    assert [tuple(entry) for entry in result] == naive.sanitise([tuple(entry) for entry in table])


@pytest.mark.parametrize(("gaps", "prefix"), [(False, "PM: "), (True, "PM: hibernation: ")])
def test_pages_kept_from_hibernation(gaps: bool, prefix: str) -> None:
    """Each hole and entry on its own, as in logs of 4.15 to 6.14, or all that lies between memory, since 6.15."""
    lines: list[str] = []
    allocated: list[int] = []
    k: Any = SimpleNamespace(
        config=Config({}),
        behaviour=behaviour_of("debian-6.12", nosave_gaps=gaps, nosave_prefix=prefix),
        e820=E820State([Entry(0, 0x9FC00, 1), Entry(0xF0000, 0x10000, 2), Entry(0x100000, 0x100000, 1)]),
        memblock=SimpleNamespace(alloc=lambda size, align: allocated.append(size)),
        printk=lines.append,
    )
    register_nosave_regions(k, 0x200)
    spans = ["0009f000-0x000fffff"] if gaps else ["0009f000-0x000effff", "000f0000-0x000fffff"]
    assert lines == [f"{prefix}Registered nosave memory: [mem 0x{span}]" for span in spans]
    assert len(allocated) == 1, "one that begins where the last one ended lengthens it"


@given(entries)
def test_update_table_twice_changes_nothing(table: list[Entry]) -> None:
    once = e820__update_table(table)
    assert once is not None
    if len(once) >= 2:
        assert e820__update_table(once) == once


def test_documented_sample() -> None:
    if not SAMPLE.exists():
        pytest.skip("no shared/corpora beside the checkout")
    sample = json.loads(SAMPLE.read_text())
    given_rows = [Entry(*row) for row in sample["input"]]
    expected = next(value for key, value in sample.items() if key not in ("what", "input"))
    assert e820__update_table(given_rows) == [Entry(*row) for row in expected]


def test_unusable_maps_are_left_alone() -> None:
    assert e820__update_table([Entry(0, 4096, 1)]) is None
    assert e820__update_table([Entry(0, 4096, 1), Entry(2**64 - 4096, 8192, 1)]) is None


def test_pram_is_never_merged() -> None:
    table = [Entry(0, 16, 1), Entry(16, 16, Type.PRAM), Entry(32, 16, Type.PRAM)]
    assert e820__update_table(table) == table


@given(entries, st.integers(0, 60), st.integers(1, 30))
def test_range_update_changes_only_what_it_names(table: list[Entry], start: int, size: int) -> None:
    changed = e820__range_update(table, start, size, Type.RAM, Type.RESERVED)
    for old, new in zip(_owners(table), _owners(changed), strict=True):
        inside = start <= old[0] < start + size
        expected = [2 if kind == 1 and inside else kind for kind in old[1]]
        assert sorted(new[1]) == sorted(expected)


@given(entries, st.integers(0, 60), st.integers(1, 30), st.booleans())
def test_range_remove(table: list[Entry], start: int, size: int, check: bool) -> None:
    left = e820__range_remove(table, start, size, Type.RAM, check)
    for old, new in zip(_owners(table), _owners(left), strict=True):
        inside = start <= old[0] < start + size
        expected = [kind for kind in old[1] if not inside or (check and kind != 1)]
        assert sorted(new[1]) == sorted(expected)


def _owners(table: list[Entry]) -> list[tuple[int, list[int]]]:
    return [(byte, [e.type for e in table if e.addr <= byte < e.end]) for byte in range(100)]


def test_end_pfn_counts_acpi_and_stops_at_the_limit() -> None:
    table = [Entry(0, 0x100000, 1), Entry(0x200000, 0x10000, Type.ACPI), Entry(0x400000, 0x1000, Type.NVS)]
    assert e820_end_pfn(table, 1 << 40, 1 << 40) == 0x210
    assert e820_end_pfn(table, 0x80, 1 << 40) == 0x80


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(1, 200)), min_size=1, max_size=8))
def test_largest_gap(blocks: list[tuple[int, int]]) -> None:
    mib = 4 << 20
    clean = [Entry(*row) for row in naive.sanitise([(start * mib, size * mib, 1) for start, size in blocks], mib)]
    holes = naive.gaps([(0, clean[0].end), *((e.addr, e.end) for e in clean)], 1 << 32)
    best = max((size for _, size in holes), default=0)
    start, size = largest_gap(clean)
    head = clean[0].addr  # memory starts here: what lies below is a gap like any other only for the naive twin
    assert size == (best if best >= mib else 0)
    assert not size or ((start, size) in holes and start >= head)


def test_names() -> None:
    assert type_name(1) == type_name(128) == "usable"
    assert type_name(12) == "persistent (type 12)"
    assert type_name(0xEFFFFFFF) == "soft reserved"
    assert type_name(99) == "type 99"
