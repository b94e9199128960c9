"""Processor objects that have no logical CPU: who is reported, by which words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hw.acpi import layout
from minikern.acpi.processor import acpi_processor_add
from minikern.state.acpi import AcpiState, LapicEntry
from minikern.state.namespace import Kind, Node
from tests.support import behaviour_of

UNABLE = "ACPI: Unable to map lapic to logical cpu number"


class Run:
    """An interpreter that reads names, and books nothing."""

    account = SimpleNamespace(book=lambda kind, count: None)

    def evaluate(self, node: Node, name: str) -> Any:
        child = node.children.get(name)
        return None if child is None else child.value


def processor(uid: int, mat: bytes | None = None) -> Node:
    node = Node(f"C{uid:03X}", None, Kind.PROCESSOR, bytes([uid]) + bytes(5))
    if mat is not None:
        node.children["_MAT"] = Node("_MAT", node, Kind.BUFFER, mat)
    return node


@pytest.fixture
def kernel():
    def make(new: bool, present: int, limit: int) -> Any:
        maps = SimpleNamespace(
            cpu_of_apic=lambda apic_id: apic_id // 2 if apic_id < 2 * present else None,
            present=list(range(present)), nr_cpu_ids=limit, disabled_cpus=4 - present,
        )  # fmt: skip
        lines: list[str] = []
        lapics = [LapicEntry(2 * uid, uid, uid < 4, False) for uid in range(6)]
        return SimpleNamespace(
            lines=lines,
            printk=lambda text, level=None: lines.append(text),
            acpi=AcpiState(lapics=lapics),
            cpus=maps,
            behaviour=behaviour_of("debian-6.12", hotplug_limit_line=not new),
        )

    return make


def scan(k: Any, *nodes: Node) -> list[str]:
    run: Any = Run()
    for node in nodes:
        acpi_processor_add(k, run, node)
    return k.lines


def test_new_kernel(kernel) -> None:
    nodes = [processor(uid) for uid in range(6)]
    assert scan(kernel(True, 2, 2), *nodes) == [UNABLE, UNABLE]


def test_old_kernel_counts_on(kernel) -> None:
    nodes = [processor(uid) for uid in range(6)]
    limit = "APIC: NR_CPUS/possible_cpus limit of 2 reached. Processor"
    assert scan(kernel(False, 2, 2), *nodes) == [f"{limit} 4/0x4 ignored.", UNABLE, f"{limit} 5/0x6 ignored.", UNABLE]


def test_old_kernel_with_room_says_nothing(kernel) -> None:
    assert scan(kernel(False, 2, 3), *[processor(uid) for uid in range(4)]) == []


def test_objects_without_an_entry_and_devices_without_uid(kernel) -> None:
    device = Node("PR00", None, Kind.DEVICE)
    assert scan(kernel(True, 2, 2), processor(200), device, Node("PR01", None, Kind.PROCESSOR, b"")) == []


@pytest.mark.parametrize("flags", [0, 1])
def test_own_entry_comes_first(kernel, flags: int) -> None:
    """_MAT of a processor that the table calls 3 says APIC id 2, which CPU 1 has; a disabled one is not asked."""
    mat = bytearray(layout.MADT_LAPIC.pack(type=0, length=8, uid=3, apic_id=2, flags=flags))
    assert scan(kernel(True, 2, 2), processor(3, mat)) == ([] if flags else [UNABLE])


def test_damaged_mat(kernel) -> None:
    for mat in (b"", b"\0", bytes(7), bytes([9, 16]) + bytes(5)):
        assert scan(kernel(True, 2, 2), processor(3, bytearray(mat))) == [UNABLE]
