"""Results of _STA and _CRS that one kernel leaves for the next.

No Linux does this. Firmware's tables are the same after a kexec, and most devices have not changed: what the last
kernel was told need not be asked again. It holds as long as the tables do: their digest is in the record, and another
one makes it void. A device whose answer comes from a register is asked anew (its evaluation touched one). What nobody
can know is a device that was plugged in or switched and says so by nothing but a variable of its firmware; and what a
method does besides answering is not done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.core.kernel import Kernel
    from minikern.state.acpi import AcpiState
    from minikern.state.namespace import Node

NAMES = ("_STA", "_CRS")
BLOB = "acpi-results"
SIGNATURES = ("DSDT", "SSDT", "PSDT", "OSDT", "FACP")
MOST_BYTES = 16 << 20


class Record(msgspec.Struct, forbid_unknown_fields=True):
    """What is handed on: the tables' digest, and values by path; a buffer's bytes or an integer."""

    digest: str
    status: dict[str, int] = {}
    resources: dict[str, bytes] = {}


@dataclass
class Results:
    """Results that came in, and those that go out. ``void``: why nothing that came in counts."""

    digest: str
    came: Record | None = None
    void: str = ""
    leaves: Record = field(init=False)

    def __post_init__(self) -> None:
        self.leaves = Record(self.digest)

    def restored(self, run: Interpreter, node: Node) -> int | bytearray | None:
        """What the last kernel was told, None if it was not asked or the answer may be another now."""
        if self.came is None:
            return None
        found = self.came.status.get(node.path) if node.name == "_STA" else self.came.resources.get(node.path)
        if found is None:
            return None
        run.account.book("acpi_result_restore", 1)
        value = bytearray(found) if isinstance(found, bytes) else found
        self.keep(node, value)
        return value

    def keep(self, node: Node, value: object) -> None:
        """An answer for the next kernel."""
        if isinstance(value, int):
            self.leaves.status[node.path] = value
        elif isinstance(value, bytearray):
            self.leaves.resources[node.path] = bytes(value)


def tables_digest(state: AcpiState) -> str:
    """Of everything whose change would change an answer."""
    digest = hashlib.sha256()
    for table in state.tables:
        if table.signature in SIGNATURES and table.data is not None:
            digest.update(table.data)
    return digest.hexdigest()


def take_results(k: Kernel, blob: bytes | None) -> None:
    """Look at what the last kernel left; the tables are summed up once for it, as they were for their checksums."""
    state: AcpiState = k.acpi
    results = Results(tables_digest(state))
    state.results = results
    k.charge("acpi_table_verify_byte", sum(len(table.data or b"") for table in state.tables))
    if blob is None:
        return
    try:
        came = msgspec.msgpack.decode(blob, type=Record)
    except (msgspec.DecodeError, ValueError):
        results.void = "it cannot be read"
    else:
        results.came = came if came.digest == results.digest else None
        results.void = "" if results.came else "the firmware's tables are others"
    if results.void:
        k.printk(f"ACPI: results of the last kernel are not used: {results.void}")
    else:
        k.printk(f"ACPI: {len(came.status) + len(came.resources)} results of the last kernel")


def results_blob(k: Kernel) -> bytes:
    """What this kernel leaves; empty where it keeps nothing."""
    results = k.acpi.results
    return msgspec.msgpack.encode(results.leaves) if isinstance(results, Results) else b""
