"""The pytest plugin: fixtures ``machine`` (a description to change and boot) and ``booted`` (a finished boot).

``@pytest.mark.machine("lpc2023", variant="hvo-skip", append="...", cpus="4", memory="1G", numa=["1G,cpus=0-3"])``
says which machine a test wants; without it both fixtures give the preset ``tiny``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from minikern.describe.case import Case
    from minikern.lab.run import Boot

DEFAULT = "tiny"
_ADJUST = ("cpus", "memory", "numa", "numa_distance")
_BOOT = ("variant", "release", "append", "vmemmap")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line(
        "markers", "machine(name, **options): the machine that the fixtures `machine` and `booted` give this test"
    )


def _wanted(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, Any]]:
    mark = request.node.get_closest_marker("machine")
    if mark is None:
        return DEFAULT, {}
    unknown = sorted(set(mark.kwargs) - set(_ADJUST) - set(_BOOT))
    if unknown or len(mark.args) > 1:
        known = ", ".join(_ADJUST + _BOOT)
        raise pytest.UsageError(f"mark machine: came {unknown or mark.args}: expected one name and any of {known}")
    return (mark.args[0] if mark.args else DEFAULT), mark.kwargs


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Case:
    """The description of a machine: this test's own copy."""
    from minikern.describe.adjust import Adjustments, adjust
    from minikern.describe.presets import load_machine

    name, options = _wanted(request)
    spec = load_machine(name)
    adjust(spec, Adjustments(**{key: value for key, value in options.items() if key in _ADJUST}))
    return spec


@pytest.fixture
def booted(machine: Case, request: pytest.FixtureRequest) -> Boot:
    """That machine after its boot."""
    from minikern.core.kernel import BootOptions
    from minikern.core.variant import load_variant
    from minikern.lab.run import boot

    options = _wanted(request)[1]
    variant = load_variant(options["variant"]) if options.get("variant") else None
    how = BootOptions(vmemmap=options.get("vmemmap", "auto"))
    return boot(machine, variant, options.get("release", ""), options.get("append", ""), how)
