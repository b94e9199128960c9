"""ACPI tables from wherever a user has them: a machine, an acpidump, a folder of files, or single files."""

from __future__ import annotations

import gzip
import lzma
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from hw.acpi.layout import HEADER
from hw.errors import InputError
from hw.files import is_file, is_folder, read_input
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.reg import execute_reg_methods
from minikern.acpi.region_buffers import buffered_spaces
from minikern.acpi.spaces import EMBEDDED_CONTROL
from minikern.core.kernel import BootOptions, Kernel
from minikern.describe.acpidump import MAX_DUMP_BYTES, DumpedTable, read_acpidump
from minikern.describe.capture import is_capture
from minikern.describe.presets import load_machine, preset_names
from minikern.lab.run import boot, choose_release, prepare
from minikern.state.acpi import AcpiState, Table

BARE_MACHINE = "tiny"  # lends its clock and unit costs to tables that come without a machine
_TITLE = re.compile(rb"^\S{4} @ 0x[0-9A-Fa-f]{1,16}\s*$", re.MULTILINE)
_BINARY = re.compile(rb"[A-Z][A-Z0-9!]{3}")
_PACKED = {b"\x1f\x8b": gzip.decompress, b"\xfd7zXZ": lzma.decompress}


@dataclass
class Opened:
    """Tables that are loaded: the kernel that holds them, and what interprets them."""

    name: str
    kernel: Kernel
    run: Interpreter
    machine: bool  # False: tables alone, their registers are plain memory

    @property
    def tables(self) -> list[Table]:
        """The tables in the order they were found."""
        return list(self.kernel.acpi.tables)


def open_source(sources: list[str], slack: bool | None = None, fill: int = 0) -> Opened:
    """Load what ``sources`` name; a machine is booted. InputError says what is wrong with which.

    ``slack`` is the kernel's lenience with AML; tables alone are read strictly, as ACPICA's own tool reads them.
    """
    if len(sources) == 1 and not _is_table_source(sources[0]):
        return _booted(sources[0], slack)
    tables = [table for source in sources for table in _tables_of(source)]
    return _loaded(" ".join(sources), tables, bool(slack), fill)


def source_tables(sources: list[str]) -> list[DumpedTable]:
    """The tables of a machine, once it has booted, or those that files hold. InputError: there is none."""
    if len(sources) == 1 and not _is_table_source(sources[0]):
        found = _booted(sources[0], None).tables
        return [DumpedTable(one.signature, one.address, one.data) for one in found if one.data is not None]
    return [table for source in sources for table in _tables_of(source)]


def _is_table_source(source: str) -> bool:
    path = Path(source)
    if source in preset_names() or "\0" in source:
        return False
    if is_folder(path):
        return not is_capture(path) and any(path.glob("*.[dD][aA][tT]"))
    return is_file(path) and _kind(_head(path)) != "machine"


def _kind(data: bytes) -> str:
    """What a file holds, by its first bytes."""
    if _TITLE.search(data):
        return "acpidump"
    return "table" if _BINARY.match(data) and b"\0" in data[: HEADER.size] else "machine"


def _head(path: Path) -> bytes:
    return read_packed(path)[: 1 << 16]


def read_packed(path: Path) -> bytes:
    """A file's bytes, unpacked where it is packed by gzip or xz. InputError when it is too large or damaged."""
    data = read_input(path, MAX_DUMP_BYTES)
    for magic, unpack in _PACKED.items():
        if data.startswith(magic):
            try:
                return unpack(data)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                raise InputError(f"{path}: cannot be unpacked: {error}") from None
    return data


def _tables_of(source: str) -> list[DumpedTable]:
    path = Path(source)
    if is_folder(path):
        files = [file for file in path.iterdir() if file.suffix.lower() == ".dat"]
        return [_binary(file) for file in sorted(files, key=_file_order)]
    if not is_file(path):
        raise InputError(f"{source}: no such file: expected an acpidump, a folder of .dat files or .dat files")
    data = read_packed(path)
    kind = _kind(data[: 1 << 16])
    if kind == "table":
        return [_binary(path)]
    if kind == "acpidump":
        return read_acpidump(data.decode("latin-1"), source)
    raise InputError(f"{source}: neither an acpidump text nor an ACPI table")


def _file_order(path: Path) -> tuple[bool, str, int]:
    # The DSDT first, then by signature and number: SSDT2 before SSDT10.
    name = path.stem.lower()
    number = re.search(r"(\d+)$", name[4:])
    return not name.startswith("dsdt"), name[:4], int(number[1]) if number else 0


def _binary(path: Path) -> DumpedTable:
    data = read_packed(path)
    if len(data) < 8 or not _BINARY.match(data):
        raise InputError(f"{path}: {len(data)} bytes that begin with {data[:4]!r}: expected an ACPI table")
    length = int.from_bytes(data[4:8], "little")
    if not 8 <= length <= len(data):
        raise InputError(f"{path}: the table says it has {length} bytes, the file has {len(data)}")
    return DumpedTable(data[:4].decode("ascii"), 0, data[:length])


def _booted(name: str, slack: bool | None) -> Opened:
    append = "acpi=strict" if slack is False else ""
    kernel = boot(load_machine(name), append=append).kernel
    run = kernel.acpi.interpreter
    if not isinstance(run, Interpreter) or kernel.acpi.disabled:
        raise InputError(f"{name}: this machine boots without ACPI")
    return Opened(name, kernel, run, machine=True)


def _loaded(name: str, tables: list[DumpedTable], slack: bool, fill: int) -> Opened:
    if not any(table.signature == "DSDT" for table in tables):
        found = ", ".join(sorted({table.signature for table in tables})) or "none"
        raise InputError(f"{name}: no DSDT among the tables (found: {found})")
    kernel = bare_kernel(tables)
    acpi_load_tables(kernel, slack=slack, spaces=buffered_spaces(fill))
    run = kernel.acpi.interpreter
    assert isinstance(run, Interpreter)
    execute_reg_methods(run, EMBEDDED_CONTROL)
    acpi_initialize_objects(kernel, run)
    return Opened(name, kernel, run, machine=False)


def bare_kernel(tables: list[DumpedTable]) -> Kernel:
    """A kernel that has these tables and has not begun to boot."""
    spec = load_machine(BARE_MACHINE)
    kernel = prepare(spec, None, choose_release(spec), "", BootOptions())
    places = [Table(item.signature, item.address or number, len(item.data), item.data) for number, item in
              enumerate(tables, 1)]  # fmt: skip
    kernel.acpi = AcpiState(tables=places)
    return kernel
