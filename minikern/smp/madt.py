"""The MADT, and the HPET table: acpi_boot_init()."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from hw.acpi import layout
from minikern.core.printk import Level
from minikern.smp.interrupt_mode import has_local_apic
from minikern.smp.io_apic import overridden
from minikern.state.acpi import AcpiState, IntSrcOvr, IoApic, LapicEntry

if TYPE_CHECKING:
    from hw.acpi.layout import Layout
    from minikern.core.kernel import Kernel

POLARITY = ("dfl", "high", "res", "low")  # MPS INTI flags bits 1:0. Source: ACPI 6.5 table 5.26
TRIGGER = ("dfl", "edge", "res", "level")  # bits 3:2
LAPIC_ENABLED = 1 << 0
LAPIC_ONLINE_CAPABLE = 1 << 1  # Source: ACPI 6.5 table 5.22
LAPIC, IOAPIC, OVERRIDE, NMI_SOURCE, LAPIC_NMI, LAPIC_ADDRESS, X2APIC, X2APIC_NMI, WAKEUP = 0, 1, 2, 3, 4, 5, 9, 10, 16
IOAPIC_VERSION_REGISTER = 1  # Source: 82093AA I/O APIC clause 3.2
IOAPIC_WINDOW = 0x10
HPET_RESOURCE_BYTES = 73  # resource and its name. Source: arch/x86/kernel/acpi/boot.c:acpi_parse_hpet() @ v6.12


class Subtable(NamedTuple):
    """One MADT entry: its type, its offset in the table and its bytes."""

    type: int
    offset: int
    data: bytes


def madt_entries(k: Kernel, data: bytes) -> Iterator[Subtable]:
    """The entries of a MADT in order; an entry of length zero ends the walk with Linux's line.

    Source: lib/fw_table.c:acpi_parse_entries_array() @ v6.12
    """
    offset = layout.MADT.size
    while offset + 2 <= len(data):
        kind, length = data[offset], data[offset + 1]
        if length < 2:
            k.printk(f"ACPI: [APIC:0x{kind:02x}] Invalid zero length", Level.ERR)
            return
        yield Subtable(kind, offset, data[offset : offset + length])
        offset += length


def acpi_boot_init(k: Kernel, register_lapics: Callable[[Kernel], None] | None = None) -> None:
    """Read FADT, MADT and HPET tables, log what they say, register processors and I/O APICs in ``k.acpi``.

    ``register_lapics`` is called once the processors are listed.

    Source: arch/x86/kernel/acpi/boot.c:acpi_boot_init() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.disabled:
        return
    _parse_fadt(k, state)
    log_lapic_address(k)
    _process_madt(k, state, register_lapics)
    _parse_hpet(k, state)


def _parse_fadt(k: Kernel, state: AcpiState) -> None:
    if state.fadt is not None and state.fadt.pm_timer_port:
        k.printk(f"ACPI: PM-Timer IO Port: {state.fadt.pm_timer_port:#x}")


def log_lapic_address(k: Kernel) -> None:
    """Older kernels tell the address each time they look at the table. Source: acpi_parse_madt() @ v5.13"""
    data = k.acpi.table("APIC")
    if data is None or len(data) < layout.MADT.size or k.behaviour.madt_lines == "prefixed":
        return
    if address := layout.MADT.get(data, "lapic_address"):
        k.printk(f"ACPI: Local APIC address 0x{address:08x}", Level.DEBUG)


def _process_madt(k: Kernel, state: AcpiState, register_lapics: Callable[[Kernel], None] | None) -> None:
    data = state.table("APIC")
    if data is None or len(data) < layout.MADT.size:
        return
    state.lapic_address = layout.MADT.get(data, "lapic_address")
    state.pcat_compat = bool(layout.MADT.get(data, "flags") & 1)
    entries = list(_sound_entries(k, data))
    if has_local_apic(k):
        _parse_lapic_entries(k, state, entries, register_lapics)
    if state.have_lapic and not k.acpi_options.noirq:
        if k.cpus.apic.ioapic_disabled:
            k.printk("ACPI: Skipping IOAPIC probe due to 'noapic' option.")
        else:
            _parse_ioapic_entries(k, state, entries)
    if state.have_lapic and state.have_ioapic:
        k.cpus.apic.smp_found_config = True
    prefix = "ACPI: " if k.behaviour.madt_lines == "prefixed" else ""
    if state.have_lapic and state.have_ioapic:
        k.printk(f"{prefix}Using ACPI (MADT) for SMP configuration information")
    elif state.have_lapic:
        k.printk(f"{prefix}Using ACPI for processor (LAPIC) configuration information")


