"""acpi= and acpi_osi= as variants: what each makes the kernel say, and leave out."""

from __future__ import annotations

import re
from functools import cache

import pytest

from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import boot


@cache
def said(variant: str) -> tuple[str, ...]:
    return tuple(line.text for line in boot(load_machine("tiny"), load_variant(variant)).kernel.log.lines)


CASES = {
    "acpi-off": ("ACPI: Interpreter disabled.", "ACPI: RSDP "),
    "acpi-noirq": ("ACPI: Interpreter enabled", "ACPI: Using ACPI (MADT) for SMP configuration information"),
    "acpi-rsdt": ("ACPI: RSDP ", "ACPI: XSDT "),
    "acpi-copy-dsdt": ("ACPI: Forced DSDT copy: length 0x", "no line is left out"),
    "acpi-no-osi": ("ACPI: Disabled all _OSI OS vendors and feature groups", "ACPI: Added _OSI(Module Device)"),
}


@pytest.mark.parametrize("variant", CASES)
def test_a_word_has_its_line_and_takes_one_away(variant: str) -> None:
    has, lacks = CASES[variant]
    assert any(text.startswith(has) for text in said(variant))
    assert not any(text.startswith(lacks) for text in said(variant))
    plain = said("parallel-smp")
    if variant not in ("acpi-rsdt", "acpi-noirq"):
        assert not any(text.startswith(has) for text in plain)


def test_the_copied_table_has_its_length() -> None:
    length = next(text[30:36] for text in said("parallel-smp") if text.startswith("ACPI: DSDT "))
    line = next(text for text in said("acpi-copy-dsdt") if "DSDT copy" in text)
    assert re.fullmatch(rf"ACPI: Forced DSDT copy: length 0x0*{length.lstrip('0')} copied locally, .*", line)
    assert [text for text in said("acpi-copy-dsdt") if "Command line" not in text and "command line" not in text
            and text != line] == [text for text in said("parallel-smp") if "ommand line" not in text]  # fmt: skip


def test_strictness_changes_no_line_of_sound_firmware() -> None:
    lines = [text for text in said("acpi-strict") if "ommand line" not in text]
    assert lines == [text for text in said("parallel-smp") if "ommand line" not in text]
