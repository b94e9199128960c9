"""Hardware-reduced firmware: what the kernel then leaves alone, and says."""

from __future__ import annotations

from hw.acpi import layout
from hw.acpi.checksum import byte_sum
from hw.acpi.reduced import HW_REDUCED, reduced_fadt
from hw.acpi.spec import AcpiSpec
from hw.acpi.static import fadt
from minikern.core.kernel import Kernel
from minikern.core.release import load_release
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.lab.verdict import has


def booted(reduced: bool) -> Kernel:
    machine = load_machine("tiny")
    machine.acpi.sleep_states = [0, 3, 5]
    return boot(machine, load_variant("acpi-reduced" if reduced else "parallel-smp")).kernel


def test_the_kernel_finds_no_fixed_hardware() -> None:
    plain, reduced = booted(False), booted(True)
    lost = {line.text for line in plain.log.lines} - {line.text for line in reduced.log.lines}
    for start in ("ACPI: FACS ", "ACPI: PM-Timer IO Port", "ACPI: Enabled ", "ACPI: PM: (supports S0 S3 S5)"):
        assert any(text.startswith(start) for text in lost), start
        assert not any(line.text.startswith(start) for line in reduced.log.lines), start
    said = [line.text for line in reduced.log.lines]
    assert "ACPI: PM: (supports S0)" in said
    assert any(text.endswith("preallocated irqs: 0") for text in said)
    assert reduced.ledger.count("acpi_gpe_block") == 0 < plain.ledger.count("acpi_gpe_block")
    assert reduced.acpi.fadt is not None and reduced.acpi.fadt.hardware_reduced


def test_no_kernel_has_it_by_itself() -> None:
    reduced, plain = load_variant("acpi-reduced"), load_variant("parallel-smp")
    assert not has(load_release("debian-6.12"), "", reduced, plain)
    assert reduced.hardware_reduced and not plain.hardware_reduced


def test_a_fadt_of_each_revision_loses_its_registers() -> None:
    for revision in (1, 3, 6):
        table = fadt(AcpiSpec(fadt_revision=revision), 0x1000, 0x2000)  # type: ignore[arg-type]
        changed = reduced_fadt(table)
        assert len(changed) == len(table) and byte_sum(changed) == 0
        assert layout.FADT_V1.get(changed, "flags") == layout.FADT_V1.get(table, "flags") | HW_REDUCED
        assert layout.FADT_V1.get(changed, "gpe0_len") == layout.FADT_V1.get(changed, "sci") == 0
        kept = "dsdt" if revision == 1 else "x_dsdt"
        shape = layout.FADT_V1 if revision == 1 else layout.FADT_V6
        assert shape.get(changed, kept) == 0x2000
