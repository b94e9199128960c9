"""AcpiSpec: what a machine's firmware says about itself in its ACPI tables.

Two kinds of machine share it: a described one, whose tables are built from these figures, and a captured one, whose
tables are kept as bytes in ``raw``. Addresses are physical, lengths bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hw.acpi.layout import TableIds

Byte = Annotated[int, Meta(ge=0, le=0xFF)]
Word = Annotated[int, Meta(ge=0, le=0xFFFF)]
Dword = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
Address = Annotated[int, Meta(ge=0, lt=1 << 52)]
PRINTABLE = "^[ -~]*$"

MAX_CPUS = 8192  # CONFIG_NR_CPUS of MAXSMP kernels; Source: arch/x86/Kconfig @ v6.12
DEFAULT_RSDP = 0xF_5A00  # inside the window Linux searches, 0xE0000-0xFFFFF
BOOT_ARCH_NO_ASPM = 1 << 4  # Source: ACPI 6.5 table 5.11


class RawTable(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A captured table: its bytes and where the firmware had put them."""

    signature: Annotated[str, Meta(min_length=4, max_length=4)]
    address: Address
    data: bytes


class IoApicSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One I/O APIC. ``version`` and ``pins`` are what its version register reports."""

    id: Byte = 0
    address: Dword = 0xFEC0_0000
    gsi_base: Dword = 0
    version: Byte = 0x20
    pins: Annotated[int, Meta(ge=1, le=240)] = 24


class Override(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Interrupt source override: ISA ``irq`` arrives at ``gsi``. ``flags`` are MPS INTI flags."""

    irq: Byte
    gsi: Dword
    flags: Word = 0


class LapicNmi(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """NMI wiring of one processor (uid 0xff, or 0xffffffff with ``x2apic``: all of them)."""

    uid: Dword = 0xFF
    flags: Word = 0
    lint: Byte = 1
    x2apic: bool = False


class InterruptLink(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A PCI interrupt link: interrupts it can be wired to, the one it is (0: none), whether firmware enabled it."""

    name: Annotated[str, Meta(pattern="^[A-Z_][A-Z0-9_]{3}$")]
    irqs: Annotated[list[Annotated[int, Meta(ge=0, le=0xFFFF)]], Meta(min_length=1, max_length=16)]
    active: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    enabled: bool = True


class EcSpec(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An embedded controller: where firmware's namespace has it, its ports, its GPE; ``ecdt``: it has its own table.

    ``byte_ns`` is its own time for a byte. Source of the default: ACPI 6.5 clause 12.3.3, what it may take in a burst
    (50 us; 400 for the first byte)
    """

    path: Annotated[str, Meta(pattern=r"^\\_SB_?(\.[A-Z_][A-Z0-9_]{0,3}){1,8}$")]
    command_port: Annotated[int, Meta(gt=0, le=0xFFFF)] = 0x66
    data_port: Annotated[int, Meta(gt=0, le=0xFFFF)] = 0x62
    gpe: Byte = 0x10
    ecdt: bool = False
    byte_ns: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 50_000


class AcpiSpec(msgspec.Struct, forbid_unknown_fields=True):
    """The firmware's ACPI side. ``enabled`` False gives a machine without an RSDP.

    Built tables start at ``base`` and fill at most ``size`` bytes; 0 means the first e820 range of type 3.
    ``aml`` selects how rich the namespace is: ``small`` for a PC, ``server`` for per-CPU power tables and SSDTs.
    """

    enabled: bool = True
    rsdp_address: Address | None = DEFAULT_RSDP
    rsdp_revision: Byte = 2
    root_kind: Literal["rsdt", "xsdt"] = "xsdt"
    oem_id: Annotated[str, Meta(max_length=6, pattern=PRINTABLE)] = "MINIKN"
    oem_table_id: Annotated[str, Meta(max_length=8, pattern=PRINTABLE)] = "MINIKERN"
    oem_revision: Dword = 1
    creator_id: Annotated[str, Meta(max_length=4, pattern=PRINTABLE)] = "MKRN"
    creator_revision: Dword = 1
    base: Address = 0
    size: Annotated[int, Meta(ge=0)] = 0
    raw: list[RawTable] = []
    rsdp: bytes | None = None
    fadt_revision: Literal[1, 3, 6] = 6
    sci_irq: Byte = 9
    pm_base: Word = 0x500  # PM1a event block; control at +4, timer at +8
    pm_timer_port: Word = 0x508
    gpe0_address: Word = 0x520
    gpe0_length: Byte = 0x20  # bytes: half status, half enable registers
    boot_arch: Word = 0x3  # legacy devices, 8042
    lapic_address: Dword = 0xFEE0_0000
    ioapics: list[IoApicSpec] = msgspec.field(default_factory=lambda: [IoApicSpec()])
    overrides: list[Override] = msgspec.field(default_factory=lambda: [Override(0, 2), Override(9, 9, 0xD)])
    lapic_nmis: list[LapicNmi] = msgspec.field(default_factory=lambda: [LapicNmi()])
    hpet_address: Dword = 0xFED0_0000  # 0: no HPET table
    hpet_id: Dword = 0x8086_A701
    hpet_period_fs: Annotated[int, Meta(gt=0, le=100_000_000)] = 69_841_279  # one tick of its counter: 14.318 MHz
    sleep_states: list[Annotated[int, Meta(ge=0, le=5)]] = msgspec.field(default_factory=lambda: [0, 5])
    gpe_methods: list[Annotated[str, Meta(pattern="^_[LE][0-9A-F]{2}$")]] = msgspec.field(
        default_factory=lambda: ["_L01", "_E02"]
    )
    links: list[InterruptLink] = []
    ec: EcSpec | None = None
    hardware_reduced: bool = False  # no fixed registers and events: no PM timer, no GPE blocks
    aml: Literal["small", "server"] = "small"
    oem_loads: Annotated[int, Meta(ge=0, le=2)] = 0  # tables that processor methods load at run time (aml = server)
    dsdt_standin: Annotated[int, Meta(ge=0, le=1 << 24)] = 0  # bytes of AML beyond what is described: see standin.py
    init_turns: Annotated[int, Meta(ge=0, le=100_000)] = 0  # of a loop in _SB._INI: firmware's own set-up at run time
    oem_standin: list[Annotated[int, Meta(ge=0, le=1 << 24)]] = []  # the same, of each of the tables of oem_loads
    mp_table: Annotated[int, Meta(ge=0, lt=1 << 20)] = 0  # a MultiProcessor table's floating pointer; 0: there is none
    wakeup_mailbox: Annotated[int, Meta(ge=0, lt=1 << 52)] = 0  # page where parked CPUs wait to be called; 0: by INIT
    hotplug_cpus: Annotated[int, Meta(ge=0, le=MAX_CPUS)] = 0  # online-capable MADT entries behind the CPUs

    def ids(self) -> TableIds:
        """The identification every built table carries."""
        return TableIds(self.oem_id, self.oem_table_id, self.oem_revision, self.creator_id, self.creator_revision)
