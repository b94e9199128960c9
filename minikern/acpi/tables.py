"""Table discovery: RSDP, RSDT or XSDT, the table list and its log lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.acpi.checksum import byte_sum
from hw.acpi.layout import HEADER, RSDP, RSDP_V0_SIZE
from minikern.acpi.fadt import acpi_tb_parse_fadt
from minikern.acpi.messages import bios_error, bios_warning, error
from minikern.acpi.osl import acpi_os_map_memory
from minikern.acpi.rsdp import acpi_find_root_pointer
from minikern.core.moduleparam import Parameter, early_param
from minikern.state.acpi import AcpiState, Table

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

MAX_TABLE_BYTES = 64 << 20  # larger lengths are taken for damage; the largest real tables are a few MiB
MAX_TABLES = 1024
_TBUTILS = {"20220331": "tbutils-291", "": "tbutils-291"}
_CHECKSUM = {"20220331": "tbprint-174", "": "utcksum-58"}


def acpi_boot_table_init(k: Kernel, rsdp: int | None = None) -> AcpiState:
    """Find and list all tables, log them, reserve their memory; sets and returns ``k.acpi``.

    ``rsdp`` is the address the loader gave, 0 for none (default: what the zero page said). A damaged or missing root
    disables ACPI with Linux's own line; the boot goes on.
    Source: arch/x86/kernel/acpi/boot.c:acpi_boot_table_init(), drivers/acpi/tables.c:acpi_locate_initial_tables()
    """
    state = AcpiState()
    k.acpi = state
    if k.acpi_options.disabled:
        state.disabled = True
        return state
    verify = k.cmdline.has("acpi_force_table_verification")
    k.printk(f"ACPI: Early table checksum verification {'enabled' if verify else 'disabled'}")
    address = acpi_find_root_pointer(k, k.boot_params.acpi_rsdp if rsdp is None else rsdp)
    if address is None or not _parse_root_table(k, state, address, verify):
        state.disabled = True
        state.tables.clear()
        return state
    if k.behaviour.acpi_reserve_lines:
        for table in state.tables:
            _reserve(k, table)
    return state


def _reserve(k: Kernel, table: Table) -> None:
    if not table.address or not table.length:
        return
    last = table.address + table.length - 1
    k.printk(f"ACPI: Reserving {table.signature:>4s} table memory at [mem 0x{table.address:x}-0x{last:x}]")
    k.memblock.reserve(table.address, table.length)


def _parse_root_table(k: Kernel, state: AcpiState, address: int, verify: bool) -> bool:
    """Read RSDP and root table; False when there is none to use. Source: acpica/tbutils.c:acpi_tb_parse_root_table()"""
    data = acpi_os_map_memory(k, address, RSDP.size)
    if data is None:
        return False
    if data[:8] != b"RSD PTR ":
        # a given address is believed without a checksum, as long as the signature is there
        bios_error(k, f"RSDP at 0x{address:08X} has no valid signature", _TBUTILS)
        return False
    state.rsdp_address = address
    print_table_header(k, address, data)
    use_xsdt = RSDP.get(data, "revision") > 1 and RSDP.get(data, "xsdt") != 0 and not k.acpi_options.rsdt
    root = RSDP.get(data, "xsdt" if use_xsdt else "rsdt")
    width = 8 if use_xsdt else 4
    header = acpi_os_map_memory(k, root, HEADER.size)
    if header is None:
        return False
    print_table_header(k, root, header)
    length = HEADER.get(header, "length")
    if length < HEADER.size + width or length > HEADER.size + width * MAX_TABLES:
        bios_error(k, f"Invalid table length 0x{length:X} in RSDT/XSDT", _TBUTILS)
        return False
    body = acpi_os_map_memory(k, root, length)
    if body is None:
        return False
    verify_checksum(k, body)
    for offset in range(HEADER.size, length - width + 1, width):
        entry = int.from_bytes(body[offset : offset + width], "little")
        if entry:
            _install_table(k, state, entry, verify)
    return True


def _install_table(k: Kernel, state: AcpiState, address: int, verify: bool, facs: bool = False) -> None:
    header = acpi_os_map_memory(k, address, HEADER.size)
    if header is None:
        return
    signature = fix_string(header[:4], 4)
    length = HEADER.get(header, "length")
    data = _map_table(k, address, signature, length)
    if verify and data is not None:
        verify_checksum(k, data)
    print_table_header(k, address, header)
    state.tables.append(Table(signature, address, length, data))
    if facs or header[:4] != b"FACP" or state.fadt is not None:
        return
    state.fadt = acpi_tb_parse_fadt(k, data or header)
    if state.fadt.dsdt:
        _install_table(k, state, state.fadt.dsdt, verify, facs=True)
    if state.fadt.facs:
        _install_table(k, state, state.fadt.facs, verify, facs=True)


def _map_table(k: Kernel, address: int, signature: str, length: int) -> bytes | None:
    minimum = 8 if signature == "FACS" else HEADER.size
    if not minimum <= length <= MAX_TABLE_BYTES:
        text = f"Table [{signature}] at 0x{address:X} has invalid length 0x{length:X}, ignoring its contents"
        error(k, text, {"": "tbdata-530"})
        return None
    return acpi_os_map_memory(k, address, length)


def print_table_header(k: Kernel, address: int, data: bytes, virtual: bool = False) -> None:
    """Log one table's line from its header bytes.

    Source: drivers/acpi/acpica/tbprint.c:acpi_tb_print_table_header() @ v6.12
    """
    where = f"0x{address:016X}"
    if data[:8] == b"RSD PTR ":
        revision = RSDP.get(data, "revision")
        length = RSDP.get(data, "length") if revision > 1 else RSDP_V0_SIZE
        oem = fix_string(RSDP.raw(data, "oem_id"), 6)
        k.printk(f"ACPI: RSDP {where} {length:06X} (v{revision:02d} {oem})")
        return
    signature = fix_string(data[:4], 4)
    length = HEADER.get(data, "length")
    if data[:4] == b"FACS":
        k.printk(f"ACPI: FACS {where} {length:06X}")
        return
    oem = fix_string(HEADER.raw(data, "oem_id"), 6)
    table_id = fix_string(HEADER.raw(data, "oem_table_id"), 8)
    creator = fix_string(HEADER.raw(data, "creator_id"), 4)
    revision, oem_revision = data[8], HEADER.get(data, "oem_revision")
    tail = f"{oem_revision:08X} {creator} {HEADER.get(data, 'creator_revision'):08X}"
    k.printk(f"ACPI: {signature} {where} {length:06X} (v{revision:02d} {oem} {table_id} {tail})")


def fix_string(data: bytes, width: int) -> str:
    """Printable form of a fixed-width field: it ends at a NUL, other unprintable bytes show as ``?``, blanks fill up.

    Source: drivers/acpi/acpica/tbprint.c:acpi_tb_fix_string() @ v6.12
    """
    text = data.split(b"\0", 1)[0]
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text).ljust(width)


def verify_checksum(k: Kernel, data: bytes) -> bool:
    """Check one table; a bad sum is a warning and the table is still used.

    Source: drivers/acpi/acpica/tbprint.c:acpi_tb_verify_checksum() @ v6.1, utcksum.c:acpi_ut_verify_checksum() @ v6.12
    """
    if data[:4] in (b"FACS", b"S3PT") or not byte_sum(data):
        return True
    stored = data[9]
    correct = (stored - byte_sum(data)) & 0xFF
    # Newer kernels print the difference of the two bytes, as a signed 32-bit number, where the right byte is meant.
    should = correct if k.behaviour.acpi_checksum_reports == "correct" else stored - correct
    signature = fix_string(data[:4], 4)
    text = f"Incorrect checksum in table [{signature}] - 0x{stored:02X}, should be 0x{should & 0xFFFF_FFFF:02X}"
    bios_warning(k, text, _CHECKSUM)
    return False


def acpi_early_init(k: Kernel) -> None:
    """Log the interpreter's revision, then map every table for good and verify its checksum.

    Source: drivers/acpi/bus.c:acpi_early_init(), acpica/tbxface.c:acpi_reallocate_root_table() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.disabled:
        return
    k.printk(f"ACPI: Core revision {k.behaviour.acpi_core_revision}")
    verified = 0
    for table in state.tables:
        if table.data is not None:
            verify_checksum(k, table.data)
            verified += len(table.data)
    k.charge("acpi_table_verify_byte", verified)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("acpi_force_table_verification", read_by=acpi_boot_table_init),
)
