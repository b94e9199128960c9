"""The embedded controller's interface: 256 bytes behind a data port and a command port, each byte in its own time.

Source: ACPI 6.5 chapter 12
"""

from __future__ import annotations

from hw.bus import Bus
from hw.clock import Clock
from hw.registers import Bits, Register

READ, WRITE, BURST_ENABLE, BURST_DISABLE, QUERY = 0x80, 0x81, 0x82, 0x83, 0x84
BURST_ACKNOWLEDGE = 0x90
_BYTES = {READ: 1, WRITE: 2}  # that follow a command


class EcStatus(Register, width=8):
    """Source: ACPI 6.5 clause 12.2.1"""

    output_full = Bits(0)
    input_full = Bits(1)
    command = Bits(3)
    burst = Bits(4)


class EmbeddedController:
    """The controller's side: it takes ``byte_ns`` for each byte that is written to it."""

    def __init__(self, clock: Clock, byte_ns: int) -> None:
        self.bytes = bytearray(256)
        self._clock = clock
        self._byte_ns = byte_ns
        self._ready_ns = 0
        self._written: list[int] = []  # the command and what followed it
        self._answer: int | None = None
        self._burst = False

    def attach(self, bus: Bus, data_port: int, command_port: int) -> None:
        """Answer at both ports."""
        self._command_port = command_port
        for port in (data_port, command_port):
            bus.map_ports(port, 1, self)

    def port_read(self, port: int, size: int) -> int:
        """The status, or the byte in the output buffer."""
        busy = self._clock.now < self._ready_ns
        if port == self._command_port:
            full = self._answer is not None and not busy
            return EcStatus.of(output_full=int(full), input_full=int(busy), burst=int(self._burst)).value
        value, self._answer = 0 if busy else self._answer or 0, None
        return value

    def port_write(self, port: int, size: int, value: int) -> None:
        """A command, or a byte for it."""
        self._ready_ns = self._clock.now + self._byte_ns
        self._written = [value] if port == self._command_port else [*self._written, value]
        command, *operands = self._written or [0]
        if len(operands) != _BYTES.get(command, 0):
            return
        if command == READ:
            self._answer = self.bytes[operands[0]]
        elif command == WRITE:
            self.bytes[operands[0]] = operands[1]
        elif command in (BURST_ENABLE, BURST_DISABLE):
            self._burst = command == BURST_ENABLE
            self._answer = BURST_ACKNOWLEDGE if self._burst else self._answer
        elif command == QUERY:
            self._answer = 0  # nothing happened
