"""Loading AML: the DSDT and the secondary tables, in root-table order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.acpi.layout import HEADER
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.messages import error
from minikern.acpi.namespace import Namespace
from minikern.acpi.tables import fix_string
from minikern.acpi.values import AmlError
from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.acpi.state import AcpiState
    from minikern.core.kernel import Kernel

SECONDARY = ("SSDT", "PSDT", "OSDT")  # Source: drivers/acpi/acpica/tbxfload.c:acpi_tb_load_namespace() @ v6.12


def load_definition_block(run: Interpreter, data: bytes) -> bool:
    """Load one table into the namespace; damaged AML is one warning line, what came before it stays loaded.

    Books the table, its bytes and the objects it made.
    """
    before = run.objects
    sound = True
    try:
        run.run_table(data, HEADER.size)
    except AmlError as problem:
        sound = False
        where = f"[{fix_string(data[:4], 4)}] at offset 0x{max(problem.offset, 0):X}"
        if problem.opcode >= 0:
            where += f", opcode 0x{problem.opcode:X}"
        error(run.k, f"{problem.status}: {problem}, in table {where}; rest of the table ignored", {"": "psloop-502"})
    run.k.charge("acpi_table_load")
    run.k.charge("aml_byte_parse", max(0, len(data) - HEADER.size))
    run.k.charge("aml_object_create", run.objects - before)
    run.loaded_tables += 1
    return sound


def acpi_load_tables(k: Kernel) -> bool:
    """Load DSDT and secondary tables into a fresh namespace (``k.acpi.namespace``); False when there is no DSDT.

    Source: drivers/acpi/acpica/tbxfload.c:acpi_load_tables() @ v6.12
    """
    state: AcpiState = k.acpi
    state.namespace = Namespace()
    state.interpreter = run = Interpreter(k, state.namespace)
    dsdt = state.table("DSDT")
    if dsdt is None or len(dsdt) < HEADER.size:
        error(k, "AE_NO_ACPI_TABLES, While loading namespace from ACPI tables", {"": "tbxfload-72"})
        k.printk("ACPI: Unable to load the System Description Tables", Level.ERR)
        return False
    seen = [dsdt]
    failed = 0 if load_definition_block(run, dsdt) else 1
    for table in state.tables:
        data = table.data
        if table.signature not in SECONDARY or data is None or data in seen:
            continue
        seen.append(data)
        failed += 0 if load_definition_block(run, data) else 1
    loaded = len(seen) - failed
    if failed:
        error(k, f"{failed} table load failures, {loaded} successful", {"": "tbxfload-252"})
    else:
        k.printk(f"ACPI: {loaded} ACPI AML tables successfully acquired and loaded")
    return True
