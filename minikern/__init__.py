"""minikern: a boot-path emulator for the Linux x86-64 boot path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minikern.lab.algorithms import algorithm as algorithm

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # Loaded when somebody asks: importing the package costs nothing.
    if name == "algorithm":
        from minikern.lab.algorithms import algorithm

        return algorithm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
