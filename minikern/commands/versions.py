"""``minikern --version``: its own version, those of what it computes with, and whether compiled code is there."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMPUTES_WITH = ("numpy", "numba", "llvmlite")


def version_text(own: str) -> str:
    """The lines."""
    parts = [f"python {platform.python_version()}", *(f"{name} {_version(name)}" for name in COMPUTES_WITH)]
    return f"minikern, version {own}\n{', '.join(parts)}\n{cache_text()}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def cache_text() -> str:
    """Where compiled code is kept and how much of it is there."""
    import os

    from minikern.host import jit

    folder = os.environ.get("NUMBA_CACHE_DIR") or jit.cache_folder("code")
    if jit.DISABLED:
        return "compiled code: none, NUMBA_DISABLE_JIT is set"
    if folder is None:
        return "compiled code: no folder for it can be written, so every run compiles anew"
    files = list(Path(folder).rglob("*.code"))
    if not files:
        return f"compiled code: none yet in {folder}, so the first boot takes longer"
    size = sum(path.stat().st_size for path in files)
    return f"compiled code: {len(files)} functions, {size / (1 << 20):.1f} MiB in {folder}"
