"""What the machine's AML costs a boot: loading each table, and everything the kernel evaluates while it comes up.

The work is counted; the unit costs of the machine turn it into time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hw.acpi.layout import HEADER
from minikern.acpi.account import ACCESS_KINDS, TableWork
from minikern.acpi.acpi_init import acpi_initialize_objects
from minikern.acpi.aml_load import acpi_load_tables, secondary_tables
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.processor_setup import acpi_early_processor_control_setup, acpi_processor_init
from minikern.acpi.profile import Profile, Spent
from minikern.acpi.scan import attached_devices, ids_and_needs, scanned_devices
from minikern.acpi.spaces import space_name
from minikern.core.kernel import Kernel
from minikern.lab.acpi_source import Opened
from minikern.state.acpi import AcpiState
from minikern.state.namespace import DEVICES, Node, shown

ASKED_BY_DRIVERS = ("_CRS", "_PRT", "_PS0", "_SUN", "_DSD", "_BBN", "_SEG", "_PXM")
"""What the first drivers ask of a device. Source: drivers/acpi/pci_root.c, power.c @ v6.12"""


@dataclass
class Costs:
    """A profile with the unit costs that price it, ns."""

    kernel: Kernel
    run: Interpreter
    profile: Profile
    tables: list[dict[str, Any]]

    def spent_ns(self, spent: Spent) -> float:
        """Time of counted work."""
        unit = self.kernel.unit_ns
        accesses = sum(count * unit(ACCESS_KINDS[space]) for space, count in spent.accesses.items()
                       if space in ACCESS_KINDS)  # fmt: skip
        return spent.terms * unit("aml_opcode") + spent.slept_us * unit("aml_sleep_us") + accesses


def measure(opened: Opened) -> Costs:
    """Load the tables afresh and do what the kernel does with them, counting."""
    kernel, spaces = opened.kernel, opened.run.spaces
    old = kernel.acpi
    kernel.acpi = AcpiState(tables=old.tables, fadt=old.fadt, lapics=old.lapics, have_ioapic=old.have_ioapic)
    acpi_load_tables(kernel, slack=opened.run.slack, spaces=spaces)
    run = kernel.acpi.interpreter
    assert isinstance(run, Interpreter)
    tables = _table_rows(kernel, run)
    run.profile = Profile()
    run.opcodes = run.slept_us = 0
    _bring_up(kernel, run)
    run.profile.close(run)
    profile, run.profile = run.profile, None
    return Costs(kernel, run, profile, tables)


def _bring_up(kernel: Kernel, run: Interpreter) -> None:
    """Source: drivers/acpi/bus.c:acpi_bus_init(), scan.c:acpi_scan_init() @ v6.12"""
    acpi_initialize_objects(kernel, run)
    acpi_early_processor_control_setup(kernel, run)
    for node in scanned_devices(kernel, run):
        ids_and_needs(run, node)
    for node in attached_devices(run):
        for name in ASKED_BY_DRIVERS:
            run.evaluate(node, name)
    acpi_processor_init(kernel)


def _table_rows(kernel: Kernel, run: Interpreter) -> list[dict[str, Any]]:
    dsdt = kernel.acpi.table("DSDT") or b""
    loaded = zip(run.account.tables, [dsdt, *secondary_tables(kernel.acpi)], strict=False)
    return [_table_row(kernel, work, data) for work, data in loaded]


def _table_row(kernel: Kernel, work: TableWork, data: bytes) -> dict[str, Any]:
    size = max(0, len(data) - HEADER.size)
    unit = kernel.unit_ns
    time_ns = unit("acpi_table_load") + work.terms * unit("aml_term") + work.objects * unit("aml_object_create")
    time_ns += work.method_bytes * unit("aml_method_byte") + work.walked * unit("acpi_node_walk")
    name = data[16:24].split(b"\0")[0].decode("latin-1").strip()
    return {"table": f"{data[:4].decode('latin-1')} {name}", "owner": work.owner, "bytes": size,
            "objects": work.objects, "terms": work.terms, "method_bytes": work.method_bytes,
            "ns": round(time_ns)}  # fmt: skip


def device_of(node: Node) -> str:
    """The device an object belongs to."""
    place: Node | None = node
    while place is not None and place.kind not in DEVICES:
        place = place.parent
    return shown(place.path) if place is not None else "\\"


def by_device(costs: Costs) -> list[dict[str, Any]]:
    """Cost by device, dearest first: of every method of it, wherever it was called from."""
    return _summed(costs, device_of, "device")


def by_method(costs: Costs) -> list[dict[str, Any]]:
    """Cost by method, dearest first, what it called left out."""
    return _summed(costs, lambda node: shown(node.path), "method")


def _summed(costs: Costs, key: Any, word: str) -> list[dict[str, Any]]:
    totals: dict[str, Spent] = defaultdict(Spent)
    for chain, spent in costs.profile.chains.items():
        if not chain:
            continue
        total = totals[key(chain[-1])]
        total.calls += spent.calls
        total.terms += spent.terms
        total.slept_us += spent.slept_us
        for space, count in spent.accesses.items():
            total.accesses[space] += count
    made = [{word: name} | _plain(costs, spent) for name, spent in totals.items()]
    return sorted(made, key=lambda row: (-row["ns"], row[word]))


def _plain(costs: Costs, spent: Spent) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "terms": spent.terms,
        "slept_us": spent.slept_us,
        "accesses": {space_name(space): count for space, count in sorted(spent.accesses.items())},
        "ns": round(costs.spent_ns(spent)),
    }


def by_register(costs: Costs) -> list[dict[str, Any]]:
    """Accesses by register, most first."""
    made = [
        {"region": shown(node.path), "space": space_name(node.value.space), "address": address, "accesses": count}
        for (node, address), count in costs.profile.registers.items()
    ]
    return sorted(made, key=lambda row: (-row["accesses"], row["region"], row["address"]))


def flame(costs: Costs) -> dict[str, Any]:
    """The calls as a tree of ``name``, ``value`` (ns, all below included) and ``children``, as flame graphs take it."""
    root: dict[str, Any] = {"name": "AML", "value": 0, "children": []}
    for chain, spent in sorted(costs.profile.chains.items(), key=lambda item: [node.path for node in item[0]]):
        place, own = root, round(costs.spent_ns(spent))
        place["value"] += own
        for node in chain:
            place = _child(place, shown(node.path))
            place["value"] += own
    load = {"name": "table load", "value": sum(row["ns"] for row in costs.tables), "children": []}
    load["children"] = [{"name": row["table"], "value": row["ns"], "children": []} for row in costs.tables]
    return {"name": "ACPI", "value": root["value"] + load["value"], "children": [load, root]}


def _child(place: dict[str, Any], name: str) -> dict[str, Any]:
    children: list[dict[str, Any]] = place["children"]
    for child in children:
        if child["name"] == name:
            return child
    children.append({"name": name, "value": 0, "children": []})
    return children[-1]


def total_ns(costs: Costs) -> int:
    """All of it."""
    return int(flame(costs)["value"])
