"""The tables themselves: lengths, checksums, what each adds to the namespace, and which of them shadow others."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hw.acpi.checksum import byte_sum
from hw.acpi.layout import HEADER
from minikern.acpi.aml_load import SECONDARY
from minikern.acpi.tables import fix_string
from minikern.lab.acpi_source import Opened
from minikern.state.acpi import Table
from minikern.state.namespace import Kind

NO_ADDRESS = 0x1000  # below lies what tables are numbered by whose place nobody knows
_COUNTED = {Kind.DEVICE: "devices", Kind.METHOD: "methods", Kind.REGION: "regions"}


def rows(opened: Opened) -> list[dict[str, Any]]:
    """One row a table, in the order they were found."""
    owners = _owners(opened)
    return [_row(opened, table, owners.get(number, 0)) for number, table in enumerate(opened.tables)]


def _owners(opened: Opened) -> dict[int, int]:
    """Which table of the list is which loaded table, by number in the order of loading."""
    seen: list[bytes | None] = []
    order = [number for number, table in enumerate(opened.tables) if table.signature == "DSDT"][:1]
    order += [number for number, table in enumerate(opened.tables) if table.signature in SECONDARY]
    found = {}
    for number in order:
        data = opened.tables[number].data
        if data is not None and data not in seen:
            seen.append(data)
            found[number] = len(seen)
    return found


def _row(opened: Opened, table: Table, owner: int) -> dict[str, Any]:
    data = table.data or b""
    address = table.address if table.address >= NO_ADDRESS else 0
    row: dict[str, Any] = {"signature": table.signature, "address": address, "length": table.length}
    if len(data) >= HEADER.size and table.signature != "FACS":
        row |= _header(data)
    if owner:
        row |= {"owner": owner} | _objects(opened, owner)
    note = _note(opened, table, owner)
    return row | ({"note": note} if note else {})


def _header(data: bytes) -> dict[str, Any]:
    off = byte_sum(data)
    return {
        "revision": data[8],
        "checksum": "ok" if not off else f"0x{data[9]:02X}, should be 0x{(data[9] - off) & 0xFF:02X}",
        "oem_id": fix_string(data[10:16], 0).rstrip(),
        "oem_table_id": fix_string(data[16:24], 0).rstrip(),
        "oem_revision": HEADER.get(data, "oem_revision"),
        "creator": fix_string(data[28:32], 0).rstrip(),
    }


def _objects(opened: Opened, owner: int) -> dict[str, Any]:
    kinds = Counter(node.kind for node in opened.run.namespace.walk() if node.owner == owner)
    return {"objects": sum(kinds.values())} | {word: kinds[kind] for kind, word in _COUNTED.items()}


def _note(opened: Opened, table: Table, owner: int) -> str:
    if table.data is None:
        return "its length makes no sense, its contents are ignored"
    if table.signature not in (*SECONDARY, "DSDT"):
        return ""
    if not owner:
        return "the same bytes as an earlier table: not loaded again"
    return _override(opened.tables, table)


def _override(tables: list[Table], table: Table) -> str:
    """A table with the ids of an earlier one, made to take its place."""
    data = table.data or b""
    for other in tables[: tables.index(table)]:
        if other.data is not None and other.data[:4] == data[:4] and other.data[10:24] == data[10:24]:
            mine, its = HEADER.get(data, "oem_revision"), HEADER.get(other.data, "oem_revision")
            word = "newer than" if mine > its else "older than" if mine < its else "of the same revision as"
            return f"the ids of an earlier table, {word} it"
    return ""
