"""Unit costs measured on this computer."""

from __future__ import annotations

import pytest

from hw.errors import InputError
from minikern.core.cost_table import default_costs
from minikern.host import jit
from minikern.lab import host_costs as room


@pytest.mark.skipif(jit.DISABLED, reason="rates of compiled kernels")
def test_rates_replace_costs_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SECTIONS", 2)
    monkeypatch.setattr(room, "DIGEST_BYTES", 1 << 16)
    costs = room.host_costs()
    assert set(costs) <= set(default_costs())
    assert {"struct_page_init", "struct_page_free", "node_store_per_page", "sha256_generic_byte"} <= set(costs)
    for kind, cost in costs.items():
        assert 0 < cost.ns < 1e6, kind
        assert cost.source.startswith("measured on this host")


def test_without_compiled_kernels_there_are_no_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "DISABLED", True)
    with pytest.raises(InputError, match="unset NUMBA_DISABLE_JIT"):
        room.host_costs()
