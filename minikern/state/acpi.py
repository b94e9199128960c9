"""What the kernel knows of ACPI."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from minikern.state.namespace import Namespace, Node


FADT_HW_REDUCED = 1 << 20  # Source: ACPI 6.5 table 5.10


class AmlInterpreter(Protocol):
    """What runs a namespace's methods."""

    def evaluate(self, scope: Node, name: str, default: Any = None, args: list[Any] | None = None) -> Any: ...


class EmbeddedController(Protocol):
    """A controller with its driver's state."""

    command_port: int
    data_port: int
    ecdt: bool
    node: Node | None


class KeptResults(Protocol):
    """Answers that need not be asked for again."""

    def restored(self, run: Any, node: Node) -> int | bytearray | None: ...

    def keep(self, node: Node, value: object) -> None: ...


class OsiMethod(Protocol):
    r"""The kernel's own \_OSI; ``method`` is False if the command line forbids it."""

    method: bool

    def __call__(self, run: Any, args: list[Any]) -> int: ...


class LapicEntry(NamedTuple):
    """One processor of the MADT, in table order."""

    apic_id: int
    uid: int
    enabled: bool
    online_capable: bool


class IoApic(NamedTuple):
    """One registered I/O APIC."""

    id: int
    version: int
    address: int
    gsi_base: int
    gsi_end: int


class IntSrcOvr(NamedTuple):
    """One interrupt source override."""

    irq: int
    gsi: int
    polarity: int
    trigger: int


class McfgEntry(NamedTuple):
    """One ECAM window of the MCFG table."""

    base: int
    segment: int
    start_bus: int
    end_bus: int


class Window(NamedTuple):
    """An address window of a PCI root, both ends inclusive. ``flags`` holds ``pref`` and ``64bit`` words."""

    kind: str  # "io" or "mem"
    start: int
    end: int
    flags: frozenset[str]


@dataclass
class PciRoot:
    """A PCI root bridge of the namespace."""

    segment: int
    bus_start: int
    bus_end: int
    name: str
    hid: str
    uid: str
    windows: list[Window]
    path: str = ""
    instance: int = 0  # number in the Linux device name, PNP0A08:00
    pxm: int | None = None
    osc: bool = False  # an _OSC method is there
    osc_control: int | None = None  # what it granted; set by the PCI side when it asks


@dataclass
class Table:
    """One entry of the root table list. ``data`` is None when the bytes cannot be had (absurd length)."""

    signature: str
    address: int
    length: int
    data: bytes | None


@dataclass
class Fadt:
    """The fields of the FADT the kernel uses, 64-bit forms resolved."""

    revision: int
    facs: int
    dsdt: int
    sci: int
    pm_timer_port: int
    gpe0: int
    gpe0_length: int
    gpe1: int
    gpe1_length: int
    gpe1_base: int
    boot_arch: int
    flags: int
    sleep_registers: bool = False  # those of hardware-reduced firmware

    @property
    def hardware_reduced(self) -> bool:
        """No fixed registers and events. Linux's acpi_gbl_reduced_hardware."""
        return bool(self.flags & FADT_HW_REDUCED)

    @property
    def no_msi(self) -> bool:
        """The firmware says MSI must not be used."""
        return bool(self.boot_arch & 1 << 3)

    @property
    def no_aspm(self) -> bool:
        """The firmware says PCIe ASPM must not be used."""
        return bool(self.boot_arch & 1 << 4)


@dataclass
class AcpiState:
    """Everything one booted kernel knows of ACPI. ``disabled`` is Linux's acpi_disabled."""

    disabled: bool = False
    rsdp_address: int | None = None
    tables: list[Table] = field(default_factory=list)
    fadt: Fadt | None = None
    lapic_address: int = 0xFEE0_0000
    lapics: list[LapicEntry] = field(default_factory=list)
    have_lapic: bool = False  # Linux's acpi_lapic
    have_ioapic: bool = False  # Linux's acpi_ioapic
    ioapics: list[IoApic] = field(default_factory=list)
    overrides: list[IntSrcOvr] = field(default_factory=list)
    pcat_compat: bool = False
    wakeup_mailbox: int = 0
    hpet_address: int = 0
    hpet_id: int = 0
    hpet_number: int = 0
    pci_roots: list[PciRoot] = field(default_factory=list)
    processors: list[Node] = field(default_factory=list)  # what the scan found of processor objects
    ec: EmbeddedController | None = None  # the one that works before the scan
    ec_devices: list[Node] = field(default_factory=list)  # that the scan found
    namespace: Namespace | None = None
    interpreter: AmlInterpreter | None = None
    osi: OsiMethod | None = None
    results: KeptResults | None = None  # what was left by the last kernel, and is for the next
    _enabled: tuple[int, dict[int, int], frozenset[int]] | None = field(default=None, repr=False, compare=False)

    def enabled_apic_ids(self) -> tuple[dict[int, int], frozenset[int]]:
        """APIC ids of enabled MADT entries: of the first by each processor number, and all of them."""
        if self._enabled is None or self._enabled[0] != len(self.lapics):
            entries = [entry for entry in self.lapics if entry.enabled]
            by_uid = {entry.uid: entry.apic_id for entry in reversed(entries)}
            self._enabled = (len(self.lapics), by_uid, frozenset(entry.apic_id for entry in entries))
        return self._enabled[1:]

    def table(self, signature: str, instance: int = 0) -> bytes | None:
        """Bytes of the ``instance``-th table with that signature, or None.

        Source: drivers/acpi/acpica/tbxface.c:acpi_get_table() @ v6.12
        """
        found = [item for item in self.tables if item.signature == signature and item.data is not None]
        return found[instance].data if instance < len(found) else None

    @property
    def gsi_top(self) -> int:
        """One above the highest interrupt of any I/O APIC, 0 without one. Source: arch/x86/kernel/apic/io_apic.c"""
        return max((item.gsi_end + 1 for item in self.ioapics), default=0)

    @property
    def mcfg(self) -> list[McfgEntry]:
        """ECAM windows of the MCFG table, in table order. Source: drivers/acpi/pci_mcfg.c @ v6.12"""
        data = self.table("MCFG") or b""
        entries = []
        for start in range(44, len(data) - 15, 16):
            entry = data[start : start + 16]
            entries.append(
                McfgEntry(
                    int.from_bytes(entry[:8], "little"), int.from_bytes(entry[8:10], "little"), entry[10], entry[11]
                )
            )
        return entries
