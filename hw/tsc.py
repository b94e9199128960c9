"""The time-stamp counter of one CPU and its TSC_ADJUST register.

Source: SDM vol. 3B, "Time-Stamp Counter", "Time-Stamp Counter Adjustment" and "Invariant TSC".
"""

from __future__ import annotations

from hw.clock import Clock
from hw.errors import GeneralProtection
from hw.units import NS_PER_MS

PPB = 1_000_000_000
RATE_UNIT = NS_PER_MS * PPB
_MASK64 = (1 << 64) - 1


def to_signed64(value: int) -> int:
    """The two's complement reading of a 64-bit register."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


class Tsc:
    """An invariant TSC: offset + TSC_ADJUST + simulated time * khz / 10^6, modulo 2^64.

    `offset` is where the counter stood at power-on (sockets leave reset at different times) and can not be seen;
    `adjust` is the register MSR 0x3B, None for a CPU without it. Counter values are cycles, `khz` the rate;
    `drift_ppb` is by how many cycles in 10^9 this counter runs faster, which no real invariant TSC does.
    """

    __slots__ = ("_adjust", "_offset", "_rate", "clock", "has_adjust", "khz")

    def __init__(self, clock: Clock, khz: int, offset: int = 0, adjust: int | None = 0, drift_ppb: int = 0) -> None:
        if khz <= 0:
            raise ValueError(f"TSC frequency must be positive, got {khz} kHz")
        self.clock = clock
        self.khz = khz
        self._offset = offset
        self._rate = khz * (PPB + drift_ppb)  # cycles per NS_PER_MS * PPB ns
        self._adjust = 0 if adjust is None else to_signed64(adjust)
        self.has_adjust = adjust is not None

    def read(self) -> int:
        """The counter now, as RDTSC gives it."""
        return (self._offset + self._adjust + self.clock.now * self._rate // RATE_UNIT) & _MASK64

    def write(self, value: int) -> None:
        """Write MSR 0x10: the counter becomes `value`; the difference also shows in TSC_ADJUST where there is one."""
        delta = to_signed64(value - self.read())
        if self.has_adjust:
            self._adjust = to_signed64(self._adjust + delta)
        else:
            self._offset += delta

    def read_adjust(self) -> int:
        """MSR 0x3B as an unsigned 64-bit value. Raises GeneralProtection on a CPU without it."""
        self._need_adjust()
        return self._adjust & _MASK64

    def write_adjust(self, value: int) -> None:
        """Write MSR 0x3B: the counter moves by the change. Raises GeneralProtection on a CPU without it."""
        self._need_adjust()
        self._adjust = to_signed64(value)

    def _need_adjust(self) -> None:
        if not self.has_adjust:
            raise GeneralProtection("MSR 0x3b: this CPU has no TSC_ADJUST")

    def ns_until(self, value: int) -> int:
        """Nanoseconds until the counter first reads `value` or more; 0 if it does already."""
        ahead = value - self.read()
        if ahead <= 0:
            return 0
        cycles_now = self.clock.now * self._rate // RATE_UNIT
        return -(-(cycles_now + ahead) * RATE_UNIT // self._rate) - self.clock.now
