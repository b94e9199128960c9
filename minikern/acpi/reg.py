"""_REG: telling firmware that an address space can be used.

Source: drivers/acpi/acpica/evregion.c:acpi_ev_execute_reg_methods() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.spaces import DATA_TABLE, IO, MEMORY, Region
from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

CONNECT = 1
_ALWAYS_THERE = (MEMORY, IO, DATA_TABLE)


def execute_reg_methods(run: Interpreter, space: int, below: Node | None = None) -> int:
    """Call the _REG beside every region of the space (below one device); return how many calls that were."""
    if space in _ALWAYS_THERE:
        return 0
    calls = 0
    for node in list(run.namespace.walk(below)):
        region, parent = node.value, node.parent
        if isinstance(region, Region) and region.space == space and parent is not None and parent.child("_REG"):
            run.evaluate(parent, "_REG", args=[space, CONNECT])
            calls += 1
    return calls
