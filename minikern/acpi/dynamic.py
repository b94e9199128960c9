"""Tables that AML itself loads while it runs: the Load, LoadTable and Unload operators.

Source: drivers/acpi/acpica/exconfig.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hw.acpi.layout import HEADER
from minikern.acpi.aml_load import load_secondary_block, remove_owned
from minikern.acpi.messages import error
from minikern.acpi.operands import load_node, resolve, to_string
from minikern.acpi.osl import acpi_os_map_memory
from minikern.acpi.package_init import init_packages
from minikern.acpi.spaces import MEMORY, Region
from minikern.acpi.store import store
from minikern.acpi.tables import MAX_TABLE_BYTES, fix_string, print_table_header, verify_checksum
from minikern.acpi.values import AmlError, NodeRef, TableHandle
from minikern.state.acpi import Table
from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.stream import Frame
    from minikern.state.acpi import AcpiState

DIRECT_MAP = 0xFFFF_8880_0000_0000  # Source: arch/x86/include/asm/page_64_types.h:__PAGE_OFFSET_BASE_L4 @ v6.12


def load_op(run: Interpreter, source: Any) -> TableHandle:
    """Load a table from a memory region or a buffer: heading, the table's own line, then its AML.

    The line shows the kernel's own copy; its address here is the direct mapping's of the original.
    Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_op() @ v6.12
    """
    address, data = _bytes_of(run, source)
    length = HEADER.get(data, "length") if len(data) >= HEADER.size else 0
    if length < HEADER.size:
        raise AmlError("AE_INVALID_TABLE_LENGTH", f"table of {length} bytes")
    if length > len(data):
        raise AmlError("AE_AML_BUFFER_LIMIT", f"table of {length} bytes, {len(data)} there")
    data = data[:length]
    verify_checksum(run.k, data)
    run.account.settle(run)
    run.k.printk("ACPI: Dynamic OEM Table Load:")
    if any(table.data == data for table in run.dynamic_tables.values()):
        where = f"{fix_string(data[:4], 4)} 0x{DIRECT_MAP + address:016X}"
        error(run.k, f"AE_ALREADY_EXISTS, {where} Table is already loaded", {"": "tbdata-524"})
        raise AmlError("AE_ALREADY_EXISTS", "the table is loaded")
    print_table_header(run.k, DIRECT_MAP + address, data)
    handle = _load(run, data, None)
    table = Table(fix_string(data[:4], 4), DIRECT_MAP + address, length, data)
    run.dynamic_tables[handle.owner] = table
    run.loaded_once.append(table)
    return handle


def _bytes_of(run: Interpreter, source: Any) -> tuple[int, bytes]:
    node = source if isinstance(source, Node) else source.node if isinstance(source, NodeRef) else None
    region = node.value if node is not None else None
    if isinstance(region, Region):
        if region.space != MEMORY:
            raise AmlError("AE_AML_OPERAND_TYPE", "a table lies in memory")
        if not 0 < region.length <= MAX_TABLE_BYTES:
            return region.offset, b""
        return region.offset, acpi_os_map_memory(run.k, region.offset, region.length) or b""
    value = load_node(run, node) if node is not None else resolve(run, source)
    if not isinstance(value, bytearray):
        raise AmlError("AE_AML_OPERAND_TYPE", "Load needs a region or a buffer")
    return 0, bytes(value)


def find_table(run: Interpreter, signature: str, oem_id: str, table_id: str) -> Table | None:
    """A table of the root table by signature and, where not empty, OEM names.

    Source: drivers/acpi/acpica/tbfind.c:acpi_tb_find_table() @ v6.12
    """
    state: AcpiState = run.k.acpi
    for table in (*state.tables, *run.loaded_once):
        data = table.data
        if data is None or table.signature != signature or len(data) < HEADER.size:
            continue
        if not _differs(data[10:16], oem_id, 6) and not _differs(data[16:24], table_id, 8):
            return table
    return None


def _differs(field: bytes, wanted: str, width: int) -> bool:
    return bool(wanted) and field.rstrip(b"\0 ") != wanted[:width].rstrip("\0 ").encode("latin-1", "replace")


def load_table_op(run: Interpreter, frame: Frame, operands: list[Any]) -> TableHandle | None:
    """Load a table the root table lists but that is not loaded by itself, by signature and OEM names.

    Then come the path of the scope it loads into, the path of an object, and what is stored there.
    Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_table_op() @ v6.12
    """
    parameter = resolve(run, operands[5])
    signature, oem_id, table_id, root_path, parameter_path = (to_string(run, item) for item in operands[:5])
    if len(oem_id) > 6 or len(table_id) > 8:
        raise AmlError("AE_AML_STRING_LIMIT", "OEM names are shorter")
    table = find_table(run, signature, oem_id, table_id)
    if table is None or table.data is None:
        return None
    parent = _node_at(run, root_path, frame.scope) if root_path else run.namespace.root
    place = None
    if parameter_path:
        place = _node_at(run, parameter_path, frame.scope if parameter_path[0] in "\\^" else parent)
    if table.address in run.loaded_by_name:
        raise AmlError("AE_ALREADY_EXISTS", "the table is loaded")
    run.loaded_by_name.add(table.address)
    run.account.settle(run)
    run.k.printk("ACPI: Dynamic OEM Table Load:")
    handle = _load(run, table.data, parent)
    if place is not None:
        store(run, parameter, place)
    return handle


def _node_at(run: Interpreter, path: str, scope: Node) -> Node:
    node = run.namespace.find(path, scope)
    if node is None:
        raise AmlError("AE_NOT_FOUND", path)
    return node


def _load(run: Interpreter, data: bytes, scope: Node | None) -> TableHandle:
    run.account.book("acpi_dynamic_table_load", 1)
    outer = run.owner
    status = load_secondary_block(run, data, scope)
    handle, run.owner = TableHandle(run.loaded_tables), outer
    if status:
        raise AmlError(status, "the table cannot be loaded")
    init_packages(run)
    return handle


def unload_op(run: Interpreter, handle: TableHandle) -> None:
    """Take a table's objects out of the namespace again."""
    remove_owned(run.namespace, handle.owner)
    run.dynamic_tables.pop(handle.owner, None)
