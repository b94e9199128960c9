"""minikern: a boot-path emulator for the Linux x86-64 boot path."""

from __future__ import annotations

__version__ = "0.1.0"
