from __future__ import annotations

import gc

import pytest

from minikern.host.collector import OBJECTS_BETWEEN_LOOKS, OBJECTS_OF_MANY, many_small, rare_looks


@pytest.mark.parametrize("mine", [(700, 10, 10), (0, 10, 10), (9_000_000, 20, 5)])
def test_looks_are_rarer_for_a_while(mine: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    gc.set_threshold(*mine)
    try:
        with rare_looks():
            during = gc.get_threshold()
        assert gc.get_threshold() == mine
    finally:
        gc.set_threshold(*before)
    assert during == (OBJECTS_BETWEEN_LOOKS if mine[0] == 700 else mine)


@pytest.mark.parametrize("mine", [(700, 10, 10), OBJECTS_BETWEEN_LOOKS])
def test_looks_are_more_frequent_for_many_small_machines(mine: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    gc.set_threshold(*mine)
    try:
        with many_small():
            during = gc.get_threshold()
        assert gc.get_threshold() == mine
    finally:
        gc.set_threshold(*before)
    assert during == (mine if mine[0] == 700 else OBJECTS_OF_MANY)
