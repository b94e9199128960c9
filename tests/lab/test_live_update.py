"""Guests that are there: their memory is the host's, is handed over, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from hw.errors import InputError
from hw.units import GIB, MIB, PAGE_SIZE
from minikern.commands.downtime import downtime
from minikern.core.cost_table import default_costs
from minikern.core.variant import Variant, load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.downtime import Link
from minikern.lab.guest_work import Update, cost_ns, restore_work, save_work
from minikern.lab.live_update import dax_words, live_update, place_guests, way_of
from minikern.lab.migration import migrate_all
from minikern.lab.run import boot
from minikern.lab.vms import VmGroup, parse_vm, total_bytes

SCRATCH = "kho_scratch=64M,64M,128M"


def host(memory: str = "2G") -> Case:
    spec = load_machine("tiny")
    adjust(spec, Adjustments(memory=memory))
    return spec


def small_dax() -> Variant:
    return load_variant("parallel-smp")


def test_spellings(tmp_path: Path) -> None:
    (group,) = parse_vm("4x16G,vcpus=8,vfio=1,pages=4K")
    assert (group.count, group.memory_bytes, group.vcpus, group.vfio) == (4, 16 * GIB, 8, 1)
    assert group.folios == 4 * GIB // 1024
    assert parse_vm("3M")[0].memory_bytes == 4 * MIB  # whole folios
    path = tmp_path / "vms.toml"
    path.write_text('[[vm]]\ncount = 2\nmemory = "1G"\npages = "1G"\n[[vm]]\nmemory = "512M"\nvfio = 2\n')
    groups = parse_vm(str(path))
    assert [(group.count, group.folios) for group in groups] == [(2, 1), (1, 256)]
    assert total_bytes(groups) == 2 * GIB + 512 * MIB


@pytest.mark.parametrize("text", ["", "x4G", "0x1G", "4x", "2x1G,cpus=3", "1G,vcpus=0", "1G,pages=3K", "0", "no.toml"])
def test_guests_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match="--vm"):
        parse_vm(text)


def test_what_is_wrong_with_a_guest_is_said_by_its_name() -> None:
    for text, said in (
        ("4x", "'4x': no size: expected [Nx]SIZE,vcpus=N"),
        ("4x16G,vfio=99", "vfio: expected `int` <= 64"),
        ("9999x1G", "count: expected `int` <= 4096"),
        ("1G,vcpu=8", "'vcpu=8': expected [Nx]SIZE,vcpus=N"),
    ):
        with pytest.raises(InputError) as error:
            parse_vm(text)
        assert said in str(error.value)


def test_guests_that_scratch_leaves_no_room_for_say_how_to_make_some() -> None:
    with pytest.raises(InputError, match=r"beside scratch areas of \d\.\d GiB \(kho_scratch="):
        live_update(host(), load_variant("live-update-7.2"), parse_vm("8x256M"), "kho")


def test_guests_get_memory_of_the_host_and_no_more_than_there_is() -> None:
    k = boot(host()).kernel
    free = k.page_alloc.nr_free_pages()
    placed = place_guests(k, parse_vm("3x256M"), [0])
    assert free - k.page_alloc.nr_free_pages() == 3 * 256 * MIB // PAGE_SIZE
    assert len({pfn for _, blocks in placed for pfn in blocks}) == 3 * 64
    with pytest.raises(InputError, match="do not fit"):
        place_guests(k, parse_vm("8x256M"), [0])


@pytest.mark.parametrize("pages", ["4K", "2M"])
def test_preserved_memory_is_taken_from_the_next_kernel(pages: str) -> None:
    """Both kernels' counts agree, nothing is lost, and the boot CPU initialises each struct page of it."""
    groups = parse_vm(f"2x256M,pages={pages}")
    none = parse_vm(f"1x4M,pages={pages}")
    kho = load_variant("live-update-7.2")
    row, empty = (live_update(host(), kho, given, "kho", append=SCRATCH) for given in (groups, none))
    assert row.lost == []
    assert row.preserved_pages == 512 * MIB // PAGE_SIZE
    assert row.initialised_alone > empty.initialised_alone
    assert row.scratch_bytes >= 128 * MIB
    assert row.guest_ms["snapshot"] - empty.guest_ms["snapshot"] == pytest.approx(
        (groups[0].folios - none[0].folios) * default_costs()["kho_preserve_block"].ns / 1e6, abs=0.002
    )


@pytest.mark.parametrize("variant", ["live-update-6.18", "live-update-7.2", "live-update-7.3"])
def test_every_folio_is_walked_by_the_next_kernel(variant: str) -> None:
    """Chunks or tree: the boot looks at each block; twice where scratch is extended."""
    few, many = (live_update(host(), load_variant(variant), parse_vm(f"{size},pages=4K"), "kho", append=SCRATCH)
                 for size in ("16M", "256M"))  # fmt: skip
    more, walks = (256 - 16) * MIB // PAGE_SIZE, 2 if variant == "live-update-7.3" else 1
    walked = [row.walked_blocks for row in (few, many)]
    assert walks * more <= walked[1] - walked[0] <= walks * more * 1.02
    assert few.lost == many.lost == []


def test_one_guest_is_silent_for_the_sum_of_its_work() -> None:
    costs = default_costs()
    (vm,) = parse_vm("1G,vcpus=3,vfio=2")
    work = [*save_work(vm, "kho").values(), *restore_work(vm, "kho").values()]
    expected = sum(round(ns) for part in work for ns in cost_ns(part, costs).values())
    update = Update([vm], "kho", 700, costs, 8)
    assert update.run() == [expected + 700 + round(costs["vmm_start"].ns) + 500 * vm.packet_us]


