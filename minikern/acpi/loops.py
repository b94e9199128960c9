"""The limit of loops: thirty simulated seconds, found early where a loop cannot end.

Source: drivers/acpi/acpica/dscontrol.c:acpi_ds_exec_end_control_op(), include/acpi/acconfig.h:ACPI_MAX_LOOP_TIMEOUT
@ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

LIMIT_US = 30_000_000
TERM_US = 0.5  # what the ledger's aml_opcode costs
PATIENCE = 4_000_000
"""Terms this computer spends on loops that do not end, in one boot: what is left of their time then passes at once."""
LITTLE_PATIENCE = 300_000
"""Terms such a loop still gets when the patience is used up."""
LITTLE_ONES = 8
LEAST_PATIENCE = 1_000
"""Terms each one gets behind those few: a table may have thousands of them."""
MAX_TERMS, MAX_CALLS = 16_000_000, 400_000
"""What one boot runs of its tables, ten times and more what any known firmware takes: beyond, they are no machine's."""


def check_budget(run: Interpreter) -> None:
    """MachineStopped when more was run than any firmware asks for: methods that call each other may take for ever."""
    if run.opcodes > MAX_TERMS or run.calls > MAX_CALLS:
        told = f"{run.opcodes} terms and {run.calls} method calls"
        raise MachineStopped(f"ACPI: {told}, and no end: expected at most {MAX_TERMS} and {MAX_CALLS} in one boot")


class LoopGuard:
    """Watches one loop."""

    __slots__ = ("_changes", "_most", "_run", "_slept", "_start")

    def __init__(self, run: Interpreter) -> None:
        self._run = run
        self._start, self._slept, self._changes = run.opcodes, run.slept_us, run.changes
        spent = run.patience < -LITTLE_ONES * LITTLE_PATIENCE
        self._most = LEAST_PATIENCE if spent else max(run.patience, LITTLE_PATIENCE)

    def turn(self) -> None:
        """One turn is over. AmlError when the loop has run too long, or changes nothing and so never ends."""
        run = self._run
        check_budget(run)
        if self.spent_us() > LIMIT_US:
            raise AmlError("AE_AML_LOOP_TIMEOUT", "a loop ran for 30 s")
        terms = run.opcodes - self._start
        if run.changes == self._changes or terms > self._most:
            run.patience -= terms
            run.sleep_us(max(0, round(LIMIT_US - self.spent_us())))
            raise AmlError("AE_AML_LOOP_TIMEOUT", "a loop would run for 30 s")
        self._changes = run.changes

    def spent_us(self) -> float:
        """Simulated time since the loop began."""
        run = self._run
        return (run.opcodes - self._start) * TERM_US + run.slept_us - self._slept
