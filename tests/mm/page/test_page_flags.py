from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import InputError
from minikern.core.config import Config
from minikern.mm.map.page_init import page_flags_layout
from tests.support import behaviour_of

ZONES = {"CONFIG_ZONE_DMA": True, "CONFIG_ZONE_DMA32": True, "CONFIG_ZONE_DEVICE": True}
DISTRO = Config(
    {**ZONES, "CONFIG_NODES_SHIFT": 10, "CONFIG_NR_CPUS": 8192, "CONFIG_NUMA_BALANCING": True, "CONFIG_LRU_GEN": True}
)
TALK = Config({**ZONES, "CONFIG_NODES_SHIFT": 6, "CONFIG_NR_CPUS": 240, "CONFIG_NUMA_BALANCING": True})
BITS_6_1 = behaviour_of("debian-6.1")
BITS_6_12 = behaviour_of("debian-6.12")


@pytest.mark.parametrize(
    ("config", "nid", "zone", "flags"),
    [
        (DISTRO, 0, 2, 0x0017FFFFC0000000),
        (DISTRO, 0, 1, 0x000FFFFFC0000000),
        (DISTRO, 0, 0, 0x0007FFFFC0000000),
        (DISTRO, 1, 2, 0x0057FFFFC0000000),
        (TALK, 0, 2, 0x017FFF8000000000),
        (TALK, 1, 2, 0x057FFF8000000000),
    ],
)
def test_known_flag_words(config: Config, nid: int, zone: int, flags: int) -> None:
    assert page_flags_layout(config, BITS_6_1).links(nid, zone) == flags


def test_shifts_as_a_debug_boot_prints_them() -> None:
    layout = page_flags_layout(DISTRO, BITS_6_1)
    assert (layout.nodes_shift, layout.zones_shift, layout.cpupid_shift) == (54, 51, 30)
    assert (layout.cpupid_width, layout.lru_gen_width) == (21, 3)


def test_masks_by_release() -> None:
    old, new = page_flags_layout(TALK, BITS_6_1), page_flags_layout(TALK, BITS_6_12)
    assert (old.reserved, old.private, old.head) == (0x1000, 0x2000, 0x10000)
    assert (new.reserved, new.private, new.head) == (0x2000, 0x4000, 0x40)


@given(st.integers(0, 1023), st.integers(0, 4))
def test_node_and_zone_come_back(nid: int, zone: int) -> None:
    layout = page_flags_layout(DISTRO, BITS_6_1)
    flags = layout.links(nid, zone)
    assert (layout.nid(flags), layout.zone(flags)) == (nid, zone)


def test_zone_widths() -> None:
    for device, width in ((True, 3), (False, 2)):
        config = Config({**TALK, "CONFIG_ZONE_DEVICE": device})
        assert page_flags_layout(config, BITS_6_1).zones_width == width
    only_normal = Config({"CONFIG_NODES_SHIFT": 0, "CONFIG_NR_CPUS": 1})
    layout = page_flags_layout(only_normal, BITS_6_1)
    assert (layout.zones_width, layout.nodes_width, layout.cpupid_width) == (1, 0, 0)
    assert layout.nid(layout.links(0, 1)) == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="last_cpupid needs 28 bits"):
        page_flags_layout(Config({**DISTRO, "CONFIG_NR_CPUS": 1 << 20}), BITS_6_1)
    with pytest.raises(InputError, match="CONFIG_NODES_SHIFT=40"):
        page_flags_layout(Config({**DISTRO, "CONFIG_NODES_SHIFT": 40}), BITS_6_1)
    with pytest.raises(InputError, match="node 64, zone 2"):
        page_flags_layout(TALK, BITS_6_1).links(64, 2)


def test_description() -> None:
    layout = page_flags_layout(TALK, BITS_6_1)
    assert layout.describe(layout.links(1, 2) | layout.reserved) == "node 1 zone Normal reserved"
    assert layout.describe(layout.links(0, 7)) == "node 0 zone #7 no flags"
