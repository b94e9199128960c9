"""An emulated boot is held against the log it was made from, by figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from minikern.describe.log_facts import differences, log_facts

LINES = [
    "last_pfn = 0x240000 max_arch_pfn = 0x400000000",
    "  DMA32    [mem 0x0000000001000000-0x00000000ffffffff]",
    " Normal   empty",
    "last_pfn = 0xbff00 max_arch_pfn = 0x400000000",
    "  node   0: [mem 0x0000000000001000-0x000000000009efff]",
    "  node   0: [mem 0x0000000000100000-0x000000007fefffff]",
    "  node   1: [mem 0x0000000100000000-0x000000017fffffff]",
    "IOAPIC[0]: apic_id 8, version 32, address 0xfec00000, GSI 0-23",
    "Memory: 369340K/4192888K available (12288K kernel code)",
    "smp: Brought up 2 nodes, 8 CPUs",
    "pci 0000:00:1f.0: [8086:2918] type 00 class 0x060100",
    "pci 0000:00:1f.0: [8086:2918] type 00 class 0x060100 conventional PCI endpoint",
]


def test_figures() -> None:
    assert log_facts(LINES) == {
        "last_pfn": "0x240000", "memory": "4192888", "CPUs": "8", "nodes": "2", "I/O APICs": "1", "PCI functions": "1",
        "zone DMA32": "[mem 0x0000000001000000-0x00000000ffffffff]", "zone Normal": "empty",
    }  # fmt: skip
    assert log_facts(["Brought up 16 CPUs", "Memory: 1k/2k available"]) == {"CPUs": "16", "memory": "2"}


def test_what_the_log_does_not_tell_is_no_difference() -> None:
    told = log_facts(LINES)
    assert differences(told, LINES) == differences({}, LINES) == []
    assert differences(told, [line for line in LINES if "Memory" not in line]) == ["memory none (log: 4192888)"]
    assert differences({"CPUs": "160"}, ["smp: Brought up 2 nodes, 384 CPUs"]) == ["CPUs 384 (log: 160)"]


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text(
        "Linux version 6.12.1 (a@b) #1 SMP\nBIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable\n"
        "BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable\nsmp: Brought up 2 nodes, 2 CPUs\n"
        "Memory: 5K/6K available\n"
    )
    command = [sys.executable, "-m", "minikern", "boot", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "not as its log says" in line]
    assert len(said) == 1 and "(log: 6)" in said[0]
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert any("(log: 6)" in item for item in json.loads(as_json.stdout)["unlike_its_log"])
    changed = subprocess.run([*command, "--memory", "2G"], capture_output=True, text=True, check=True)
    assert "not as its log says" not in changed.stderr
