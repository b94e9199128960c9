"""The plugin as a package that is not installed gets it; an installed one is found by its entry point."""

from __future__ import annotations

from minikern.testing.plugin import booted, machine, pytest_configure

__all__ = ["booted", "machine", "pytest_configure"]
