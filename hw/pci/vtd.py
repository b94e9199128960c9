"""A DMA remapping unit's registers, as far as boot software looks at them.

Source: Intel Virtualization Technology for Directed I/O specification 4.1, chapter 11
"""

from __future__ import annotations

REGISTER_BYTES = 0x1000
VERSION, CAP, ECAP, GLOBAL_COMMAND, GLOBAL_STATUS = 0x00, 0x08, 0x10, 0x18, 0x1C
ONE_SHOT = 1 << 30 | 1 << 24  # root table and interrupt remap table pointers: status stays set once done
ENABLES = 1 << 31 | 1 << 26 | 1 << 25 | 1 << 23  # translation, queued invalidation, remapping, compatibility


class RemappingUnit:
    """MMIO device of one unit: identification, capabilities, and global command answered in global status."""

    def __init__(self, version: int, cap: int, ecap: int) -> None:
        self._registers = bytearray(REGISTER_BYTES)
        for offset, size, value in ((VERSION, 4, version), (CAP, 8, cap), (ECAP, 8, ecap)):
            self._registers[offset : offset + size] = value.to_bytes(size, "little")

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        """Value of a register, or part of one."""
        return int.from_bytes(self._registers[offset : offset + size], "little")

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        """Software's write; identification, capability and status registers do not change."""
        if offset < GLOBAL_COMMAND or GLOBAL_STATUS <= offset < GLOBAL_STATUS + 4:
            return
        self._registers[offset : offset + size] = value.to_bytes(size, "little")
        if offset == GLOBAL_COMMAND:
            old = self.mmio_read(GLOBAL_STATUS, 4, cpu)
            status = (value & ENABLES) | ((old | value) & ONE_SHOT)
            self._registers[GLOBAL_STATUS : GLOBAL_STATUS + 4] = status.to_bytes(4, "little")
