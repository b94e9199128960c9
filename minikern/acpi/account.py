"""What AML costs the kernel, kind of work by kind of work: terms, objects, method bytes, registers, evaluations.

Counts come from the interpreter as it runs; they are booked where a table is loaded and where an evaluation ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw.acpi.layout import FADT_V1

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.core.kernel import Kernel

_MEMORY, _IO, _PCI_CONFIG, _EMBEDDED_CONTROL, _CMOS = 0, 1, 2, 3, 5
ACCESS_KINDS = {
    _MEMORY: "aml_memory_access",
    _IO: "aml_port_access",
    _PCI_CONFIG: "aml_config_access",
    _EMBEDDED_CONTROL: "aml_ec_access",
    _CMOS: "aml_cmos_access",
}
"""Work of one register access by the address space it is in; other spaces are tables or a driver's own."""
SMI_COMMAND = "aml_smi_command"
EVALUATION_KINDS = {"_STA": "acpi_sta_evaluate", "_INI": "acpi_ini_evaluate", "_CRS": "acpi_crs_evaluate"}
OTHER_EVALUATION = "acpi_evaluate"


@dataclass(frozen=True, slots=True)
class TableWork:
    """What loading one table took; ``owner`` is its number in the namespace, ``walked`` the objects looked at."""

    owner: int
    terms: int
    objects: int
    method_bytes: int
    walked: int


class Account:
    """Work that is counted and not yet booked. ``method_bytes``: of bodies looked through when a table was loaded.

    ``tables`` has the work of each table that was loaded. ``polled_ec``: the embedded controller's own handler counts
    its work. ``asked`` counts accesses of any space.
    """

    def __init__(self, k: Kernel) -> None:
        self.book: Callable[[str, int], None] = k.charge
        self._terms = self._objects = 0
        self.method_bytes = 0
        self.polled_ec = False
        self.asked = 0
        self.tables: list[TableWork] = []
        self._accesses: Counter[str] = Counter()
        facp = k.acpi.table("FACP") if k.acpi is not None else None
        self._smi_port = FADT_V1.get(facp, "smi_cmd") if facp else 0

    @contextmanager
    def kept(self) -> Iterator[list[tuple[str, int]]]:
        """The work of the block is not booked but listed, for whoever decides where it is done."""
        work: list[tuple[str, int]] = []
        before, self.book = self.book, lambda kind, count: work.append((kind, count))
        try:
            yield work
        finally:
            self.book = before

    def access(self, space: int, address: int, written: bool) -> None:
        """One register is read or written; a write to the SMI command port stops all CPUs for firmware's own code."""
        self.asked += 1
        kind = ACCESS_KINDS.get(space)
        if kind is None or (space == _EMBEDDED_CONTROL and self.polled_ec):
            return
        smi = written and space == _IO and address == self._smi_port != 0
        self._accesses[SMI_COMMAND if smi else kind] += 1

    def evaluated(self, run: Interpreter, name: str) -> None:
        """The kernel evaluated an object of this name: book that, and what its code did."""
        self.book(EVALUATION_KINDS.get(name, OTHER_EVALUATION), 1)
        self.settle(run)

    def settle(self, run: Interpreter) -> None:
        """Book what methods did since the last time."""
        if run.opcodes > self._terms:
            self.book("aml_opcode", run.opcodes - self._terms)
        if run.objects > self._objects:
            self.book("aml_object_create", run.objects - self._objects)
        self._book_accesses()
        self._terms, self._objects = run.opcodes, run.objects

    def loaded(self, run: Interpreter) -> None:
        """Book what a table took: its terms and objects, and the look at methods not declared as serialised.

        Every table's objects are looked for among all that there are.
        Source: drivers/acpi/acpica/dsinit.c:acpi_ds_initialize_objects() @ v6.12
        """
        made = run.objects - self._objects
        work = TableWork(run.owner, run.opcodes - self._terms, made, self.method_bytes, run.objects)
        self.tables.append(work)
        self.book("acpi_table_load", 1)
        self.book("aml_term", work.terms)
        self.book("aml_object_create", work.objects)
        self.book("aml_method_byte", work.method_bytes)
        self.book("acpi_node_walk", work.walked)
        self._book_accesses()
        self._terms, self._objects, self.method_bytes = run.opcodes, run.objects, 0

    def _book_accesses(self) -> None:
        if self._accesses:
            for kind, count in self._accesses.items():
                self.book(kind, count)
            self._accesses.clear()
