"""Logs of other architectures are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.describe.architecture import foreign_architecture
from minikern.describe.presets import load_machine

HEADS = {
    "arm64": ["Booting Linux on physical CPU 0x0000000000 [0x410fd083]", "Linux version 6.6.0 (gcc) #1 SMP"],
    "powerpc": ["radix-mmu: Page sizes from device-tree:", "Linux version 6.5.0 (gcc) #2 SMP"],
    "riscv": ["Linux version 6.1.0 (x) #1", "SBI specification v0.3 detected"],
    "s390": ["Linux version 5.14.0 (x) #1", "setup: Linux is running as a z/VM guest operating system in 64-bit mode"],
}
NODES = ["Early memory node ranges", "  node   0: [mem 0x0000000000000000-0x00000001ffffffff]"]


@pytest.mark.parametrize("architecture", sorted(HEADS))
def test_other_architectures_are_refused_in_one_sentence(architecture: str, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("".join(f"[    0.000000] {line}\n" for line in [*HEADS[architecture], *NODES]))
    with pytest.raises(InputError, match=f"machine of {architecture} .*expected one of x86-64"):
        load_machine(str(log))


def test_x86_logs_are_not_taken_for_others() -> None:
    lines = ["Linux version 6.1.0 (x) #1", "BIOS-e820: [mem 0x0-0x9fbff] usable", "OF: fdt: x", "riscv: a line"]
    assert foreign_architecture(lines) is None
