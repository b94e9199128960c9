"""Priors: drawn together from machines, kept as data, found by family and by line."""

from __future__ import annotations

import random
from math import exp, log
from statistics import median

import pytest

from hw.spec import CpuSpec
from minikern.core.cost_table import default_costs
from minikern.core.families import family_costs, family_of, load_families
from minikern.core.line_mask import mask
from minikern.describe.case import Case
from minikern.lab.fit.line_prices import ANY, LINE, LinePrice, LinePrices, load_line_prices, parse
from minikern.lab.fit.pool import Sample, pooled_costs, pooled_lines, weighted_quantile
from minikern.lab.fit.predict import by_size

SAMPLES = [
    Sample("a", "amd-server", {"config_read": 100.0}, [("pci #: one", 5e6), ("only a", 9e9)]),
    Sample("a", "amd-server", {"config_read": 300.0}, [("pci #: one", 7e6)]),
    Sample("b", "amd-server", {"config_read": 400.0}, [("pci #: one", 8e6)]),
    Sample("c", "intel-client", {"config_read": 900.0}, [("pci #: one", 1e6), ("pci #: two", 2e6)]),
]


def test_boots_of_one_machine_count_as_one() -> None:
    cost = pooled_costs(SAMPLES, "amd-server", {})["config_read"]
    assert (cost.machines, cost.others) == (2, 1)
    assert cost.ns == pytest.approx(exp((log(200) + log(400) + 2 * log(400)) / 4), rel=1e-4)


def test_a_line_that_one_machine_wrote_is_in_no_table() -> None:
    table = pooled_lines(SAMPLES)
    assert (LINE, "only a") not in table.table and (LINE, "pci #: two") not in table.table
    assert table.price_ns("pci #: one", "intel-client") < table.price_ns("pci #: one", "amd-server")
    assert table.price_ns("pci #: three", "amd-server") > 0


def test_the_table_is_read_as_it_was_written() -> None:
    table = LinePrices({(LINE, "x: # y"): LinePrice(12.5, 3, {"guest": 1.25})})
    assert parse(table.text().splitlines()).table == table.table


def test_a_weighted_quantile_is_one_of_its_values() -> None:
    values = [(1.0, 1), (5.0, 3), (9.0, 1)]
    assert [weighted_quantile(values, share) for share in (0.2, 0.5, 0.9)] == [1.0, 5.0, 9.0]


def test_lines_add_up_to_about_what_skewed_boots_take() -> None:
    """Of lines that take long on few machines, the medians' sum is none of the sum's."""
    rng = random.Random(5)
    boots = [[(f"driver {n}: up", 1e3 * 10 ** rng.gauss(0, 1.2)) for n in range(300)] for _ in range(12)]
    table = pooled_lines([Sample(f"m{n}", "intel-client", {}, lines) for n, lines in enumerate(boots[:-1])])
    told = sum(table.price_ns(text, "intel-client") for text, _ in boots[-1])
    medians = sum(median(dict(boot)[f"driver {n}: up"] for boot in boots) for n in range(300))
    real = sorted(sum(ns for _, ns in boot) for boot in boots)
    assert medians < told < real[-1]


@pytest.mark.parametrize(
    "text", ["calling  some_init+0x0/0x20 @ 1", "initcall some_init+0x0/0x20 returned 0 after 3 usecs"]
)
def test_unknown_lines_of_initcall_debug_only_cut_time_into_pieces(text: str) -> None:
    known = LINE, mask("calling  known+0x0/0x8 @ 1")
    table = LinePrices({(ANY, ""): LinePrice(5000.0, 3), known: LinePrice(70.0, 2)})
    assert table.price_ns(mask(text), "guest") == 0.0
    assert table.price_ns(mask("calling  known+0x0/0x9 @ 1"), "guest") == 70.0
    assert table.price_ns("some driver: up", "guest") == 5000.0


@pytest.mark.parametrize(
    ("vendor", "family", "model", "expected"),
    [
        ("GenuineIntel", 6, 0x6A, "intel-server"),
        ("GenuineIntel", 6, 0x97, "intel-client"),
        ("AuthenticAMD", 0x19, 0x11, "amd-server"),
        ("AuthenticAMD", 0x19, 0x61, "amd-client"),
        ("CentaurHauls", 7, 0x3B, "intel-client"),
    ],
)
def test_a_processor_finds_its_family(vendor: str, family: int, model: int, expected: str) -> None:
    cpus = CpuSpec(4, vendor=vendor, family=family, model=model)
    assert family_of(cpus, guest=False) == expected
    assert family_of(cpus, guest=True) == "guest"


def test_families_cost_only_known_kinds_of_work_and_say_what_they_rest_on() -> None:
    known = default_costs()
    for name, family in load_families().items():
        for kind, cost in family_costs(name).items():
            assert kind in known and cost.low is not None and cost.high is not None
            assert cost.low < cost.ns < cost.high and "machines" in cost.source
        assert family.machines > 0, name


def test_the_talks_wake_up_belongs_to_its_machine_alone() -> None:
    assert all(family_costs(name).get("ap_wakeup_unexplained") is None for name in load_families())


def test_known_lines_have_a_price() -> None:
    prices = load_line_prices()
    assert prices.price_ns("x86/mm: Checked W+X mappings: passed, no W+X pages found.", "amd-server") > 0


def test_a_huge_initramfs_is_hardly_packed() -> None:
    def ns(size: int) -> float:
        spec = Case(name="x", cpus=CpuSpec(4), costs=family_costs("intel-server"))
        spec.boot.ramdisk_bytes = size
        return by_size(spec)["initramfs_byte"].ns

    assert ns(50 << 20) == pytest.approx(family_costs("intel-server")["initramfs_byte"].ns, rel=1e-3)
    assert ns(3 << 30) < 0.2 * ns(50 << 20)
