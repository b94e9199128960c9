"""All declared parameters of one kernel: who acts on which word, in Linux's order.

Source: init/main.c:do_early_param(), obsolete_checksetup() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic

from minikern.core.cmdline import dashes
from minikern.core.moduleparam import K, Kind, Parameter
from minikern.core.parameters import listed


class ParameterTable(Generic[K]):
    """The declarations, in the order in which Linux's linker would place them.

    Raises ValueError for a name that Linux has not, and for one declared twice at the same place.
    """

    def __init__(self, declared: Iterable[Parameter[K]]) -> None:
        self.declared = tuple(declared)
        known = listed()
        for parameter in self.declared:
            if parameter.name not in known[parameter.kind]:
                raise ValueError(f"{parameter.where}: Linux has no {parameter.kind} parameter {parameter.name!r}")
        if len(set(self.declared)) != len(self.declared):
            raise ValueError("a parameter is declared twice at the same place")

    def handed_over(self, kind: Kind, k: K, name: str, value: str | None) -> Iterator[bool]:
        """Hand one word to each handler of its whole name, in turn; False where a handler wants nothing of it."""
        for one in self.named(kind, name):
            if one.accept is not None:
                yield one.accept(k, value)

    def do_setup(self, k: K, name: str, value: str | None) -> frozenset[str]:
        """Hand one word to the setup handlers whose name it begins with, until one takes it; the names that did not."""
        word = dashes(name) if value is None else f"{dashes(name)}={value}"
        refused: set[str] = set()
        for one in self.declared:
            if one.setup is not None and word.startswith(dashes(one.name)):
                if one.setup(k, word[len(one.name) :]):
                    break
                refused.add(dashes(one.name))
        return frozenset(refused)

    def named(self, kind: Kind, name: str) -> list[Parameter[K]]:
        """The declarations of that kind and name, dashes being underscores."""
        return [one for one in self.declared if one.kind is kind and dashes(one.name) == dashes(name)]
