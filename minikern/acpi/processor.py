"""Processor objects of the namespace meet the CPUs the MADT told of; one that has no logical number is reported.

Source: drivers/acpi/acpi_processor.c:acpi_processor_get_info(), drivers/acpi/processor_core.c @ v6.1, v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.acpi import layout
from minikern.acpi.interpreter import Interpreter
from minikern.core.printk import Level
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from hw.acpi.layout import Layout
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import AcpiState

PROCESSOR_ID = "ACPI0007"
LAPIC, X2APIC = 0, 9
ENABLED = 1
XAPIC_UIDS = 255  # Processor statements can only name so many


def acpi_processor_add(k: Kernel, run: Interpreter, node: Node) -> None:
    """Find the logical CPU of a present processor object; try to take up one that has none, and say how that went."""
    number = acpi_id(run, node)
    if number is None:
        return
    k.acpi.processors.append(node)
    apic_id = _phys_id(k.acpi, run, node, number)
    maps = k.cpus
    # A machine whose MADT lists no CPU runs on the one it has. A slot that was empty at power-on still is, though
    # its _STA, which asks a hot-plug controller nobody built in here, may say otherwise.
    _, listed = k.acpi.enabled_apic_ids()
    if apic_id is None or apic_id not in listed or maps.cpu_of_apic(apic_id) is not None:
        return
    if k.behaviour.hotplug_limit_line:
        limit = maps.nr_cpu_ids
        if len(maps.present) < limit:
            return
        text = f"APIC: NR_CPUS/possible_cpus limit of {limit} reached."
        k.printk(f"{text} Processor {limit + maps.disabled_cpus}/{apic_id:#x} ignored.", Level.WARNING)
        maps.disabled_cpus += 1
    k.printk("ACPI: Unable to map lapic to logical cpu number")


def is_processor(node: Node, ids: list[str]) -> bool:
    """True for a Processor statement and for a device that declares one."""
    return node.kind is Kind.PROCESSOR or PROCESSOR_ID in ids


def processor_physically_present(k: Kernel, run: Interpreter, node: Node) -> bool:
    """True for a processor object whose number belongs to a CPU; without a MADT that is number 0.

    Source: drivers/acpi/processor_pdc.c:processor_physically_present(), processor_core.c:acpi_map_cpuid() @ v6.12
    """
    number = acpi_id(run, node)
    if number is None:
        return False
    return number == 0 if not k.acpi.lapics else _phys_id(k.acpi, run, node, number) is not None


def acpi_id(run: Interpreter, node: Node) -> int | None:
    """The number by which tables name a processor: in its statement, or its _UID."""
    if node.kind is Kind.PROCESSOR:
        run.account.book("acpi_evaluate", 1)
        return node.value[0] if node.value else None
    uid = run.evaluate(node, "_UID")
    return uid if isinstance(uid, int) else None


def _phys_id(state: AcpiState, run: Interpreter, node: Node, acpi_id: int) -> int | None:
    """The APIC id the object's own _MAT gives, else the one of its entry in the MADT; None if no enabled entry fits."""
    declared = node.kind is Kind.DEVICE
    value = run.evaluate(node, "_MAT") if "_MAT" in node.children else None
    found = bytes(value) if isinstance(value, bytearray) else b""
    if len(found) >= 2:
        shape: Layout | None = {LAPIC: layout.MADT_LAPIC, X2APIC: layout.MADT_X2APIC}.get(found[0])
        if shape is not None and len(found) >= shape.size:
            uid, flags = shape.get(found, "uid"), shape.get(found, "flags")
            wide = shape is layout.MADT_X2APIC
            if flags & ENABLED and uid == acpi_id and (not wide or declared or acpi_id < XAPIC_UIDS):
                return shape.get(found, "apic_id")
    return state.enabled_apic_ids()[0].get(acpi_id)
