"""Cache lines that aligned objects spare, counted a second way, and a boot with them."""

from __future__ import annotations

import pytest

from minikern.acpi.object_caches import ALLOCATED, LINE, NODE, OPERAND, PARSE, STATE, lines_spared, lines_touched
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab.run import boot


def walked(size: int, slot: int, objects: int = 512) -> float:
    """Mean number of lines of objects side by side, byte by byte."""
    return sum(len({(at * slot + byte) // LINE for byte in range(size)}) for at in range(objects)) / objects


@pytest.mark.parametrize("size", [NODE, OPERAND, PARSE, STATE, 64, 100, 104])
def test_lines_of_objects_side_by_side(size: int) -> None:
    assert lines_touched(size, size) == pytest.approx(walked(size, size))
    aligned = -(-size // LINE) * LINE
    assert lines_touched(size, aligned) == walked(size, aligned) == aligned // LINE


def test_a_boot_saves_what_its_counted_work_spares() -> None:
    plain, aligned = (boot(load_machine("tiny"), load_variant(name)).kernel
                      for name in ("parallel-smp", "acpi-aligned-caches"))  # fmt: skip
    assert [line.text for line in plain.log.lines] == [line.text for line in aligned.log.lines]
    line_ns = plain.unit_ns("acpi_cache_line")
    for kind in ALLOCATED:
        count = plain.ledger.count(kind)
        assert count == aligned.ledger.count(kind) > 0
        saved = plain.ledger.total_ns(kind) - aligned.ledger.total_ns(kind)
        assert saved == pytest.approx(count * lines_spared(kind) * line_ns, abs=2)
