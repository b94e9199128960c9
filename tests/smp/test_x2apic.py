"""APIC ids that need 32 bits: a machine of 300 CPUs from firmware's tables to the last CPU online."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.cpu import CPU
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

MACHINE = """
name = "wide"
release = "{release}"
memory = "4G"
[cpus]
count = 300
sockets = 10
cores = 33
x2apic = {x2apic}
[[nodes]]
cpus = "0-149"
memory = [{{ base = 0, length = 0x80000000 }}]
[[nodes]]
cpus = "150-299"
memory = [{{ base = 0x100000000, length = 0x80000000 }}]
[[pci.functions]]
bdf = "00:00.0"
id = "8086:09a2"
class_code = 0x060000
[[pci.drhd]]
base = 0xfed90000
include_all = true
ecap = 0xf00f5e
"""
HIGHEST = 9 << 6 | 2


def machine(tmp_path: Path, release: str, x2apic: bool):
    path = tmp_path / "wide.toml"
    path.write_text(MACHINE.format(release=release, x2apic=str(x2apic).lower()))
    return load_machine(str(path))


@pytest.mark.parametrize("release", ["debian-6.12", "debian-6.1"])
def test_all_come_online(release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[int] = []
    real = CPU.wrmsr

    def wrmsr(self: CPU, msr: int, value: int) -> None:
        if msr == 0x830:
            commands.append(value)
        real(self, msr, value)

    monkeypatch.setattr(CPU, "wrmsr", wrmsr)
    kernel = boot(machine(tmp_path, release, True)).kernel
    assert kernel.cpus.online == list(range(300)) and max(kernel.cpus.apic_id.values()) == HIGHEST
    assert kernel.log.find("smp: Brought up 2 nodes, 300 CPUs")
    assert kernel.log.find("DMAR-IR: Enabled IRQ remapping in x2apic mode")
    assert kernel.cpus.node[149] == 0 and kernel.cpus.node[150] == kernel.cpus.node[299] == 1
    starts = [value >> 32 for value in commands if value >> 8 & 7 == 6]
    assert starts.count(HIGHEST) == 2 and len(set(starts)) == 299


@pytest.mark.parametrize("release", ["debian-6.12", "debian-6.1"])
def test_without_x2apic_mode_wide_ids_are_left_out(release: str, tmp_path: Path) -> None:
    spec = machine(tmp_path, release, False)
    wide = sum(place.apic_id > 254 for place in spec.cpus.topology())
    kernel = boot(spec).kernel
    texts = [line.text for line in kernel.log.lines]
    assert texts.count("ACPI: x2apic entry ignored") == wide == 168
    assert kernel.cpus.online == list(range(300 - wide)) and max(kernel.cpus.apic_id.values()) <= 254
