"""How long a whole start took, as systemd-analyze tells: firmware, loader, kernel, initrd, userspace.

Source: systemd, src/analyze/analyze-time-data.c:pretty_boot_time(), analyze-plot.c:produce_plot_as_text() @ v257
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000)]
PARTS = ("firmware", "loader", "kernel", "initrd", "userspace")
US_PER_MS = 1000

_FINISHED = re.compile(r"Startup finished in ([^\n=]+?)(?: *= *([^\n]+?))?\s*$", re.MULTILINE)
_PART = re.compile(r"^(.+?) \(([a-z][a-z -]*)(?:#\d+)?\)$")
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(min|ms|us|s|h|d)(?= |$)")
_UNIT_MS = {"d": 86_400_000.0, "h": 3_600_000.0, "min": 60_000.0, "s": 1000.0, "ms": 1.0, "us": 0.001}


class Startup(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The parts of one start, ms; None: not told.

    ``first_unit_ms`` is when the first unit began to start after the kernel's clock: kernel and initrd took no longer.
    """

    firmware_ms: Milliseconds | None = None
    loader_ms: Milliseconds | None = None
    kernel_ms: Milliseconds | None = None
    initrd_ms: Milliseconds | None = None
    userspace_ms: Milliseconds | None = None
    total_ms: Milliseconds | None = None
    first_unit_ms: Milliseconds | None = None

    def parts(self) -> list[tuple[str, float]]:
        """Names and ms of the parts that are told, in the order of time."""
        told = ((name, getattr(self, f"{name}_ms")) for name in PARTS)
        return [(name, ms) for name, ms in told if ms is not None]

    def text(self) -> str:
        """All parts in one line."""
        if not self.parts():
            return f"the first unit starts {self.first_unit_ms:.0f} ms after the kernel"
        total = f" = {self.total_ms:.0f} ms" if self.total_ms is not None else ""
        return " + ".join(f"{name} {ms:.0f}" for name, ms in self.parts()) + (total or " ms")


class _Unit(msgspec.Struct):
    """A row of ``systemd-analyze plot --json``, microseconds on the kernel's clock."""

    name: str
    activating: int | None = None
    activated: int | None = None


def parse_startup(text: str) -> Startup | None:
    """What systemd-analyze printed, as text or as JSON; None if it tells nothing of the kernel's part."""
    found = _FINISHED.search(text)
    return _from_line(found[1], found[2] or "") if found else _from_units(text)


def _from_line(parts: str, total: str) -> Startup | None:
    told: dict[str, float] = {}
    for part in parts.split(" + "):
        match = _PART.match(part.strip())
        span = _milliseconds(match[1]) if match else None
        if match and span is not None and match[2].strip() in PARTS:
            told[f"{match[2].strip()}_ms"] = span
    if "kernel_ms" not in told:
        return None
    whole = _milliseconds(total)
    return _checked(told if whole is None else {**told, "total_ms": whole})


def _milliseconds(text: str) -> float | None:
    """A time span such as ``1min 2.345s``."""
    found = _SPAN.findall(text.strip())
    if not found or " ".join(number + unit for number, unit in found) != text.strip():
        return None
    return round(sum(float(number) * _UNIT_MS[unit] for number, unit in found), 3)


def _from_units(text: str) -> Startup | None:
    try:
        units = msgspec.json.decode(text, type=list[_Unit])
    except (msgspec.DecodeError, UnicodeError):
        return None
    began = [unit.activating or unit.activated or 0 for unit in units]
    first = min((at for at in began if at > 0), default=None)
    return None if first is None else _checked({"first_unit_ms": first / US_PER_MS})


def _checked(fields: dict[str, float]) -> Startup | None:
    try:
        return msgspec.convert(fields, Startup)
    except msgspec.ValidationError:
        return None
