"""Making functions ready for a driver: decoders, bridges above, and the interrupts of their pins."""

from __future__ import annotations

import msgspec
import pytest

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from minikern.pci.quirks import quirk_usb_early_handoff
from minikern.state.interrupts import InterruptNumbers
from tests.pci.small import SmallKernel

WINDOWS = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xDFFF_FFFF)]
HOST = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
USB = PciFunctionSpec(bdf="00:03.0", id="8086:31a8", class_code=0x0C0330, assigned=True, interrupt_pin=1,
                      bars=[BarSpec(0, "mem32", 0x1000, address=0xC000_0000)])  # fmt: skip
LINE = r"enabling device|PCI INT|Enabled at IRQ|enabled at IRQ|Can't enable|can't enable"


def booted(*functions: PciFunctionSpec, **fields: object) -> SmallKernel:
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[HOST, *functions])
    return SmallKernel(spec, **fields).boot()  # type: ignore[arg-type]


def routed(*entries: bytes, links: list[bytes] | None = None) -> dict[str, bytes]:
    """A table that gives the bus behind a bridge its own routing."""
    routing = aml.name("_PRT", aml.package(list(entries)))
    terms = [*(links or []), aml.scope("\\_SB_.PCI0.BR08", [routing])]  # the firmware's node of the bridge
    return {"SSDT": sdt("SSDT", 2, b"".join(terms), TableIds())}


def entry(source: bytes, index: int, device: int = 0) -> bytes:
    return aml.package([aml.integer(device << 16 | 0xFFFF), aml.ZERO, source, aml.integer(index)])


def behind(**fields: object) -> list[PciFunctionSpec]:
    """A USB controller behind a bridge."""
    bridge = PciFunctionSpec(bdf="00:01.0", id="8086:244e", class_code=0x060400, kind="pci_bridge", secondary=1,
                             subordinate=1, interrupt_pin=2)  # fmt: skip
    return [bridge, msgspec.structs.replace(USB, bdf="01:00.0", assigned=False, **fields)]


def test_usb_is_taken_from_the_firmware_and_let_go_again() -> None:
    k = booted(USB)
    assert k.class_lines(LINE) == ["pci 0000:00:03.0: enabling device (0000 -> 0002)"]
    dev = next(dev for dev in k.pci.devices if dev.name == "0000:00:03.0")
    assert (dev.enabled, dev.irq_managed, k.pci.interrupts.taken) == (False, False, set())
    assert booted(msgspec.structs.replace(USB, class_code=0x0C0340)).class_lines(LINE) == []


@pytest.mark.parametrize(("words", "why"), [
    ("bar", "BAR 0 [mem 0xc0000000-0xc0000fff]: not claimed; can't enable device"),
    ("reg", "can't enable device: BAR 0 [mem 0xc0000000-0xc0000fff] not claimed"),
])  # fmt: skip
def test_what_has_no_place_cannot_be_enabled(words: str, why: str) -> None:
    k = booted(USB, pci_reg_lines=words)
    dev = next(dev for dev in k.pci.devices if dev.name == "0000:00:03.0")
    dev.resources[0].parent = None
    before = len(k.lines)
    quirk_usb_early_handoff(k.kernel, dev)
    assert k.lines[before:] == [
        f"pci 0000:00:03.0: {why}", "pci 0000:00:03.0: Can't enable PCI device, BIOS handoff failed."
    ]  # fmt: skip


def test_a_pin_behind_a_bridge_is_looked_up_there_first() -> None:
    k = booted(*behind(), tables=routed(entry(aml.ZERO, 40)))
    assert k.pci.devices[-1].name == "0000:01:00.0" and k.pci.devices[-1].irq == 24, "GSI 40 is none of the first 24"
    k = booted(*behind())
    assert k.pci.devices[-1].irq == 17, "the first pin of a first device stays that of the slot above"


@pytest.mark.parametrize(("release", "line"), [
    ("debian-6.12", r"ACPI: \_SB_.LNKX: Enabled at IRQ 19"),
    ("linux-5.4", "ACPI: PCI Interrupt Link [LNKX] enabled at IRQ 19"),
])  # fmt: skip
def test_links_are_turned_on_once(release: str, line: str) -> None:
    template = aml.resource_template(b"\x89\x06\x00\x09\x01" + (19).to_bytes(4, "little"))
    link = aml.scope("\\_SB_", [aml.device("LNKX", [
        aml.name("_HID", aml.hardware_id("PNP0C0F")), aml.name("_CRS", template), aml.name("_PRS", template),
    ])])  # fmt: skip
    both = [*behind(), msgspec.structs.replace(behind()[1], bdf="01:01.0")]
    rows = [entry(aml.name_path("\\_SB_.LNKX"), 0, device) for device in (0, 1)]
    k = booted(*both, tables=routed(*rows, links=[link]), release=release)
    assert [text for text in k.lines if text == line] == [line]
    assert {dev.irq for dev in k.pci.devices if dev.bus.number == 1} == {19}


@pytest.mark.parametrize(
    ("irq", "lines"),
    [
        (0xFF, ["can't derive routing for PCI INT A", "PCI INT A: not connected"]),
        (0x0B, ["can't derive routing for PCI INT A", "PCI INT A: no GSI - using ISA IRQ 11"]),
        (0x00, ["can't derive routing for PCI INT A", "PCI INT A: no GSI"]),
    ],
)
def test_pins_that_nobody_routes(irq: int, lines: list[str]) -> None:
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    k = SmallKernel(PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[HOST, USB]))
    function = k.topology.roots[0].functions[0x18]
    function.config.put(0x3C, 1, irq)
    function.config.put(0x3D, 1, 5)  # no pin that a table can name
    found = k.boot().class_lines("PCI INT")
    assert [line.removeprefix("pci 0000:00:03.0: ") for line in found] == lines


def test_numbers_are_taken_from_the_first_gap_that_holds_them() -> None:
    numbers = InterruptNumbers(24)
    assert (numbers.allocate(), numbers.allocate(3), numbers.allocate()) == (24, 25, 28)
    numbers.free(25, 3)
    assert (numbers.allocate(4), numbers.allocate(2), numbers.allocate(1)) == (29, 25, 27)
    assert numbers.map_gsi(40) == numbers.map_gsi(40) == 33
    numbers.unmap_gsi(40)
    assert 33 in numbers.taken
    numbers.unmap_gsi(40)
    assert 33 not in numbers.taken
