from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from hw.pci.spec import HostBridgeSpec, PciFunctionSpec, PciSpec
from minikern.cli import main
from minikern.describe.dmesg_log import Log
from minikern.describe.dmesg_needed import needed_functions

FUNCTIONS = [
    PciFunctionSpec("0000:00:00.0", id="8086:0001", class_code=0x060000),
    PciFunctionSpec("0000:00:01.0", id="8086:0002", class_code=0x060400, kind="root_port", secondary=1, subordinate=1),
    PciFunctionSpec("0000:00:02.0", id="8086:0003", class_code=0x060400, kind="root_port", secondary=2, subordinate=2),
    PciFunctionSpec("0000:00:03.0", id="8086:0004", class_code=0x0C0330),
    PciFunctionSpec("0000:01:00.0", id="144d:a808", class_code=0x010802, kind="endpoint"),
    PciFunctionSpec("0000:02:00.0", id="102b:0536", class_code=0x030000, kind="endpoint"),
]
PCI = PciSpec(host_bridges=[HostBridgeSpec(first_bus=0, last_bus=255)], functions=FUNCTIONS)
LOG = """\
Linux version 6.12.1 (build@host) (gcc) #1 SMP
Command line: ro console=ttyS0,115200n8
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
ACPI: PCI Root Bridge [PC00] (domain 0000 [bus 00-16])
PCI host bridge to bus 0000:00
pci 0000:00:01.0: [8086:0002] type 01 class 0x060400 PCIe Root Port
pci 0000:00:01.0: PCI bridge to [bus 01]
pci 0000:00:03.0: [8086:0004] type 00 class 0x0c0330 conventional PCI endpoint
pci 0000:01:00.0: [144d:a808] type 00 class 0x010802 PCIe Endpoint
"""


def needed(command_line: str) -> list[str]:
    return needed_functions(Log("test", [f"Kernel command line: {command_line}"]), PCI)


def test_disks_and_the_bridges_before_them() -> None:
    assert needed("ro console=ttyS0,115200n8") == ["8086:0002", "144d:a808"]


def test_a_display_that_is_the_console() -> None:
    with_display = ["8086:0002", "8086:0003", "144d:a808", "102b:0536"]
    assert needed("ro") == with_display
    assert needed("ro console=ttyS0,115200n8 console=tty0") == with_display


def test_the_rung_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text(LOG)
    result = CliRunner().invoke(main, ["boot", str(path), "--variant", "pci-needed"])
    assert result.exit_code == 0, result.output
    said = "leaves 1 of 3 functions out, and what is behind them: USB and other serial buses 00:03.0"
    assert f"minikern: pci=probe_only {said}" in result.stderr
    assert "pci 0000:01:00.0: [144d:a808]" in result.stdout and "[8086:0004]" not in result.stdout
    everything = CliRunner().invoke(main, ["boot", str(path)])
    assert "probe_only" not in everything.stderr
