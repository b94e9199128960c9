"""What the ACPI commands print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minikern.acpi.decode import decoded
from minikern.acpi.resource_text import read_template
from minikern.acpi.value_json import plain_value, value_lines, value_type
from minikern.lab.acpi_eval import Answer
from minikern.state.namespace import shown

MOST_ROWS = 25
_STATUS = {0: "absent", 15: "", 11: "hidden"}


def tree_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The namespace, indented by depth."""
    for row in rows:
        depth = row["path"].count(".")
        name = row["path"].rsplit(".", 1)[-1].lstrip("\\")
        yield f"{'  ' * depth}{name:4s} {row['type']:<11s} {_details(row)}".rstrip()


def _details(row: dict[str, Any]) -> str:
    words = [",".join(row.get("ids", ())), row.get("value", "")]
    if "status" in row:
        words.append(_STATUS.get(row["status"], f"status {row['status']:#x}"))
    if "driver" in row:
        words.append(f"<- {row['driver']}")
    return "  ".join(word for word in words if word)


def answer_json(answer: Answer) -> dict[str, Any]:
    """An evaluation as data."""
    made: dict[str, Any] = {
        "path": answer.node.path,
        "type": value_type(answer.value),
        "value": plain_value(answer.value),
        "status": answer.status,
    }
    words = decoded(answer.node.name, answer.value)
    if words:
        made["decoded"] = words
    if answer.node.name in ("_CRS", "_PRS", "_DMA") and isinstance(answer.value, bytearray):
        made["resources"] = read_template(bytes(answer.value))
    return made | ({"messages": answer.messages} if answer.messages else {}) | (
        {"trace": answer.terms} if answer.terms else {}
    )  # fmt: skip


def answer_lines(answer: Answer) -> Iterator[str]:
    """An evaluation as text: the value, then what it means."""
    yield from answer.terms
    if answer.status != "AE_OK":
        return
    if answer.value is None:
        yield f"{shown(answer.node.path)} gave no value"
        return
    yield from value_lines(answer.value)
    for line in decoded(answer.node.name, answer.value):
        yield f"= {line}"


def table_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The tables, one a line."""
    for row in rows:
        ids = f"{row.get('oem_id', ''):6s} {row.get('oem_table_id', ''):8s} {row.get('creator', ''):4s}"
        check = "" if row.get("checksum", "ok") == "ok" else f"  checksum {row['checksum']}"
        aml = ""
        if "objects" in row:
            aml = f"  {row['objects']} objects, {row['devices']} devices, {row['methods']} methods"
        note = f"  ({row['note']})" if "note" in row else ""
        yield f"{row['signature']} {row['address']:#018x} {row['length']:7d} {ids}{aml}{check}{note}".rstrip()


def cost_lines(tables: list[dict[str, Any]], groups: dict[str, list[dict[str, Any]]], total_ns: int) -> Iterator[str]:
    """The profile: tables, then devices, methods and registers, dearest first."""
    yield f"total {total_ns / 1e6:.3f} ms"
    for row in tables:
        yield f"{row['ns'] / 1e6:10.3f} ms  load {row['table']}: {row['bytes']} bytes, {row['objects']} objects"
    for word, rows in groups.items():
        yield ""
        yield f"by {word}" + (f" (the first {MOST_ROWS} of {len(rows)})" if len(rows) > MOST_ROWS else "")
        yield from (_cost_line(word, row) for row in rows[:MOST_ROWS])


def _cost_line(word: str, row: dict[str, Any]) -> str:
    if word == "register":
        return f"{row['accesses']:10d}     {row['space']} {row['address']:#x} ({row['region']})"
    accesses = ", ".join(f"{count} {space}" for space, count in row["accesses"].items())
    slept = f", asleep {row['slept_us'] / 1000:.3f} ms" if row["slept_us"] else ""
    return f"{row['ns'] / 1e6:10.3f} ms  {row[word]}: {row['calls']} calls, {row['terms']} terms{slept}" + (
        f", {accesses}" if accesses else ""
    )


def difference_lines(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    """What differs, a sign before each line."""
    for sign, word in (("+", "appeared"), ("-", "vanished")):
        yield from (f"{sign} {row['path']} {row['type']}" for row in found[word])
    yield from (f"> {row['from']} -> {row['to']} ({row['id']})" for row in found["moved"])
    yield from (f"~ {row['path']}: {row['from']} -> {row['to']}" for row in found["changed"])
    for row in found["cost"]:
        yield f"$ {row['device']}: {row['from_ns'] / 1e6:.3f} ms -> {row['to_ns'] / 1e6:.3f} ms"
