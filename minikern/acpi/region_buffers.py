"""Operation regions without hardware: each is memory of its own, whatever its space.

For tables of a machine that is not there: ACPICA's own tool starts every region so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.spaces import DATA_TABLE, SpaceHandler, table_space

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region

MAX_REGION_BYTES = 16 << 20
SLOP = 16  # a last access may reach beyond the region where the kernel is lenient


class RegionBuffers:
    """Handler of all spaces; bytes start as ``fill``."""

    def __init__(self, fill: int = 0) -> None:
        self._fill = fill
        self._buffers: dict[tuple[int, int, int], bytearray] = {}

    def __call__(self, run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
        at = address - region.offset
        if region.length > MAX_REGION_BYTES:
            return int.from_bytes(bytes([self._fill]) * size, "little")
        key = region.space, region.offset, region.length
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = bytearray([self._fill]) * (region.length + SLOP)
        if value is None:
            return int.from_bytes(buffer[at : at + size], "little")
        buffer[at : at + size] = value.to_bytes(size, "little")
        return 0


def buffered_spaces(fill: int = 0) -> dict[int, SpaceHandler]:
    """Handlers of all address spaces."""
    return dict.fromkeys(range(256), RegionBuffers(fill)) | {DATA_TABLE: table_space}
