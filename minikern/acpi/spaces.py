"""Operation regions and the handlers of their address spaces: where AML meets the hardware.

Source: ACPI 6.5 clause 5.5.2.4; drivers/acpi/acpica/evregion.c, exregion.c @ v6.12
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hw.errors import BusError
from minikern.acpi.messages import error
from minikern.acpi.pci_config import pci_config_space
from minikern.acpi.values import AmlError
from minikern.state.namespace import Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MEMORY, IO, PCI_CONFIG, EMBEDDED_CONTROL, CMOS = 0, 1, 2, 3, 5
DATA_TABLE, FIXED_HARDWARE, USER_DEFINED = 0x7E, 0x7F, 0x80
_NAMES = (
    "SystemMemory", "SystemIO", "PCI_Config", "EmbeddedControl", "SMBus", "SystemCMOS", "PCIBARTarget", "IPMI",
    "GeneralPurposeIo", "GenericSerialBus", "PCC", "PlatformRtMechanism",
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Region:
    """An operation region: ``space``, byte ``offset`` in it, ``length`` in bytes; ``table`` for one over a table."""

    space: int
    offset: int
    length: int
    node: Node
    table: bytes = b""


class SpaceHandler(Protocol):
    """One access of ``size`` bytes at ``address``: reads where ``value`` is None. AmlError when it cannot be done."""

    def __call__(self, run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int: ...


def valid_space(space: int) -> bool:
    """True for predefined and vendors' spaces."""
    return space < len(_NAMES) or space >= DATA_TABLE


def space_name(space: int) -> str:
    """ACPICA's name of an address space. Source: drivers/acpi/acpica/utdecode.c:acpi_ut_get_region_name() @ v6.12"""
    if space < len(_NAMES):
        return _NAMES[space]
    return {DATA_TABLE: "DataTable", FIXED_HARDWARE: "FunctionalFixedHW"}.get(
        space, "UserDefinedRegion" if space >= USER_DEFINED else "InvalidSpaceId"
    )


def access_region(
    run: Interpreter, region: Region, field: str, base: int, offset: int, size: int, value: int | None
) -> int:
    """One access to a region by a field, within its bounds.

    Source: drivers/acpi/acpica/exfldio.c:acpi_ex_access_region() @ v6.12
    """
    if region.length < base + offset + size:
        _check_bounds(run, region, field, base, offset, size)
    run.changes += 1
    run.account.access(region.space, region.offset + base + offset, value is not None)
    if run.profile is not None:
        run.profile.access(region, region.offset + base + offset)
    handler = run.spaces.get(region.space)
    if handler is None:
        raise _no_handler(run, region)
    return handler(run, region, region.offset + base + offset, size, value)


def _check_bounds(run: Interpreter, region: Region, field: str, base: int, offset: int, size: int) -> None:
    if run.slack and -(-region.length // size) * size >= base + offset + size:
        return
    where = f"region [{region.node.name}] (length {region.length})"
    if region.length < size:
        error(run.k, f"Field [{field}] access width ({size} bytes) too large for {where}", {"": "exfldio-129"})
    text = f"Field [{field}] Base+Offset+Width {base}+{offset}+{size} is beyond end of {where}"
    error(run.k, text, {"": "exfldio-143"})
    raise AmlError("AE_AML_REGION_LIMIT", text)


def _no_handler(run: Interpreter, region: Region) -> AmlError:
    from minikern.acpi.operands import pointer

    name = space_name(region.space)
    text = f"No handler for Region [{region.node.name}] ({pointer(region.node)}) [{name}]"
    error(run.k, text, {"20200717": "evregion-132", "": "evregion-131"})
    text = f"Region {name} (ID={region.space}) has no handler"
    error(run.k, text, {"20200717": "exfldio-265", "": "exfldio-261"})
    return AmlError("AE_NOT_EXIST", text)


def memory_space(run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
    """SystemMemory: what no address decoder answers reads zero."""
    bus = run.k.machine.bus
    try:
        if value is None:
            return int.from_bytes(bus.read_bytes(address, size), "little")
        bus.write_bytes(address, value.to_bytes(size, "little"))
    except BusError:
        pass
    return 0


def io_space(run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
    """SystemIO."""
    cpu, port = run.k.machine.boot_cpu, address & 0xFFFF
    if size not in (1, 2, 4):
        error(run.k, f"Bad BitWidth parameter: {8 * size:08X}", {"": "hwvalid-98"})
        raise AmlError("AE_BAD_PARAMETER", "a port access is of 1, 2 or 4 bytes")
    try:
        if value is None:
            return int({1: cpu.inb, 2: cpu.inw, 4: cpu.inl}[size](port))
        {1: cpu.outb, 2: cpu.outw, 4: cpu.outl}[size](port, value)
    except BusError:
        pass
    return 0


def table_space(run: Interpreter, region: Region, address: int, size: int, value: int | None) -> int:
    """DataTableRegion: reads the table, keeps nothing that is written."""
    at = address - region.offset
    return int.from_bytes(region.table[at : at + size], "little") if value is None else 0


def default_spaces() -> dict[int, SpaceHandler]:
    """The handlers that are there before any driver.

    Source: drivers/acpi/acpica/evhandler.c:acpi_ev_install_region_handlers() @ v6.12
    """
    return {MEMORY: memory_space, IO: io_space, PCI_CONFIG: pci_config_space, DATA_TABLE: table_space}
