"""The order in which nodes stand in for each other, as real kernels with the same nodes logged it."""

from __future__ import annotations

import pytest

from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.report import proc


@pytest.mark.parametrize(
    ("numa", "cpus", "expected"),
    [
        (("128M,cpus=0", "128M,cpus=1", "128M"), "2", ["0 1 2", "1 2 0", "2 0 1"]),  # no CPU counts yet
        (("128M,cpus=0", "128M,cpus=1"), "2", ["0 1", "1 0"]),
    ],
)
def test_nodes_at_equal_distance(numa: tuple[str, ...], cpus: str, expected: list[str]) -> None:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(cpus=cpus, numa=numa))
    k = boot(spec, release="debian-6.1").kernel
    lines = [line.text for line in k.log.lines if line.text.startswith("Fallback order")]
    assert [line.split(": ")[1].strip() for line in lines] == expected


def test_a_node_with_cpus_only_is_listed_in_zoneinfo() -> None:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(cpus="2", numa=("256M,cpus=0", "0,cpus=1")))
    k = boot(spec, release="debian-6.1").kernel
    text = proc.zoneinfo(k)
    assert text.count("Node 1, zone") == 5
    assert "Node 1" not in proc.buddyinfo(k) + proc.pagetypeinfo(k)
    with_memory = boot(load_preset("tiny"), release="debian-6.1").kernel
    assert "Node 1" not in proc.zoneinfo(with_memory)
