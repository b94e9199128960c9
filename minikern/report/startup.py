"""The whole start around the kernel's boot, as systemd told it."""

from __future__ import annotations

from minikern.describe.startup import PARTS, Startup
from minikern.report.tables import Sheet

BEFORE_KERNEL = PARTS[: PARTS.index("kernel")]


def startup_sheets(startup: Startup | None) -> list[Sheet]:
    """Each part with its share; no sheet where no part is told."""
    if startup is None or not startup.parts():
        return []
    sheet = Sheet("The whole start, by systemd", ["part", "ms", "share"])
    parts = startup.parts()
    total = startup.total_ms or sum(ms for _, ms in parts)
    for name, ms in parts:
        sheet.rows.append([name, f"{ms:.0f}", f"{ms / total:.0%}" if total else ""])
    return [sheet]


def around(startup: Startup) -> tuple[list[tuple[str, float, float]], list[tuple[str, float, float]]]:
    """Parts before and after the kernel's: name, when it began on the kernel's clock, how long it took, ms."""
    told = dict(startup.parts())
    before, after = [], []
    began = -sum(told.get(name, 0.0) for name in BEFORE_KERNEL)
    for name, ms in told.items():
        if name in BEFORE_KERNEL:
            before.append((name, began, ms))
        elif name != "kernel":
            after.append((name, began, ms))
        began += ms
    return before, after
