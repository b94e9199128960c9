"""Every reader on inputs that are nearly right: executed or refused in words, within seconds, and nothing else.

A few inputs each time; ``--fuzz-minutes N`` gives each reader N minutes of other ones, and ``tests/fuzz/night.py`` as
many as are asked for. What was tried is printed.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.outcomes import Tally
from tests.fuzz.readers import READERS, Reader


def _once(reader: Reader, place: Path, tally: Tally, examples: int, number: int) -> None:
    @seed(number)
    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck), derandomize=False)  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def feed(chance: Random) -> None:
        tally.feed(partial(reader.read, place), reader.make(chance))

    feed()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_nothing_unforeseen(reader: Reader, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    tally, number = Tally(reader.name), 1
    until = time.monotonic() + 60 * pytestconfig.getoption("--fuzz-minutes")
    _once(reader, tmp_path, tally, reader.few, number)
    while time.monotonic() < until:
        number += 1
        _once(reader, tmp_path, tally, reader.few, number + time.time_ns() % 10**9)
    print(tally)
    assert tally.counts["executed"], tally
    assert not tally.unforeseen, tally.report()
