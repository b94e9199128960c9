"""Units of the first per-CPU chunk."""

from __future__ import annotations

import pytest

from minikern.mm.early.percpu import build_alloc_info


@pytest.mark.parametrize(
    ("groups", "unit"),
    [([[0]], 2097152), ([[0, 1]], 1048576), ([[0, 1, 2, 3], [4, 5, 6, 7]], 524288), ([list(range(128))], 262144)],
)
def test_units_of_real_boots(groups: list[list[int]], unit: int) -> None:
    # "percpu: Embedded 62 pages/cpu s217088 r8192 d28672 u..." of Debian 6.1 on 1, 2 and 2 x 4 CPUs
    info = build_alloc_info(217088, groups)
    assert (info.static, info.reserved, info.dynamic, info.unit, info.alloc) == (217088, 8192, 28672, unit, 2097152)
    assert info.used == 62 * 4096
