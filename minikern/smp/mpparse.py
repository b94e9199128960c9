"""The MultiProcessor table, read where ACPI does not say all about CPUs and I/O APICs.

Source: arch/x86/kernel/mpparse.c @ v6.1 and v6.12; Intel MultiProcessor Specification 1.4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.mp_table import (
    CONFIG_HEADER,
    CPU_BOOT,
    CPU_ENABLED,
    INT,
    INTERRUPT,
    IOAPIC,
    IOAPIC_USABLE,
    POINTER,
    PROCESSOR,
)
from minikern.core.printk import Level
from minikern.smp import topology
from minikern.smp.interrupt_mode import acpi_madt_oem_check, has_local_apic
from minikern.smp.madt import log_lapic_address, mp_register_ioapic
from minikern.state.acpi import IntSrcOvr, LapicEntry

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

EBDA_SEGMENT = 0x40E
PARAGRAPH = 16
# The places a floating pointer may be at. Source: mpparse.c:mpparse_find_mptable() @ v6.12
PLACES = ((0x0, 0x400), (639 * 0x400, 0x400), (0xF0000, 0x10000))
MAX_CONFIG_BYTES = 1 << 16
PROCESSOR_ENTRY, BUS_ENTRY, IOAPIC_ENTRY, INTERRUPT_ENTRY, LINT_ENTRY = range(5)
SIZES = {PROCESSOR_ENTRY: PROCESSOR.size, BUS_ENTRY: 8, IOAPIC_ENTRY: IOAPIC.size, INTERRUPT_ENTRY: 8, LINT_ENTRY: 8}


def find_smp_config(k: Kernel) -> None:
    """Look for the floating pointer; log and keep where it is. Source: mpparse.c:mpparse_find_mptable() @ v6.12"""
    if any(_scan(k, base, length) for base, length in PLACES):
        return
    ebda = k.machine.boot_cpu.read(EBDA_SEGMENT, 2) << 4
    if ebda:
        _scan(k, ebda, 0x400)


def _scan(k: Kernel, base: int, length: int) -> bool:
    data = k.machine.bus.read_bytes(base, length)
    at = data.find(b"_MP_")
    while at >= 0:
        pointer = data[at : at + POINTER.size]
        if at % PARAGRAPH == 0 and _is_pointer(pointer):
            k.cpus.apic.mp_pointer = base + at
            k.cpus.apic.smp_found_config = True
            k.printk(f"found SMP MP-table at [mem {base + at:#010x}-{base + at + POINTER.size - 1:#010x}]")
            return True
        at = data.find(b"_MP_", at + 1)
    return False


def _is_pointer(data: bytes) -> bool:
    return len(data) == POINTER.size and data[8] == 1 and data[9] in (1, 4) and not sum(data) & 0xFF


def parse_early_smp_config(k: Kernel) -> None:
    """Newer kernels look at the table's head before the nodes are known, for the local APICs' address.

    Source: mpparse.c:mpparse_parse_early_smp_config() @ v6.12
    """
    log_lapic_address(k)
    acpi_madt_oem_check(k)
    if k.behaviour.mptable_early and not (has_local_apic(k) and k.acpi.table("APIC")):
        _get_smp_config(k, early=True)


def parse_smp_config(k: Kernel) -> None:
    """Take from the table what ACPI left open. Source: mpparse.c:mpparse_get_smp_config() @ v6.12"""
    state = k.acpi
    if not state.disabled and state.table("APIC") is None and k.cpus.apic.smp_found_config:
        k.printk("ACPI: No APIC-table, disabling MPS", Level.WARNING)
        k.cpus.apic.smp_found_config = False
    if not (state.have_lapic and state.have_ioapic):
        _get_smp_config(k, early=False)


def _get_smp_config(k: Kernel, early: bool) -> None:
    maps = k.cpus
    if not maps.apic.smp_found_config or not maps.apic.mp_pointer:
        return
    pointer = k.machine.bus.read_bytes(maps.apic.mp_pointer, POINTER.size)
    k.printk(f"Intel MultiProcessor Specification v1.{pointer[9]}")
    config = int.from_bytes(pointer[4:8], "little")
    if not config:
        return
    processors = _read_config(k, config, early)
    if processors is None:
        maps.apic.smp_found_config = False
        k.printk("[Firmware Bug]: MP table not OK: no SMP configuration used", Level.ERR)
        return
    listed_by_acpi = k.acpi.have_lapic
    if not early and (k.behaviour.mptable_after_acpi or not listed_by_acpi):
        registry = maps.registry
        known = len(registry.apic_ids) + registry.duplicates if listed_by_acpi and registry else processors
        k.printk(f"Processors: {known}")


def _read_config(k: Kernel, address: int, early: bool) -> int | None:
    """CPUs the table lists; None if it is not to be used. Source: mpparse.c:smp_check_mpc(), smp_read_mpc()"""
    head = k.machine.bus.read_bytes(address, CONFIG_HEADER.size)
    signature, length, spec, _, oem, product, _, _, _, lapic, *_ = CONFIG_HEADER.unpack(head)
    if signature != b"PCMP":
        k.printk(f"MPTABLE: bad signature [{signature.decode('latin-1')}]!", Level.ERR)
        return None
    data = k.machine.bus.read_bytes(address, min(length, MAX_CONFIG_BYTES))
    if sum(data) & 0xFF:
        k.printk("MPTABLE: checksum error!", Level.ERR)
        return None
    if spec not in (1, 4):
        k.printk(f"MPTABLE: bad table version ({spec})!!", Level.ERR)
        return None
    if not lapic:
        k.printk("MPTABLE: null local APIC address!", Level.ERR)
        return None
    k.printk(f"MPTABLE: OEM ID: {_text(oem)}")
    k.printk(f"MPTABLE: Product ID: {_text(product)}")
    k.printk(f"MPTABLE: APIC at: 0x{lapic:X}")
    return 0 if early else _read_entries(k, data)


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin-1")


def _read_entries(k: Kernel, data: bytes) -> int:
    state = k.acpi
    given = state.have_lapic
    at, processors = CONFIG_HEADER.size, 0
    while at < len(data) and data[at] in SIZES:
        entry = data[at : at + SIZES[data[at]]]
        at += SIZES[data[at]]
        if len(entry) < SIZES[entry[0]]:
            break
        if entry[0] == PROCESSOR_ENTRY and not given:
            processors += _processor(k, entry)
        elif entry[0] == IOAPIC_ENTRY and entry[3] & IOAPIC_USABLE:
            mp_register_ioapic(k, state, entry[1], int.from_bytes(entry[4:8], "little"), state.gsi_top)
        elif entry[0] == INTERRUPT_ENTRY:
            _, kind, flags, _, irq, _, pin = INTERRUPT.unpack(entry)
            if kind == INT and pin != irq:
                state.overrides.append(IntSrcOvr(irq, pin, flags & 3, flags >> 2 & 3))
    if not given:
        topology.register_lapics(k)
    return processors


def _processor(k: Kernel, entry: bytes) -> int:
    _, apic_id, _, flags, _, _ = PROCESSOR.unpack(entry)
    enabled = bool(flags & CPU_ENABLED)
    k.acpi.lapics.append(LapicEntry(apic_id, apic_id, enabled, False))
    if enabled:
        k.printk(f"Processor #{apic_id}{' (Bootup-CPU)' if flags & CPU_BOOT else ''}")
    return int(enabled)
