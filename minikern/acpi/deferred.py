"""Secondary tables that are loaded when something first touches one of their objects.

No Linux does this. At boot each table is only looked through for the names it makes; its load, as work, is done when
one of them is asked for, walked over as a device, or needed by another such table. The objects themselves are in the
emulated namespace from the beginning: nobody can see them before they are touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from minikern.acpi.account import Account
    from minikern.state.namespace import Node

Work = list[tuple[str, int]]


@dataclass(slots=True)
class Waiting:
    """A table whose load is not done: the work of it, and the tables whose objects that needs."""

    name: str
    work: Work
    needs: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Deferred:
    """Tables by their number in the namespace: those that wait, those that were touched, in order."""

    waiting: dict[int, Waiting] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    looked_through: set[int] | None = None  # tables touched while one is looked through

    def add(self, account: Account, owner: int, name: str, work: Work, needs: set[int], objects: int) -> None:
        """A table was looked through: its names are known, its work waits."""
        account.book("aml_index_name", objects)
        self.waiting[owner] = Waiting(name, work, needs & self.waiting.keys())

    def look_at(self, account: Account, nodes: Iterable[Node]) -> None:
        """Objects are looked at: what made them has to be loaded by now."""
        for node in nodes:
            if node.owner in self.waiting:
                self._load(account, node.owner)

    def _load(self, account: Account, owner: int) -> None:
        if self.looked_through is not None:
            self.looked_through.add(owner)
            return
        table = self.waiting.pop(owner, None)
        if table is None:
            return
        for needed in sorted(table.needs):
            self._load(account, needed)
        self.touched.append(table.name)
        for kind, count in table.work:
            account.book(kind, count)
