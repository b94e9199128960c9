"""The limit of loops: thirty simulated seconds, found early where a loop cannot end.

Source: drivers/acpi/acpica/dscontrol.c:acpi_ds_exec_end_control_op(), include/acpi/acconfig.h:ACPI_MAX_LOOP_TIMEOUT
@ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

LIMIT_US = 30_000_000
TERM_US = 0.5  # what the ledger's aml_opcode costs
MAX_TURNS = 2_000_000
"""Turns after which a loop is taken for endless: the rest of its time passes at once, so that nobody waits for it."""


class LoopGuard:
    """Watches one loop."""

    __slots__ = ("_changes", "_run", "_slept", "_start", "_turns")

    def __init__(self, run: Interpreter) -> None:
        self._run = run
        self._start, self._slept, self._changes = run.opcodes, run.slept_us, run.changes
        self._turns = 0

    def turn(self) -> None:
        """One turn is over. AmlError when the loop has run too long, or changes nothing and so never ends."""
        run = self._run
        self._turns += 1
        if self.spent_us() > LIMIT_US:
            raise AmlError("AE_AML_LOOP_TIMEOUT", "a loop ran for 30 s")
        if run.changes == self._changes or self._turns > MAX_TURNS:
            run.sleep_us(max(0, round(LIMIT_US - self.spent_us())))
            raise AmlError("AE_AML_LOOP_TIMEOUT", "a loop would run for 30 s")
        self._changes = run.changes

    def spent_us(self) -> float:
        """Simulated time since the loop began."""
        run = self._run
        return (run.opcodes - self._start) * TERM_US + run.slept_us - self._slept
