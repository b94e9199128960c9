"""The PCI tree of a boot, and which of it is needed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from minikern.cli import main
from minikern.describe.presets import load_machine
from minikern.lab.pci_tree import RootRow, pci_tree, probe_only, skipping
from minikern.lab.run import Boot, boot
from minikern.report.pci import tree_json, tree_lines

PORT = {"kind": "root_port", "class_code": 0x060400, "id": "8086:347a"}


@pytest.fixture(scope="module")
def done() -> Boot:
    spec = load_machine("tiny")
    disk = PciFunctionSpec(bdf="01:00.0", id="144d:a808", kind="endpoint", class_code=0x010802,
                           bars=[BarSpec(0, "mem64", 0x4000)])
    spec.pci = PciSpec(
        ecam_base=0xE000_0000,
        host_bridges=[HostBridgeSpec(0, 0xFF, windows=[WindowSpec("mem", 0x9000_0000, 0xDFFF_FFFF)])],
        functions=[
            PciFunctionSpec(bdf="00:00.0", id="8086:0c00", class_code=0x060000),
            PciFunctionSpec(bdf="00:01.0", secondary=1, subordinate=1, **PORT),  # type: ignore[arg-type]
            disk,
            PciFunctionSpec(bdf="00:02.0", secondary=2, subordinate=2, **PORT),  # type: ignore[arg-type]
            PciFunctionSpec(bdf="02:00.0", id="8086:1533", kind="endpoint", class_code=0x020000),
            PciFunctionSpec(bdf="00:03.0", id="10de:1b80", class_code=0x030000),
        ],
    )
    return boot(spec)


def test_every_function_is_shown_with_what_it_costs(done: Boot) -> None:
    roots = pci_tree(done)
    rows = [row for root in roots for top in root.functions for row in top.all()]
    assert [row.name for row in rows] == [
        "0000:00:00.0", "0000:00:01.0", "0000:01:00.0", "0000:00:02.0", "0000:02:00.0", "0000:00:03.0"
    ]  # fmt: skip
    assert all(row.cost_ns > 0 and row.reads > 10 for row in rows)
    booked = sum(done.kernel.ledger.count(kind) for kind in ("config_read", "config_write"))
    assert sum(row.reads + row.writes for row in rows) < booked  # empty slots are asked too
    assert rows[2].ranges == ["[mem 0x90000000-0x90003fff 64bit]"]
    lines = list(tree_lines(roots, chosen=False))
    assert lines[0] == "0000:00 [bus 00-ff]  [mem 0x90000000-0xdfffffff window]"
    assert any(line.startswith("|  `- 01:00.0  144d:a808 NVMe controller") for line in lines)
    assert json.loads(json.dumps(tree_json(roots)))[0]["functions"][1]["behind"][0]["class"] == "010802"


def needed(done: Boot, words: str) -> list[RootRow]:
    return pci_tree(done, words)


@pytest.mark.parametrize("words", ["disk", "nvme", "144d:a808", "01:00.0", "NVMe"])
def test_bridges_before_what_is_needed_are_needed(done: Boot, words: str) -> None:
    roots = needed(done, words)
    assert probe_only(roots) == "0000:00:01.0;0000:01:00.0"
    assert [row.name for row in skipping(roots)] == ["0000:00:00.0", "0000:00:02.0", "0000:00:03.0"]


def test_what_is_lost_is_named(done: Boot) -> None:
    lines = list(tree_lines(needed(done, "disk"), chosen=True))
    assert "  0000:00:02.0  8086:347a PCI bridge, and 1 behind it: lost with it: network" in lines
    assert "  0000:00:03.0  10de:1b80 display: lost with it: display and its console" in lines
    assert lines[-1] == "pci=probe_only=0000:00:01.0;0000:01:00.0"


def test_the_words_skip_what_they_say(done: Boot) -> None:
    words = list(tree_lines(needed(done, "disk"), chosen=True))[-1]
    again = boot(done.spec, None, "", words)
    assert [dev.name for dev in again.kernel.pci.devices] == ["0000:00:01.0", "0000:01:00.0"]


def test_unknown_words_are_refused(done: Boot) -> None:
    with pytest.raises(InputError, match="'disc': expected vendor:device"):
        needed(done, "disc")


def test_the_command_prints_both_forms() -> None:
    text = CliRunner().invoke(main, ["pci", "laptop", "--needed", "disk"], catch_exceptions=False)
    assert text.exit_code == 0 and "pci=probe_only=" in text.output
    raw = CliRunner().invoke(main, ["pci", "laptop", "--json"], catch_exceptions=False)
    assert raw.exit_code == 0 and '"sim_cost_ns"' in raw.output
