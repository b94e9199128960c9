"""Tables that AML itself loads while it runs: the Load and LoadTable operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hw.acpi.layout import HEADER
from minikern.acpi.aml_load import load_definition_block
from minikern.acpi.messages import bios_error
from minikern.acpi.namespace import Node
from minikern.acpi.osl import acpi_os_map_memory
from minikern.acpi.regions import MEMORY, Region
from minikern.acpi.tables import MAX_TABLE_BYTES, print_table_header, verify_checksum
from minikern.acpi.values import to_buffer

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

DIRECT_MAP = 0xFFFF_8880_0000_0000  # Source: arch/x86/include/asm/page_64_types.h:__PAGE_OFFSET_BASE_L4 @ v6.12


def load_op(run: Interpreter, source: Any) -> bool:
    """Load a table from a memory region or a buffer: heading, the table's own line, then its AML.

    The line shows the kernel's own copy; its address here is the direct mapping's of the original.
    Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_op() @ v6.12
    """
    address, data = _bytes_of(run, source)
    length = HEADER.get(data, "length") if len(data) >= HEADER.size else 0
    if not HEADER.size <= length <= len(data):
        bios_error(run.k, f"Load: table length 0x{length:X}, {len(data)} bytes there", {"": "exconfig-400"})
        return False
    data = data[:length]
    verify_checksum(run.k, data)
    run.k.printk("ACPI: Dynamic OEM Table Load:")
    print_table_header(run.k, DIRECT_MAP + address, data)
    return _load(run, data)


def _bytes_of(run: Interpreter, source: Any) -> tuple[int, bytes]:
    region = source.value if isinstance(source, Node) else None
    if isinstance(region, Region):
        if region.space != MEMORY or not 0 < region.length <= MAX_TABLE_BYTES:
            return 0, b""
        return region.offset, acpi_os_map_memory(run.k, region.offset, region.length) or b""
    value = run.load_node(source) if isinstance(source, Node) else run.dereference(source)
    return 0, bytes(to_buffer(value)) if isinstance(value, bytearray) else b""


def load_table_op(run: Interpreter, names: list[str]) -> bool:
    """Load a table the root table lists but that is not loaded by itself, by signature and OEM names.

    Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_table_op() @ v6.12
    """
    signature, oem_id, table_id = names
    for table in run.k.acpi.tables:
        data = table.data
        if data is None or table.signature != signature or len(data) < HEADER.size:
            continue
        if _differs(data[10:16], oem_id, 6) or _differs(data[16:24], table_id, 8):
            continue
        if table.address in run.loaded_by_name:
            return False
        run.loaded_by_name.add(table.address)
        run.k.printk("ACPI: Dynamic OEM Table Load:")
        return _load(run, data)
    return False


def _differs(field: bytes, wanted: str, width: int) -> bool:
    return bool(wanted) and field.rstrip(b"\0 ") != wanted[:width].rstrip("\0 ").encode("latin-1", "replace")


def _load(run: Interpreter, data: bytes) -> bool:
    run.k.charge("acpi_dynamic_table_load")
    return load_definition_block(run, data)
