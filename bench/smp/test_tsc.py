"""Host time of the TSC's quick calibration, beside the same loop with every poll of the timer done.

pytest bench/smp/test_tsc.py --benchmark-enable
"""

from __future__ import annotations

from typing import Any

import pytest

from hw.spec import CpuSpec
from minikern.smp import tsc
from tests import naive_smp
from tests.smp.harness import make_kernel

ONE = CpuSpec(count=1, tsc_khz=2_445_414)
WAYS = {"quick": tsc.tsc_early_init, "every poll": naive_smp.quick_pit}


@pytest.mark.benchmark(group="tsc calibration")
@pytest.mark.parametrize("way", WAYS)
def test_quick_calibration(benchmark: Any, way: str) -> None:
    assert benchmark.pedantic(WAYS[way], setup=lambda: ((make_kernel(ONE),), {}), rounds=2)
