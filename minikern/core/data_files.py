"""The TOML files that come with minikern."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources


def data_files(folder: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each TOML file in one of minikern's folders, sorted."""
    root = resources.files("minikern").joinpath(folder)
    for entry in sorted(root.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".toml"):
            yield entry.name.removesuffix(".toml"), entry.read_bytes()