def _sound_entries(k: Kernel, data: bytes) -> Iterator[Subtable]:
    # An entry shorter than its kind, or cut off by the table's end, ends the walk: Linux's BAD_MADT_ENTRY.
    for entry in madt_entries(k, data):
        shape = layout.MADT_SUBTABLES.get(entry.type)
        if shape is not None and len(entry.data) < shape.size:
            text = f"ACPI: MADT: entry type {entry.type} at offset {entry.offset:#x} has {len(entry.data)} bytes"
            k.printk(f"{text}, expected {shape.size}: rest of the table ignored", Level.ERR)
            return
        yield entry


def _get(shape: Layout, entry: Subtable, field: str) -> int:
    return shape.get(entry.data, field)


def _parse_lapic_entries(
    k: Kernel, state: AcpiState, entries: list[Subtable], register_lapics: Callable[[Kernel], None] | None
) -> None:
    """Source: arch/x86/kernel/acpi/boot.c:acpi_parse_madt_lapic_entries() @ v6.12"""
    for entry in entries:
        if entry.type == LAPIC_ADDRESS:
            state.lapic_address = _get(layout.MADT_LAPIC_ADDRESS, entry, "address")
        elif entry.type == WAKEUP:
            state.wakeup_mailbox = _get(layout.MADT_WAKEUP, entry, "mailbox")
    has_lapic = any(entry.type == LAPIC for entry in entries)
    for entry in entries:
        if entry.type == LAPIC:
            _register_lapic(state, layout.MADT_LAPIC, entry, 0xFF)
        elif entry.type == X2APIC and not (has_lapic and _get(layout.MADT_X2APIC, entry, "apic_id") < 0xFF):
            _register_lapic(state, layout.MADT_X2APIC, entry, 0xFFFF_FFFF)
    state.have_lapic = bool(state.lapics)
    if not state.have_lapic:
        k.printk("ACPI: No LAPIC entries present", Level.ERR)
        return
    if register_lapics is not None:
        register_lapics(k)
    for entry in entries:
        if entry.type == X2APIC_NMI:
            _print_lapic_nmi(k, layout.MADT_X2APIC_NMI, entry, "X2APIC_NMI (uid")
    for entry in entries:
        if entry.type == LAPIC_NMI:
            _print_lapic_nmi(k, layout.MADT_LAPIC_NMI, entry, "LAPIC_NMI (acpi_id")


def _register_lapic(state: AcpiState, shape: Layout, entry: Subtable, invalid: int) -> None:
    apic_id, flags = _get(shape, entry, "apic_id"), _get(shape, entry, "flags")
    if apic_id == invalid:
        return
    enabled = bool(flags & LAPIC_ENABLED)
    capable = bool(flags & LAPIC_ONLINE_CAPABLE)
    state.lapics.append(LapicEntry(apic_id, _get(shape, entry, "uid"), enabled, capable))


def _print_lapic_nmi(k: Kernel, shape: Layout, entry: Subtable, what: str) -> None:
    flags, uid, lint = (_get(shape, entry, field) for field in ("flags", "uid", "lint"))
    k.printk(f"ACPI: {what}[0x{uid:02x}] {_inti(flags)} lint[0x{lint:x}])")
    if lint != 1:
        k.printk("ACPI: NMI not connected to LINT 1!", Level.WARNING)


def _inti(flags: int) -> str:
    return f"{POLARITY[flags & 3]} {TRIGGER[flags >> 2 & 3]}"


