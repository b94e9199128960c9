"""All declared parameters of one kernel: who acts on which word, in Linux's order.

Source: init/main.c:do_early_param(), obsolete_checksetup() @ v6.12
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic

from minikern.core.cmdline import dashes
from minikern.core.moduleparam import K, Kind, Parameter
from minikern.core.parameters import Parameters, boot_loaders, listed


class ParameterTable(Generic[K]):
    """The declarations; handlers of one word act in their order.

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

    def unmodelled(self, known: Parameters, raw: frozenset[str], args: Iterable[tuple[str, str | None]]) -> list[str]:
        """Words that Linux knows and nobody here gives an effect, each once, as ``pci=noaer`` or ``initcall_debug``.

        ``raw`` are the names looked for in the line itself.
        """
        found: list[str] = []
        for name, value in args:
            declared = self.matching(name, value)
            if declared:
                found += _other_words(name, value, declared)
            elif not boot_loaders(name, value) and (known.knows(name, value) or name in raw):
                found.append(name if value is None else f"{name}={value}")
        return list(dict.fromkeys(found))

    def matching(self, name: str, value: str | None) -> list[Parameter[K]]:
        """The declarations that have to do with one word."""
        word = dashes(name) if value is None else f"{dashes(name)}={value}"
        return [one for one in self.declared if _matches(one, dashes(name), word)]

    def named(self, kind: Kind, name: str) -> list[Parameter[K]]:
        """The declarations of that kind and name, dashes being underscores."""
        return [one for one in self.declared if one.kind is kind and dashes(one.name) == dashes(name)]


def _matches(one: Parameter[K], name: str, word: str) -> bool:
    start = dashes(one.name)
    if one.kind is not Kind.SETUP:
        return name == start
    return word.startswith(start) and (start.endswith("=") or word[len(start) :][:1] in ("", "="))


def _other_words(name: str, value: str | None, declared: list[Parameter[K]]) -> list[str]:
    lists = [one.words for one in declared if one.words is not None]
    if value is None or len(lists) < len(declared):
        return []
    words = dict.fromkeys(word for one in lists for word in one.split(value))
    known = [word for word in words if any(one.knows(word) for one in lists)]
    return [f"{name}={word}" for word in known if not any(one.models(word) for one in lists)]
