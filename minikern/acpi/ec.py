"""The embedded controller: a space of 256 bytes behind a data port and a command port.

Each byte is a transaction over the bus. Until the controller's interrupt is in use the kernel looks at the status again
and again without a pause, so what an access takes is the controller's own time, in looks.
Source: ACPI 6.5 chapter 12; drivers/acpi/ec.c:ec_poll(), ec_guard(), acpi_ec_enter_noirq() @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region
    from minikern.state.namespace import Node

OUTPUT_FULL, INPUT_FULL = 1 << 0, 1 << 1
READ, WRITE = 0x80, 0x81
NOBODY = 0xFF
DELAY_MS, TRIES = 500, 5  # Source: drivers/acpi/ec.c:ACPI_EC_DELAY, ec_poll() @ v6.12
FINE_LOOKS = 64  # taken one by one; later ones in groups that are no longer than a 64th of the wait so far


@dataclass(slots=True)
class EmbeddedController:
    """A controller by its ports and GPE: the handler of its address space, and how far its driver is.

    ``node`` is its device in the namespace, None while only the ECDT told of it.
    """

    command_port: int
    data_port: int
    gpe: int = 0
    node: Node | None = None
    ecdt: bool = False
    started: bool = False
    reg_called: bool = False

    @property
    def ports(self) -> tuple[int, int]:
        """By which two descriptions of one controller are known to mean the same."""
        return self.command_port, self.data_port

    def answers(self, run: Interpreter) -> bool:
        """False where the status reads all ones: no controller is behind the port."""
        return int(run.k.machine.boot_cpu.inb(self.command_port)) != NOBODY

    def __call__(self, run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
        """Byte by byte. Source: drivers/acpi/ec.c:acpi_ec_space_handler() @ v6.12"""
        if address > 0xFF:
            raise AmlError("AE_BAD_PARAMETER", f"byte {address:#x} of an embedded controller")
        result = 0
        for number in range(size):
            place = address + number & 0xFF
            if value is None:
                result |= self._byte(run, place, None) << 8 * number
            else:
                self._byte(run, place, value >> 8 * number & 0xFF)
        return result

    def _byte(self, run: Interpreter, place: int, value: int | None) -> int:
        cpu = run.k.machine.boot_cpu
        run.k.charge("aml_ec_transaction")
        self._wait(run, INPUT_FULL, 0)
        cpu.outb(self.command_port, READ if value is None else WRITE)
        self._wait(run, INPUT_FULL, 0)
        cpu.outb(self.data_port, place)
        if value is None:
            self._wait(run, OUTPUT_FULL, OUTPUT_FULL)
            return int(cpu.inb(self.data_port))
        self._wait(run, INPUT_FULL, 0)
        cpu.outb(self.data_port, value)
        return 0

    def _wait(self, run: Interpreter, mask: int, wanted: int) -> None:
        """Until the status is as wanted; AE_TIME when it never is.

        Time passes at once, also where work is only listed: there is one controller, whoever asks.
        """
        k = run.k
        looks, limit = 0, int(TRIES * DELAY_MS * 1_000_000 / max(k.unit_ns("aml_ec_poll"), 1))
        while looks < limit:
            more = max(1, looks // FINE_LOOKS)
            k.charge("aml_ec_poll", more)
            looks += more
            if int(k.machine.boot_cpu.inb(self.command_port)) & mask == wanted:
                return
        raise AmlError("AE_TIME", "the embedded controller does not answer")
