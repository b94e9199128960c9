from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hw.overlay import Overlay
from tests.hw.rig import Rig

TABLES = st.dictionaries(st.integers(0, 8), st.integers(0, 3))


@given(TABLES, TABLES, TABLES)
def test_reads_as_what_it_was_made_of(first: dict[int, int], second: dict[int, int], later: dict[int, int]) -> None:
    model = Overlay(first)
    table = Overlay(second, model)
    for key, value in later.items():
        table[key] = value
    wanted = second | later
    assert {key: table.get(key) for key in range(9)} == {key: wanted.get(key) for key in range(9)}
    assert [key for key in range(9) if key in table] == sorted(wanted)
    assert all(table[key] == value for key, value in wanted.items())
    assert {key: model.get(key) for key in range(9)} == {key: first.get(key) for key in range(9)}, "shared, not altered"


def test_registers_of_one_cpu_are_no_other_s() -> None:
    rig = Rig(0, 1, 2)
    pat, before = 0x277, rig.cpus[0].rdmsr(0x277)
    rig.cpus[1].wrmsr(pat, 0x0606)
    assert [cpu.rdmsr(pat) for cpu in rig.cpus] == [before, 0x0606, before]
    rig.cpus[0].wrmsr(pat, 0)
    assert [cpu.rdmsr(pat) for cpu in rig.cpus] == [0, 0x0606, before]
