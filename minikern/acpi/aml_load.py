"""Loading AML: the DSDT and the secondary tables, in root-table order.

Source: drivers/acpi/acpica/tbxfload.c, nsload.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.acpi.layout import HEADER
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.messages import error
from minikern.acpi.tables import fix_string
from minikern.acpi.values import AmlError
from minikern.core.printk import Level
from minikern.state.namespace import Namespace, Node

if TYPE_CHECKING:
    from minikern.acpi.spaces import SpaceHandler
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import AcpiState

SECONDARY = ("SSDT", "PSDT", "OSDT")  # Source: drivers/acpi/acpica/tbxfload.c:acpi_tb_load_namespace() @ v6.12


def load_secondary_block(run: Interpreter, data: bytes, scope: Node | None = None) -> str:
    """Load a table that is not the DSDT; where such tables wait to be needed, only look through its names."""
    deferred, before = run.deferred, run.objects
    if deferred is None or deferred.looked_through is not None:
        return load_definition_block(run, data, scope)
    run.account.settle(run)
    needs = deferred.looked_through = set()
    with run.account.kept() as work:
        status = load_definition_block(run, data, scope)
    deferred.looked_through = None
    name = f"{fix_string(data[:4], 4)} {fix_string(data[16:24], 8)}".rstrip()
    deferred.add(run.account, run.owner, name, work, needs, run.objects - before)
    return status


def load_definition_block(run: Interpreter, data: bytes, scope: Node | None = None) -> str:
    """Load one table into the namespace; return why it could not be, "" when it was.

    What a failed table made is taken out again. Books the work.
    """
    run.account.settle(run)
    run.loaded_tables += 1
    run.owner = run.loaded_tables
    status = ""
    try:
        run.run_table(data, HEADER.size, scope)
    except AmlError as problem:
        status = problem.status
        _report_abort(run, status)
        remove_owned(run.namespace, run.owner)
    run.account.loaded(run)
    return status


def _report_abort(run: Interpreter, status: str) -> None:
    """What ACPICA says when a table, which it runs as a method that is none, ends with an error."""
    error(run.k, f"Aborting method \\ due to previous error ({status})", {"": "psparse-529"})
    error(run.k, "Invalid zero thread count in method", {"": "dsmethod-788"})
    error(run.k, "Invalid OwnerId: 0x000", {"": "utownerid-159"})


def remove_owned(namespace: Namespace, owner: int) -> None:
    """Take out what a table made. Source: drivers/acpi/acpica/nsalloc.c:acpi_ns_delete_namespace_by_owner() @ v6.12"""
    for node in list(namespace.walk()):
        if node.owner == owner and node.parent is not None and node.parent.children.get(node.name) is node:
            del node.parent.children[node.name]


def acpi_load_tables(
    k: Kernel, slack: bool | None = None, spaces: dict[int, SpaceHandler] | None = None
) -> bool:
    """Load DSDT and secondary tables into a fresh namespace (``k.acpi.namespace``); False when there is no DSDT.

    ``slack`` overrides what the command line says of strictness, ``spaces`` the handlers of address spaces.
    Source: drivers/acpi/acpica/tbxfload.c:acpi_load_tables() @ v6.12
    """
    state: AcpiState = k.acpi
    state.namespace = Namespace()
    tolerant = not k.acpi_options.strict if slack is None else slack
    state.interpreter = run = Interpreter(k, state.namespace, tolerant, spaces)
    dsdt = state.table("DSDT")
    if dsdt is None or len(dsdt) < HEADER.size:
        error(k, "AE_NO_ACPI_TABLES, While loading namespace from ACPI tables", {"": "tbxfload-72"})
        k.printk("ACPI: Unable to load the System Description Tables", Level.ERR)
        return False
    if k.acpi_options.copy_dsdt:
        _copy_dsdt(k, dsdt)
    status = load_definition_block(run, dsdt)
    if status:
        error(k, f"{status}, [DSDT] table load failed", {"": "tbxfload-162"})
    failed = int(bool(status))
    loaded = 1
    for data in secondary_tables(state):
        loaded += run.deferred is None
        failed += _load_secondary(k, run, data)
    _report(k, failed, loaded - failed)
    return True


def _copy_dsdt(k: Kernel, dsdt: bytes) -> None:
    """For firmware that damages its own table. Source: drivers/acpi/acpica/tbutils.c:acpi_tb_copy_dsdt() @ v6.12"""
    k.charge("acpi_table_copy_byte", len(dsdt))
    k.printk(f"ACPI: Forced DSDT copy: length 0x{len(dsdt):05X} copied locally, original unmapped")


def secondary_tables(state: AcpiState) -> list[bytes]:
    """The tables that are loaded behind the DSDT; one that is listed twice once."""
    seen = [state.table("DSDT")]
    for table in state.tables:
        if table.signature in SECONDARY and table.data is not None and table.data not in seen:
            seen.append(table.data)
    return [data for data in seen[1:] if data is not None]


def _load_secondary(k: Kernel, run: Interpreter, data: bytes) -> int:
    status = load_secondary_block(run, data)
    if status:
        name = f"({fix_string(data[:4], 4)}:{fix_string(data[16:24], 8)})"
        error(k, f"{status}, {name} while loading table", {"": "tbxfload-210"})
    return int(bool(status))


def _report(k: Kernel, failed: int, loaded: int) -> None:
    if failed:
        error(k, f"{failed} table load failures, {loaded} successful", {"": "tbxfload-252"})
    else:
        k.printk(f"ACPI: {loaded} ACPI AML tables successfully acquired and loaded")
