"""Descriptions of machines: presets, checks, options, maps."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import boot_params
from hw.errors import InputError
from hw.machine import Machine
from hw.memmap import make_e820, place_nodes
from hw.spec import EFI_RANGES, CpuSpec, MemoryRange, parse_cpulist
from hw.units import GIB, MIB, parse_size
from minikern.core.cost_table import default_costs, machine_costs
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine, load_preset, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_presets_power_on_and_cite_every_cost(name: str) -> None:
    spec = load_preset(name)
    assert spec.title
    for kind, cost in machine_costs(spec.name, spec.costs).items():
        assert cost.source.strip(), kind
    machine = Machine.power_on(spec)
    page = machine.bus.read_bytes(machine.boot_cpu.rsi, boot_params.SIZE)
    assert len(boot_params.read_e820(page)) == len(spec.e820)
    assert len(machine.cpus) == spec.cpus.count


def test_costs_of_nothing_are_refused() -> None:
    spec = load_preset("tiny")
    spec.costs["frob"] = next(iter(default_costs().values()))
    with pytest.raises(InputError, match="frob"):
        machine_costs(spec.name, spec.costs)


def test_the_talks_machine_has_its_pages() -> None:
    spec = load_preset("lpc2023")
    usable = sum(entry.end - entry.start for entry in spec.e820 if entry.type == 1)
    assert usable // 4096 - 1 == 134129327  # page 0 is not given to the kernel


def test_threads_last_lists_first_threads_of_all_packages_first() -> None:
    places = CpuSpec(count=8, sockets=2, cores=2, threads=2, enumeration="threads-last").topology()
    assert [place.apic_id for place in places] == [0, 2, 4, 6, 1, 3, 5, 7]
    assert [place.thread for place in places] == [0, 0, 0, 0, 1, 1, 1, 1]


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 3))
def test_apic_ids_are_unique(sockets: int, cores: int, threads: int) -> None:
    spec = CpuSpec(count=sockets * cores * threads, sockets=sockets, cores=cores, threads=threads)
    ids = [place.apic_id for place in spec.topology()]
    assert len(set(ids)) == spec.count


@given(st.integers(64, 1 << 20).map(lambda pages: pages * MIB))
def test_made_up_maps_hold_what_was_asked_for(total: int) -> None:
    ranges = make_e820(total, "test")
    for left, right in pairwise(ranges):
        assert left.end <= right.start
    installed = sum(entry.end - entry.start for entry in ranges if entry.type in (1, 3))
    assert total - installed == 0x100000 - 0x9FC00  # the hole below 1 MiB is taken from what is installed


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any))
def test_nodes_follow_each_other_through_the_map(sizes: list[int]) -> None:
    unit = 128 * MIB
    nodes = place_nodes([size * unit for size in sizes], [""] * len(sizes), "test")
    assert [sum(part.length for part in node.memory) for node in nodes] == [size * unit for size in sizes]
    parts = [part for node in nodes for part in node.memory]
    for left, right in pairwise(parts):
        assert left.base + left.length <= right.base


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * GIB), ("512m", 512 * MIB), ("0x1000", 4096), ("010M", 10 * MIB), ("1 GiB", GIB)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text, "here") == size


@pytest.mark.parametrize("text", ["", "-1G", "0", "4X", "1e3", "99999P"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(InputError, match="here"):
        parse_size(text, "here")


def test_cpulists() -> None:
    assert parse_cpulist("0-3,8", "here") == [0, 1, 2, 3, 8]
    for bad in ("x", "3-1", "1-", "0-99999"):
        with pytest.raises(InputError, match="here"):
            parse_cpulist(bad, "here")


def test_numa_options_make_nodes_with_distances() -> None:
    spec = load_machine("tiny")
    options = Adjustments(cpus="4", numa=["128M,cpus=0-1", "128M,cpus=2,cpus=3"], numa_distance=["0,1=21"])
    adjust(spec, options)
    assert [node.cpus for node in spec.nodes] == ["0-1", "2,3"]
    assert spec.distances == [[10, 21], [21, 10]]
    assert spec.memory_bytes() == 256 * MIB


def test_nodes_option_makes_equal_shares() -> None:
    spec = load_machine("lpc2023")
    adjust(spec, Adjustments(cpus="8", memory="8G", nodes=4))
    assert [sum(part.length for part in node.memory) for node in spec.nodes] == [2 * GIB] * 4
    assert [node.cpus for node in spec.nodes] == ["0-1", "2-3", "4-5", "6-7"]
    for wrong in ({"nodes": 9}, {"nodes": 2, "numa": ("1G",)}):
        with pytest.raises(InputError, match="--nodes"):
            adjust(spec, Adjustments(**wrong))  # type: ignore[arg-type]


def test_memory_option_keeps_the_nodes_shares() -> None:
    spec = load_machine("lpc2023")
    adjust(spec, Adjustments(memory="8G"))
    assert [sum(part.length for part in node.memory) for node in spec.nodes] == [4 * GIB, 4 * GIB]


def test_cpus_option_spreads_the_nodes_cpus() -> None:
    spec = load_machine("lpc2023")
    adjust(spec, Adjustments(cpus="8,sockets=2,cores=2,threads=2"))
    assert [len(parse_cpulist(node.cpus, "x")) for node in spec.nodes] == [4, 4]


def test_description_survives_json() -> None:
    spec = load_preset("laptop")
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Case) == spec


def test_a_board_with_two_devices_at_one_place_is_refused() -> None:
    spec = load_preset("tiny")
    spec.acpi.pm_timer_port = 0x60  # the PIT's gate is at 0x61
    with pytest.raises(InputError, match="0x61"):
        Machine.power_on(spec)


def test_no_kernel_is_larger_than_its_map() -> None:
    spec = load_preset("tiny")
    spec.boot.init_size = 1 << 40
    with pytest.raises(InputError, match=r"init_size 0x10000000000: no kernel is larger than 0x40000000"):
        Machine.power_on(spec)


def test_no_ramdisk_is_larger_than_memory() -> None:
    spec = load_preset("tiny")
    spec.boot.ramdisk_bytes = 1 << 40
    with pytest.raises(InputError, match=r"ramdisk_bytes 1099511627776: all memory has 268435456"):
        Machine.power_on(spec)


@pytest.mark.parametrize("name", EFI_RANGES)
def test_ranges_of_the_efi_map_end_behind_their_start(name: str) -> None:
    spec = load_preset("tiny")
    setattr(spec.boot, name, [MemoryRange(0x2000, 0x1000)])
    with pytest.raises(InputError, match=rf"boot\.{name}\[0\]: end 0x1000 is below start 0x2000"):
        Machine.power_on(spec)
