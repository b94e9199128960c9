"""The DSDT of a described machine: processors, PCI roots, legacy devices, sleep states, GPEs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hw.acpi import aml
from hw.acpi.ec import ec_device
from hw.acpi.layout import sdt
from hw.acpi.spec import AcpiSpec, InterruptLink
from hw.acpi.standin import standin
from hw.pci.spec import HostBridgeSpec, PciSpec

if TYPE_CHECKING:
    from hw.spec import CpuPlace

OSC_UUID = bytes.fromhex("5b4ddb33f71f1c4096577441c03dd766")
"""PCI host bridge _OSC, 33DB4D5B-1FF7-401C-9657-7441C03DD766. Source: PCI Firmware 3.3 clause 4.5.1"""
FIRST_PCI_GSI = 16
FOUR_GIB = 1 << 32
DSDT_REVISION = 2  # 64-bit integers


@dataclass
class Described:
    """What the AML is generated from; ``pxm`` maps APIC ids to proximity domains."""

    spec: AcpiSpec
    cpus: list[CpuPlace]
    pxm: dict[int, int]
    pci: PciSpec
    roots: list[HostBridgeSpec] = field(init=False)

    def __post_init__(self) -> None:
        self.roots = list(self.pci.root_buses()) or [HostBridgeSpec(first_bus=0, last_bus=0xFF)]


def cpu_name(index: int) -> str:
    """Name of the CPU at ``index`` in MADT order: C000 to CFFF, then D000 and so on."""
    return f"{'CDEFGH'[index >> 12]}{index & 0xFFF:03X}"


def build_dsdt(described: Described) -> bytes:
    """The whole DSDT, checksum included."""
    spec = described.spec
    terms = [aml.name("PICM", aml.ZERO), aml.method("_PIC", 1, [aml.store(aml.arg(0), aml.name_path("PICM"))])]
    terms += [_sleep_state(number) for number in spec.sleep_states]
    terms.append(aml.scope("\\_SB", [_cpu(described, index) for index in range(len(described.cpus))]))
    terms.append(aml.scope("\\_SB", [_root(described, number) for number in range(len(described.roots))]))
    if spec.links:
        terms.append(aml.scope("\\_SB", [_link(number, link) for number, link in enumerate(spec.links)]))
    terms += [ec_device(spec.ec, [root.name for root in described.roots])] if spec.ec is not None else []
    first = described.roots[0].name
    terms.append(aml.scope("\\_GPE", [_gpe(name, f"\\_SB.{first}") for name in spec.gpe_methods]))
    terms += [_init(spec.init_turns)] if spec.init_turns else []
    terms.append(standin(spec.dsdt_standin, 0))
    return sdt("DSDT", DSDT_REVISION, b"".join(terms), spec.ids())


def _sleep_state(number: int) -> bytes:
    level = 0 if number == 0 else 7 if number == 5 else number
    return aml.name(f"\\_S{number}", aml.package([aml.integer(level)] * 2 + [aml.ZERO] * 2))


def _init(turns: int) -> bytes:
    """Firmware that looks at each of its parts in a loop before the operating system uses any."""
    step = aml.and_(aml.local(0), aml.integer(0x0F), aml.local(1))
    body = [step, step, aml.increment(aml.local(0))]
    loop = aml.while_(aml.less(aml.local(0), aml.integer(turns)), body)
    return aml.scope("\\_SB", [aml.method("_INI", 0, [aml.store(aml.ZERO, aml.local(0)), loop])])


def _cpu(described: Described, index: int) -> bytes:
    place = described.cpus[index]
    terms = [aml.name("_HID", aml.string("ACPI0007")), aml.name("_UID", aml.integer(index))]
    if place.apic_id in described.pxm:
        terms.append(aml.name("_PXM", aml.integer(described.pxm[place.apic_id])))
    terms.append(aml.method("_STA", 0, [aml.return_(aml.integer(0x0F))]))
    return aml.device(cpu_name(index), terms)


def _gpe(name: str, target: str) -> bytes:
    return aml.method(name, 0, [aml.notify(target, 0)])


def _link(number: int, link: InterruptLink) -> bytes:
    """Source: ACPI 6.5 clause 6.2.13, 6.2.2"""
    terms = [
        aml.name("_HID", aml.hardware_id("PNP0C0F")),
        aml.name("_UID", aml.integer(number)),
        aml.name("_PRS", aml.resource_template(aml.irqs(link.irqs))),
        aml.name("_CRS", aml.resource_template(aml.irqs([link.active]))),
        aml.method("_STA", 0, [aml.return_(aml.integer(0x0B if link.enabled else 0x09))]),
        aml.method("_DIS", 0, []),
    ]
    return aml.device(link.name, terms)


def _root(described: Described, number: int) -> bytes:
    root = described.roots[number]
    terms = [
        aml.name("_HID", aml.hardware_id(root.hid)),
        aml.name("_CID", aml.hardware_id("PNP0A03")),
        aml.name("_ADR", aml.ZERO),
        aml.name("_UID", aml.integer(root.uid)),
        aml.name("_BBN", aml.integer(root.first_bus)),
        aml.name("_SEG", aml.integer(root.segment)),
    ]
    if root.pxm is not None:
        terms.append(aml.name("_PXM", aml.integer(root.pxm)))
    terms.append(aml.name("_CRS", _root_resources(root, configuration_ports=number == 0)))
    terms += _routing(number)
    terms += [_osc(root.osc)] if root.osc is not None else []
    terms += _slots(described, root)
    if number == 0:
        terms += _platform_devices(described)
    return aml.device(root.name, terms)


def _root_resources(root: HostBridgeSpec, configuration_ports: bool) -> bytes:
    parts = [aml.address_space(16, "bus", root.first_bus, root.last_bus)]
    if configuration_ports:
        parts.append(aml.io_port(0xCF8, 8))
    for window in root.windows:
        short = window.type == "io" and window.end - window.start < 0xFFFF  # the length is a word too
        bits = 16 if short else 32 if window.end < FOUR_GIB else 64
        parts.append(aml.address_space(bits, window.type, window.start, window.end, window.prefetch, window.read_only))
    return aml.resource_template(*parts)


def _routing(number: int) -> list[bytes]:
    """Legacy and APIC routing packages of 32 devices with four pins, and the method that picks one."""
    legacy, apic = [], []
    for dev in range(32):
        for pin in range(4):
            address = aml.integer(dev << 16 | 0xFFFF)
            swizzle = (dev + pin + number) % 8
            apic.append(aml.package([address, aml.integer(pin), aml.ZERO, aml.integer(FIRST_PCI_GSI + swizzle)]))
            legacy.append(aml.package([address, aml.integer(pin), aml.ZERO, aml.integer(10 + swizzle % 2)]))
    choose = [aml.if_(aml.name_path("PICM"), [aml.return_(aml.name_path("ARPK"))]), aml.return_(aml.name_path("PRPK"))]
    return [
        aml.name("PRPK", aml.package(legacy)),
        aml.name("ARPK", aml.package(apic)),
        aml.method("_PRT", 0, choose),
    ]


def _osc(control: int) -> bytes:
    """Grant the ``control`` bits, say so when that is fewer than asked."""
    first, third = aml.name_path("CDW1"), aml.name_path("CDW3")
    granted = [
        aml.create_dword_field(aml.arg(3), aml.integer(8), "CDW3"),
        aml.and_(third, aml.integer(control), aml.local(0)),
        aml.if_(aml.not_(aml.equal(aml.local(0), third)), [aml.or_(first, aml.integer(0x10), first)]),
        aml.store(aml.local(0), third),
    ]
    body = [
        aml.create_dword_field(aml.arg(3), aml.ZERO, "CDW1"),
        aml.if_(aml.equal(aml.arg(0), aml.buffer(OSC_UUID)), granted),
        aml.else_([aml.or_(first, aml.integer(4), first)]),
        aml.return_(aml.arg(3)),
    ]
    return aml.method("_OSC", 4, body)


def _slots(described: Described, root: HostBridgeSpec) -> list[bytes]:
    """A device for each bridge on the root bus: that is where firmware hangs hot-plug and power methods."""
    out = []
    for function in described.pci.all_functions():
        place = function.address()
        if (place.segment, place.bus) != (root.segment, root.first_bus) or function.secondary is None:
            continue
        terms = [
            aml.name("_ADR", aml.integer((place.devfn >> 3) << 16 | place.devfn & 7)),
            aml.name("_SUN", aml.integer(place.devfn)),
            aml.method("_STA", 0, [aml.return_(aml.integer(0x0F))]),
        ]
        out.append(aml.device(f"BR{place.devfn:02X}", terms))
    return out


def _platform_devices(described: Described) -> list[bytes]:
    spec = described.spec
    isa = [
        _device("RTC0", "PNP0B00", aml.io_port(0x70, 2), aml.irq(8)),
        _device("PIC0", "PNP0000", aml.io_port(0x20, 2), aml.io_port(0xA0, 2), aml.irq(2)),
        _device("TMR0", "PNP0100", aml.io_port(0x40, 4), aml.irq(0)),
        _device("DMA0", "PNP0200", aml.io_port(0x00, 0x10), aml.io_port(0x80, 0x10), aml.io_port(0xC0, 0x20)),
        _device("COM1", "PNP0501", aml.io_port(0x3F8, 8), aml.irq(4), uid=0),
        _device("COM2", "PNP0501", aml.io_port(0x2F8, 8), aml.irq(3), uid=1),
    ]
    if spec.boot_arch & 2:
        isa.append(_device("KBD0", "PNP0303", aml.io_port(0x60, 1), aml.io_port(0x64, 1), aml.irq(1)))
    if spec.hpet_address:
        isa.append(_device("HPET", "PNP0103", aml.memory32_fixed(spec.hpet_address, 0x400)))
    board = [aml.io_port(spec.pm_base, 0x80)]
    if described.pci.ecam_base is not None:
        buses = described.pci.ecam_end_bus - described.pci.ecam_start_bus + 1
        board.append(aml.memory32_fixed(described.pci.ecam_base & 0xFFFF_FFFF, buses << 20))
    for window in described.pci.segments:
        start = window.base + (window.start_bus << 20)
        end = window.base + (window.end_bus + 1 << 20) - 1
        board += [aml.address_space(64, "mem", start, end)] if window.base else []
    isa.append(_device("MBRD", "PNP0C02", *board))
    return [aml.device("LPC0", [aml.name("_ADR", aml.integer(0x1F0000)), *isa])]


def _device(name: str, hid: str, *resources: bytes, uid: int | None = None) -> bytes:
    terms = [aml.name("_HID", aml.hardware_id(hid))]
    if uid is not None:
        terms.append(aml.name("_UID", aml.integer(uid)))
    terms.append(aml.name("_CRS", aml.resource_template(*resources)))
    return aml.device(name, terms)
