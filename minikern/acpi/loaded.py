"""The interpreter that holds a kernel's loaded tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.interpreter import Interpreter

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def loaded_interpreter(k: Kernel) -> Interpreter:
    """The interpreter of ``k.acpi``; RuntimeError before acpi_load_tables()."""
    run = k.acpi.interpreter
    if not isinstance(run, Interpreter):
        raise RuntimeError("the AML interpreter was used before acpi_load_tables()")
    return run
