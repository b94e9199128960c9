"""Kconfig values by the lines that show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.dmesg_config import config_facts, names_callers, tick_rate
from minikern.describe.dmesg_log import Log
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.describe.test_dmesg_iommu import HEAD

LOOPS = "Calibrating delay loop (skipped), value calculated using timer frequency.. 5200.00 BogoMIPS (lpj={lpj})"
DELAY = "rcu: RCU calculated value of scheduler-enlistment delay is {jiffies} jiffies."


@pytest.mark.parametrize(
    ("lines", "rate"),
    [
        (["tsc: Detected 2600.000 MHz processor", LOOPS.format(lpj=2_600_000)], 1000),
        (["tsc: Detected 2894.617 MHz processor", LOOPS.format(lpj=9_648_723)], 300),
        (["tsc: Detected 2900.000 MHz processor", "tsc: Detected 2899.886 MHz TSC", LOOPS.format(lpj=11_599_544)], 250),
        (["tsc: Detected 2600.000 MHz processor", LOOPS.format(lpj=2_345)], 0),  # no kernel ticks so often
        ([DELAY.format(jiffies=25)], 250),
        ([DELAY.format(jiffies=10)], 100),
        (["tsc: Detected 2600.000 MHz processor", LOOPS.format(lpj=77), DELAY.format(jiffies=100)], 1000),
        (["tsc: Detected 2600.000 MHz processor"], 0),
    ],
)
def test_ticks_a_second(lines: list[str], rate: int) -> None:
    assert tick_rate(Log("a log", lines)) == rate


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("iommu: Default domain type: Passthrough", {"CONFIG_IOMMU_DEFAULT_PASSTHROUGH": True}),
        ("iommu: Default domain type: Translated ", {"CONFIG_IOMMU_DEFAULT_PASSTHROUGH": False}),
        ("iommu: Default domain type: Passthrough (set via kernel command line)", {}),
        ("iommu: DMA domain TLB invalidation policy: strict mode", {"CONFIG_IOMMU_DEFAULT_DMA_STRICT": True}),
    ],
)
def test_what_the_build_chose_and_no_word(line: str, options: dict[str, bool]) -> None:
    assert config_facts(Log("a log", [line])) == options


CONSOLE, NODES = "Console: colour VGA+ 80x25", "smp: Brought up {} node, 16 CPUs"
BALANCED = "mempolicy: Enabling automatic NUMA balancing. Configure with numa_balancing= or the sysctl"


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ([CONSOLE, BALANCED, NODES.format(2)], {"CONFIG_NUMA_BALANCING": True}),
        ([CONSOLE, NODES.format(2)], {"CONFIG_NUMA_BALANCING": False}),
        ([CONSOLE, NODES.format(1)], {}),  # one node needs none
        ([NODES.format(2)], {}),  # the log lost its head
    ],
)
def test_pages_are_moved_between_nodes_where_a_line_says_so(lines: list[str], options: dict[str, bool]) -> None:
    assert config_facts(Log("a log", lines)) == options


def test_lines_that_name_their_task() -> None:
    assert names_callers(["[    0.000000][    T0] Linux version 6.12.1"])
    assert names_callers(["kern  :info  : [    0.000000] [   C12] x"])
    assert not names_callers(["[    0.000000] Linux version 6.12.1", "[    0.1] text [    1.000000][    T0]"])


def test_a_boot_of_the_log_has_the_same_ticks(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text(HEAD.format(table="BGRT") + DELAY.format(jiffies=30) + "\n")
    again = boot(load_machine(str(path)))
    assert DELAY.format(jiffies=30) in [line.text for line in again.kernel.log.lines]
