"""Tables that are nearly the same for thousands of owners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Overlay(Generic[K, V]):
    """A table as its owner sees it: entries of its own over entries that many share and nobody alters."""

    __slots__ = ("own", "shared")

    def __init__(self, entries: Mapping[K, V], like: Overlay[K, V] | None = None) -> None:
        """Hold ``entries``; those that ``like`` has as well are not held twice."""
        self.shared: Mapping[K, V] = entries if like is None else like.shared
        self.own: dict[K, V] = {}
        if like is None:
            return
        if not self.shared.keys() <= entries.keys():
            self.shared = entries
            return
        shared = self.shared
        self.own = {key: value for key, value in entries.items() if key not in shared or shared[key] != value}

    def get(self, key: K) -> V | None:
        """The entry, None if there is none."""
        found = self.own.get(key)
        return self.shared.get(key) if found is None else found

    def __getitem__(self, key: K) -> V:
        return self.own[key] if key in self.own else self.shared[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.own[key] = value

    def __contains__(self, key: K) -> bool:
        return key in self.own or key in self.shared
