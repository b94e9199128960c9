"""The embedded controller: a space of 256 bytes behind a data port and a command port.

Each access is a transaction over the bus, with the time its polls take.
Source: ACPI 6.5 chapter 12; drivers/acpi/ec.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from minikern.acpi import resources
from minikern.acpi.reg import execute_reg_methods
from minikern.acpi.spaces import EMBEDDED_CONTROL
from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region
    from minikern.core.kernel import Kernel
    from minikern.state.namespace import Node

EC_ID = "PNP0C09"
OUTPUT_FULL, INPUT_FULL = 1 << 0, 1 << 1
READ, WRITE = 0x80, 0x81
NOBODY = 0xFF
POLL_US = 550  # between two looks at the status. Source: drivers/acpi/ec.c:ACPI_EC_UDELAY_POLL @ v6.12
DELAY_MS, TRIES = 500, 5  # Source: drivers/acpi/ec.c:ACPI_EC_DELAY, ec_transaction() @ v6.12
_GENERIC_ADDRESS = 12


@dataclass(slots=True)
class EmbeddedController:
    """A controller by its ports: the handler of its address space."""

    command_port: int
    data_port: int

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
        """Until the status is as wanted; AE_TIME when it never is."""
        for _ in range(TRIES * DELAY_MS * 1000 // POLL_US):
            if int(run.k.machine.boot_cpu.inb(self.command_port)) & mask == wanted:
                return
            run.sleep_us(POLL_US)
        raise AmlError("AE_TIME", "the embedded controller does not answer")


def acpi_ec_ecdt_probe(k: Kernel, run: Interpreter) -> None:
    """The controller the ECDT names works before the namespace is scanned.

    Source: drivers/acpi/ec.c:acpi_ec_ecdt_probe() @ v6.12
    """
    table = k.acpi.table("ECDT") or b""
    if len(table) < 65:
        return
    control, data = (int.from_bytes(table[at + 4 : at + 12], "little") for at in (36, 36 + _GENERIC_ADDRESS))
    if not control or not data:
        return
    _install(run, EmbeddedController(control & 0xFFFF, data & 0xFFFF), None)


def acpi_ec_add(run: Interpreter, node: Node) -> None:
    """A controller found in the scan; its ports are the first two of its _CRS, data before command.

    Source: drivers/acpi/ec.c:acpi_ec_add() @ v6.12
    """
    crs = run.evaluate(node, "_CRS")
    ports = [window.start for window in resources.windows(bytes(crs)) if window.kind == "io"] if isinstance(
        crs, bytearray) else []  # fmt: skip
    if len(ports) >= 2 and EMBEDDED_CONTROL not in run.spaces:
        _install(run, EmbeddedController(ports[1], ports[0]), node)


def _install(run: Interpreter, controller: EmbeddedController, node: Node | None) -> None:
    """Where the status reads all ones no controller is behind the port: the space stays without a handler."""
    if int(run.k.machine.boot_cpu.inb(controller.command_port)) == NOBODY:
        return
    run.spaces[EMBEDDED_CONTROL] = controller
    execute_reg_methods(run, EMBEDDED_CONTROL, node)
