"""``kho=``, ``kho_scratch=``, ``liveupdate=`` and ``reserve_mem=``: what is taken, and what is said of the rest."""

from __future__ import annotations

import pytest

from minikern.describe.presets import load_preset
from minikern.lab.run import Boot, boot
from minikern.state.kho import Scratch
from tests.support import texts

MIB = 1 << 20


def booted(words: str, release: str = "kho-7.2") -> Boot:
    return boot(load_preset("tiny"), release=release, append=words)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("25%", "KHO: scratch scale is 25%"),
        ("8M,16M,24M", "KHO: scratch areas: lowmem: 8MiB global: 16MiB pernode: 24MiB"),
        ("0,0,8M", "KHO: scratch areas: lowmem: 0MiB global: 0MiB pernode: 8MiB"),
    ],
)
def test_sizes_are_told(value: str, line: str) -> None:
    log = texts(booted(f"kho=on kho_scratch={value}"))
    assert line in log
    assert not any(text.startswith("Malformed") for text in log)


@pytest.mark.parametrize(
    "value", ["", "x%", "99999999999%", "-1%", "1M,2M", "1M,2M,3M,", "1M,2M,3Mx", "0,0,0", "1M;2M;3M"]
)
def test_malformed_sizes_are_refused_and_the_default_stays(value: str) -> None:
    done = booted(f"kho=on kho_scratch={value}")
    assert "Malformed early option 'kho_scratch'" in texts(done)
    assert done.kernel.kho.explicit is None
    assert done.kernel.kho.scale == 200


def test_explicit_areas_lie_where_there_is_room_and_the_nodes_are_rounded() -> None:
    kernel = booted("kho=on kho_scratch=8M,16M,21M").kernel
    assert [area.size for area in kernel.kho.scratch] == [8 * MIB, 16 * MIB, 24 * MIB]
    assert all(area.addr % (4 * MIB) == 0 for area in kernel.kho.scratch)
    zone = kernel.page_alloc.zone_of(kernel.kho.scratch[0].addr >> 12)
    assert zone.cma_pages == 48 * MIB >> 12


def test_without_room_kho_is_off() -> None:
    for sizes, what in (
        ("1G,1M,1M", "lowmem scratch buffer"),
        ("1M,1G,1M", "global scratch buffer"),
        ("1M,1M,1G", "nid 0 scratch buffer"),
    ):
        done = booted(f"kho=on kho_scratch={sizes}")
        log = texts(done)
        at = log.index(f"KHO: Failed to reserve {what}")
        assert log[at + 1] == "KHO: Failed to reserve scratch area, disabling kexec handover"
        assert not done.kernel.kho.enabled
        assert done.kernel.kho.scratch == list[Scratch]()
        assert done.kernel.kho.outgoing is None


def test_off_and_nonsense() -> None:
    assert not booted("kho=off").kernel.kho.scratch
    assert "Malformed early option 'kho'" in texts(booted("kho=perhaps"))
    log = texts(booted("kho=off liveupdate=on"))
    assert "luo: Disabling liveupdate because KHO is disabled" in log


def test_a_kernel_without_it_hands_the_words_to_init() -> None:
    log = texts(booted("kho=on liveupdate=on", "debian-7.2"))
    assert any('Unknown kernel command line parameters "kho=on liveupdate=on"' in line for line in log)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("0:4096:x", "reserve_mem: empty or malformed parameter"),
        ("1M:4096", "reserve_mem: empty or malformed parameter"),
        ("1M:4096:a-name-too-long-for-it", "reserve_mem: empty or malformed parameter"),
        ("1T:4096:x", "reserve_mem: memblock allocation failed"),
        ("1M:4096:keep", 'reserve_mem: name "keep" was already used'),
    ],
)
def test_refused_regions(value: str, line: str) -> None:
    done = booted(f"kho=on reserve_mem=1M:4096:keep reserve_mem={value}")
    assert line in texts(done)
    assert [held.name for held in done.kernel.kho.reservations] == ["keep"]


def test_regions_are_aligned_and_eight_at_most() -> None:
    words = " ".join(f"reserve_mem=64K:{1 << 16}:r{index}" for index in range(9))
    done = booted(f"kho=on {words}")
    held = done.kernel.kho.reservations
    assert [region.name for region in held] == [f"r{index}" for index in range(8)]
    assert all(region.start % (1 << 16) == 0 for region in held)
    assert "reserve_mem: no more room for reserved memory" in texts(done)