def test_guests_differ() -> None:
    """A passed-through device costs its own guest the reset, and nobody else; a disk is shared."""
    costs = default_costs()
    plain, with_device = parse_vm("1G")[0], parse_vm("1G,vfio=1")[0]
    silent = Update([plain, with_device], "kho", 0, costs, 8).run()
    table = 3 * costs["iommu_table_page"].ns + costs["iommu_attach"].ns
    own = costs["vfio_device_reset"].ns + 512 * costs["iommu_map_folio"].ns + table
    assert silent[1] - silent[0] == pytest.approx(own)
    one, two = (Update([msgspec.structs.replace(plain, count=n)], "file", 0, costs, 8).run() for n in (1, 2))
    transfers = 1024 * (costs["vm_store_mib"].ns + costs["vm_load_mib"].ns)
    assert max(two) - one[0] == pytest.approx(transfers, rel=0.3)


def test_memory_on_dax_is_no_ram_of_either_kernel() -> None:
    words = dax_words(host("16G"), parse_vm("4x2G"))
    assert words.startswith("memmap=0x")
    k = boot(host("16G"), small_dax(), "", words).kernel
    assert sum(zone.present_pages for node in k.nodes for zone in node.zones) < 9 * GIB // PAGE_SIZE
    with pytest.raises(InputError, match="do not fit"):
        dax_words(host("16G"), parse_vm("7x2G"))


def test_huge_pages_of_hugetlb_are_not_handed_over() -> None:
    with pytest.raises(InputError, match="pages=1G"):
        live_update(host("4G"), load_variant("live-update-7.2"), parse_vm("1G,pages=1G"), "kho", append=SCRATCH)


def test_ways() -> None:
    assert [way_of(load_variant(name)) for name in ("kexec-7.3", "live-update-6.18")] == ["dax", "kho"]


def test_migration_of_different_guests() -> None:
    groups = [VmGroup("8G", dirty="256M"), VmGroup("1G", dirty="4K")]
    moved = migrate_all(load_machine("tiny"), groups, Link(float(GIB), 0.0))
    assert moved.converged and moved.network_bytes >= 9 * GIB
    assert moved.worst_ms > moved.p50_ms


def test_the_page() -> None:
    words = ["tiny", "--memory", "2G", "--vm", "2x128M", "--vm", "64M,vfio=1", "--append", SCRATCH, "--disk-image",
             "--variants", "live-update-7.3,kho-7.2"]  # fmt: skip
    done = CliRunner().invoke(downtime, words)
    assert done.exit_code == 0, done.output
    assert "fewest packets lost first" in done.stdout and "live migration" in done.stdout
    body = json.loads(CliRunner().invoke(downtime, [*words, "--json"]).stdout)
    assert [row["way"] for row in body["ways"]] == ["kho", "kho", "file"]
    for row in body["ways"]:
        assert row["p50"]["band"]["low_ms"] <= row["p50"]["ms"] <= row["worst"]["ms"] <= row["worst"]["band"]["high_ms"]
    refused = CliRunner().invoke(downtime, ["tiny", "--vm", "100x64G"])
    assert refused.exit_code == 2 and "do not fit" in refused.stderr


def test_kept_tables_are_found_by_the_next_kernel() -> None:
    """Their pages are preserved as the guests' memory is, and walked; no device is reset."""
    groups = parse_vm("2x64M,vfio=1,pages=4K")
    tables = 2 * (32 + 1 + 1 + 1)
    old, new = (live_update(host(), load_variant(f"live-update-{name}"), groups, "kho", append=SCRATCH)
                for name in ("async", "iommu"))  # fmt: skip
    assert (old.iommu_domains, new.iommu_domains) == ("rebuilt", "kept")
    assert 2 * tables <= new.walked_blocks - old.walked_blocks <= 2 * (tables + 8)
    assert old.guest_ms["devices on"] > 100 > new.guest_ms["devices on"]
    assert new.lost == [] and old.released is new.released is False


def test_the_answer_tells_releases_from_patches() -> None:
    words = ["tiny", "--memory", "2G", "--vm", "2x128M", "--vm", "64M,vfio=1", "--append", SCRATCH,
             "--variants", "live-update-7.3,live-update-iommu"]  # fmt: skip
    body = json.loads(CliRunner().invoke(downtime, [*words, "--json"]).stdout)
    assert list(body["answer"]) == ["on_this_host_alone", "with_patches_that_no_release_has", "with_a_second_host"]
    assert body["answer"]["on_this_host_alone"].startswith("live-update-7.3, guest memory handed over (kho): ")
    assert "it needs Linux 7.3" in body["answer"]["on_this_host_alone"]
    assert "passed-through devices (guests: 1) need drivers" in body["answer"]["with_a_second_host"]
    lost = [row["lost_packets"] for row in body["ways"]]
    assert lost[1] < lost[0] and [len(row["groups"]) for row in body["ways"]] == [2, 2]
    assert body["guests"][1]["iommu_kept"]["ms"] < body["guests"][1]["iommu_rebuilt"]["ms"]
    assert body["guests"][0]["iommu_kept"] is None


def test_words_nobody_takes_are_said() -> None:
    words = ["tiny", "--memory", "2G", "--vm", "64M", "--variants", "live-update-7.3", "--json"]
    done = CliRunner().invoke(downtime, [*words, "--append", "kho_scratch=abc"])
    said = "Malformed early option 'kho_scratch'"
    assert done.exit_code == 0 and f"live-update-7.3: the kernel says: {said}" in done.stderr
    assert json.loads(done.stdout)["ways"][0]["warnings"] == [said]
    for value in ("0", "-1", "nan", "inf"):
        refused = CliRunner().invoke(downtime, [*words, "--bandwidth", value])
        assert refused.exit_code == 2 and "--bandwidth" in refused.stderr