def _parse_ioapic_entries(k: Kernel, state: AcpiState, entries: list[Subtable]) -> None:
    """Source: arch/x86/kernel/acpi/boot.c:acpi_parse_madt_ioapic_entries() @ v6.12"""
    found = [entry for entry in entries if entry.type == IOAPIC]
    if not found:
        k.printk("ACPI: No IOAPIC entries present", Level.ERR)
        return
    for entry in found:
        shape = layout.MADT_IOAPIC
        mp_register_ioapic(k, state, *(_get(shape, entry, field) for field in ("id", "address", "gsi_base")))
    for entry in entries:
        if entry.type == OVERRIDE:
            _parse_override(k, state, entry)
    if k.behaviour.madt_lines == "bare":
        for irq in overridden(state):
            k.printk(f"ACPI: IRQ{irq} used by override.", Level.DEBUG)
    for entry in entries:
        if entry.type == NMI_SOURCE:
            flags = _get(layout.MADT_NMI_SOURCE, entry, "flags")
            k.printk(f"ACPI: NMI_SRC ({_inti(flags)} global_irq {_get(layout.MADT_NMI_SOURCE, entry, 'gsi')})")
    state.have_ioapic = True


def mp_register_ioapic(k: Kernel, state: AcpiState, id: int, address: int, gsi_base: int) -> None:
    """Register one I/O APIC: its version and pin count come from its own register, through MMIO.

    Source: arch/x86/kernel/apic/io_apic.c:mp_register_ioapic() @ v6.12
    """
    if not address:
        k.printk("Bogus (zero) I/O APIC address found, skipping!", Level.WARNING)
        return
    k.machine.boot_cpu.write(address, 4, IOAPIC_VERSION_REGISTER)
    value = k.machine.boot_cpu.read(address + IOAPIC_WINDOW, 4)
    if value == 0xFFFF_FFFF:
        k.printk(f"I/O APIC 0x{address:x} registers return all ones, skipping!", Level.WARNING)
        return
    taken = {other.id for other in state.ioapics}
    if id in taken:
        # a duplicate gets the lowest free id
        id = next(free for free in range(256) if free not in taken)
    pins = (value >> 16 & 0xFF) + 1
    ioapic = IoApic(id, value & 0xFF, address, gsi_base, gsi_base + pins - 1)
    for other in state.ioapics:
        if ioapic.gsi_base <= other.gsi_end and other.gsi_base <= ioapic.gsi_end:
            text = f"GSI range [{ioapic.gsi_base}-{ioapic.gsi_end}] for new IOAPIC conflicts with"
            k.printk(f"{text} GSI[{other.gsi_base}-{other.gsi_end}]", Level.WARNING)
            return
    number = len(state.ioapics)
    state.ioapics.append(ioapic)
    text = f"IOAPIC[{number}]: apic_id {id}, version {ioapic.version}, address 0x{address:x}"
    k.printk(f"{text}, GSI {ioapic.gsi_base}-{ioapic.gsi_end}")


def _parse_override(k: Kernel, state: AcpiState, entry: Subtable) -> None:
    shape = layout.MADT_OVERRIDE
    bus, irq, gsi, flags = (_get(shape, entry, field) for field in ("bus", "irq", "gsi", "flags"))
    k.printk(f"ACPI: INT_SRC_OVR (bus {bus} bus_irq {irq} global_irq {gsi} {_inti(flags)})")
    state.overrides.append(IntSrcOvr(irq, gsi, flags & 3, flags >> 2 & 3))


def _parse_hpet(k: Kernel, state: AcpiState) -> None:
    """Source: arch/x86/kernel/acpi/boot.c:acpi_parse_hpet() @ v6.12"""
    data = state.table("HPET")
    if data is None or len(data) < layout.HPET.size:
        return
    start = layout.HPET.offset("address")
    if layout.GAS.get(data, "space", start) != 0:
        k.printk("ACPI: HPET timers must be located in memory.", Level.WARNING)
        return
    address = layout.GAS.get(data, "address", start)
    state.hpet_id, state.hpet_number = layout.HPET.get(data, "id"), layout.HPET.get(data, "sequence")
    if not address:
        return
    # "force" values some firmware writes into the upper half
    if address >> 32:
        k.printk(f"ACPI: HPET id: {state.hpet_id:#x} base: {address:#x} is invalid", Level.WARNING)
        return
    state.hpet_address = address
    k.printk(f"ACPI: HPET id: {state.hpet_id:#x} base: {address:#x}")
    k.memblock.alloc(HPET_RESOURCE_BYTES, 64)
