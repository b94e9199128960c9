"""Services of PCI Express ports: on a real kernel's small machine, in the captures, and in public logs."""

from __future__ import annotations

import gzip
import re

import msgspec
import pytest

from hw.pci.spec import (
    OSC_GRANTED,
    HostBridgeSpec,
    LinkSpec,
    PciFunctionSpec,
    PciSpec,
    SlotSpec,
    WindowSpec,
)
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.pci.small import SmallKernel
from tests.support import CAPTURES, SHARED

LINES = r"^(pcieport|aer|dpc|pciehp) |enabling device|Enabled at IRQ|PCI INT|DPC:"
WINDOWS = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xDFFF_FFFF)]
SLOT = SlotSpec(7 << 19 | 0x60 | 0x4_0000)
DPC = 0x20 | 0x40 | 0x80 | 4 << 8 | 0x1000


def port(**fields: object) -> PciFunctionSpec:
    found = PciFunctionSpec(bdf="00:01.0", id="1022:1453", class_code=0x060400, kind="root_port", secondary=1,
                            subordinate=4, capabilities=["pm", "msi", "aer"], interrupt_pin=1)  # fmt: skip
    return msgspec.structs.replace(found, **fields)


def switch() -> list[PciFunctionSpec]:
    """A switch behind the port: one port up, and one down with a slot."""
    both = ["pm", "msi", "aer"]
    up = PciFunctionSpec(bdf="01:00.0", id="104c:8232", class_code=0x060400, kind="upstream", secondary=2,
                         subordinate=4, capabilities=list(both))  # type: ignore[arg-type]
    down = PciFunctionSpec(bdf="02:00.0", id="104c:8233", class_code=0x060400, kind="downstream", secondary=3,
                           subordinate=3, capabilities=[*both, "dpc"], dpc=DPC, hotplug=True, slot=SLOT)  # type: ignore[list-item]
    return [up, down]


def lines(
    *functions: PciFunctionSpec, append: str = "", release: str = "debian-6.12", osc: int | None = OSC_GRANTED,
    config: dict[str, bool] | None = None, **behaviour: object,
) -> list[str]:  # fmt: skip
    host = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
    bridge = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS, osc=osc)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[bridge], functions=[host, *functions])
    return SmallKernel(spec, append, release, config=config, **behaviour).boot().class_lines(LINES)


PME, AER = "pcieport 0000:00:01.0: PME: Signaling with IRQ 24", "pcieport 0000:00:01.0: AER: enabled with IRQ 24"


def test_a_root_port_signals_events_and_errors_by_one_message() -> None:
    assert lines(port()) == [PME, AER]
    assert lines(port(capabilities=["pm", "msi"])) == [PME]


@pytest.mark.parametrize(
    ("append", "osc", "found"),
    [
        ("pcie_ports=compat", OSC_GRANTED, []),
        ("pci=noaer", OSC_GRANTED, [PME]),
        ("", 0x10, []),
        ("", 0x18, [AER]),
        ("", 0x14, [PME]),
        ("pcie_ports=native", 0x10, [PME, AER]),
        ("pcie_pme=nomsi", OSC_GRANTED, [PME.replace("24", "17"), AER.replace("24", "17")]),
        ("pci=nomsi", OSC_GRANTED, []),  # the firmware is not even asked without messages
        ("pci=nomsi pcie_ports=native", None, [PME.replace("24", "17")]),
    ],
)
def test_who_controls_what(append: str, osc: int | None, found: list[str]) -> None:
    assert lines(port(), append=append, osc=osc) == found


def test_what_is_not_built_has_no_lines() -> None:
    assert lines(port(), config={"CONFIG_PCIEPORTBUS": False}) == []
    assert lines(port(), config={"CONFIG_PCIEAER": False}) == [PME]
    slotted = port(hotplug=True, slot=SLOT, capabilities=["msi"])
    assert lines(slotted, config={"CONFIG_HOTPLUG_PCI_PCIE": False}) == [PME]


def test_a_slot_is_told_by_its_register() -> None:
    slotted = port(hotplug=True, slot=SLOT, capabilities=["msi"])
    flags = "AttnBtn- PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+ Interlock- NoCompl+"
    assert lines(slotted)[1:] == [f"pcieport 0000:00:01.0: pciehp: Slot #7 {flags} IbPresDis- LLActRep+"]
    assert lines(slotted, release="linux-5.4")[1:] == [f"pcieport 0000:00:01.0: pciehp: Slot #7 {flags} LLActRep+"]
    told = SlotSpec(0x1FFF << 19 | 0x6_0000 | 0x7F, inband_disable=True, link_active=False)
    everything = lines(port(hotplug=True, slot=told, capabilities=["msi"]))[1]
    assert everything.count("-") == 1 and "Slot #8191" in everything and everything.endswith("LLActRep-")


def test_ports_of_intel_do_not_tell_of_every_command() -> None:
    silent = SlotSpec(3 << 19 | 0x60)
    for vendor, word in (("8086", " (with Cmd Compl erratum)"), ("1022", "")):
        slotted = port(id=f"{vendor}:1453", hotplug=True, slot=silent, capabilities=["msi"])
        assert lines(slotted)[1].partition("LLActRep+")[2] == word
    old = port(id="8086:1453", hotplug=True, slot=silent, capabilities=["msi"])
    assert lines(old, release="linux-4.15")[-1].endswith("LLActRep+")


def test_containment_needs_errors_or_the_word() -> None:
    caps = "error containment capabilities: Int Msg #0, RPExt+ PoisonedTLP+ SwTrigger+ RP PIO Log 4, DL_ActiveErr+"
    both = [f"pcieport 0000:00:01.0: DPC: {text}" for text in ("enabled with IRQ 24", caps)]
    with_dpc = port(capabilities=["msi", "aer", "dpc"], dpc=DPC)
    assert lines(with_dpc) == [PME, AER, *both]
    assert lines(with_dpc, release="linux-5.4", dpc_irq_line=False)[2:] == both[1:]
    assert lines(with_dpc, osc=0x14) == [PME]
    assert lines(with_dpc, osc=0x14, append="pcie_ports=dpc-native") == [PME, *both]
    unsaid = lines(port(capabilities=["msi", "aer", "dpc"], dpc=DPC & ~0xF00))
    assert "RP PIO Log 0" in unsaid[-1]


def test_a_services_message_can_be_another_than_the_first() -> None:
    """MSI-X has a vector for each message number; as many are taken as the highest in use needs."""
    ours = port(capabilities=["msix", "aer"])
    other = msgspec.structs.replace(ours, bdf="00:02.0", secondary=5, subordinate=5)
    assert lines(ours, other)[2] == "pcieport 0000:00:02.0: PME: Signaling with IRQ 25"


def test_a_switch_has_one_line_and_older_kernels_gave_it_more_interrupts() -> None:
    new = lines(port(capabilities=["msi"]), *switch())
    assert [line.split(" ")[1] for line in new] == ["0000:00:01.0:", "0000:02:00.0:"]
    assert "pciehp: Slot #7" in new[1]
    old = lines(port(capabilities=["msi"]), *switch(), port_aer_everywhere=True)
    assert old[2] == "pcieport 0000:02:00.0: DPC: enabled with IRQ 26", "the port up has 25, for errors it never gets"


def test_drivers_of_services_came_one_after_the_other() -> None:
    second = port(bdf="00:02.0", secondary=5, subordinate=5)
    assert lines(port(), second, release="linux-4.15") == [
        "pcieport 0000:00:01.0: AER enabled with IRQ 24",
        "pcieport 0000:00:02.0: AER enabled with IRQ 25",
        "pcieport 0000:00:01.0: Signaling PME with IRQ 24",
        "pcieport 0000:00:02.0: Signaling PME with IRQ 25",
    ]
    by_service = lines(
        port(capabilities=["msi", "aer", "dpc"], dpc=DPC, hotplug=True, slot=SLOT),
        port_service_lines="service",
    )
    assert [line.split(": ")[0] for line in by_service] == [
        "pcieport 0000:00:01.0", "aer 0000:00:01.0:pcie002", "pciehp 0000:00:01.0:pcie004",
        "dpc 0000:00:01.0:pcie008", "dpc 0000:00:01.0:pcie008",
    ]  # fmt: skip


def test_event_collectors_are_ports_of_newer_kernels() -> None:
    collector = PciFunctionSpec(bdf="00:01.0", id="8086:0b23", class_code=0x080700, kind="event_collector",
                                capabilities=["msi", "aer"])  # fmt: skip
    assert lines(collector) == [PME, AER]
    assert lines(collector, port_event_collectors=False) == []


def test_links_that_change_take_an_interrupt_at_times() -> None:
    silent = port(capabilities=["msi"])
    for kind, link, irq in (("none", None, 24), ("notification", None, 24), ("control", LinkSpec(1, 4, 1, 4), 24)):
        told = lines(msgspec.structs.replace(silent, link=link), osc=0x10, port_bandwidth_service=kind)
        assert told == [], f"a service without a line ({irq})"
    down = PciFunctionSpec(bdf="00:01.0", id="1022:1453", class_code=0x060400, kind="root_port", secondary=1,
                           subordinate=1, capabilities=["msi"])  # fmt: skip
    usb = port(bdf="00:02.0", secondary=2, subordinate=2, capabilities=["msi"])
    for kind, number in (("none", 24), ("notification", 25), ("control", 25)):
        first = msgspec.structs.replace(down, kind="downstream")
        assert lines(first, usb, port_bandwidth_service=kind)[-1].endswith(f"IRQ {number}"), kind


@pytest.mark.oracle
def test_the_captured_ports_interrupts_are_derived() -> None:
    """24 is the IOMMU's; USB controllers and ports turn interrupt links on. No line of the log is read for it."""
    folder = CAPTURES / "q35-pci-iommu"
    if not folder.is_dir():
        pytest.skip("no shared/captures beside the checkout")
    real = [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in (folder / "dmesg.txt").read_text().splitlines()]
    ours = [line.text for line in boot(load_machine(str(folder))).kernel.log.lines]
    assert [line for line in ours if re.search(LINES, line)] == [line for line in real if re.search(LINES, line)]


PORTS = re.compile(r"(?:pcieport|pciehp|aer|dpc) [0-9a-f]{4,5}:.*")


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["timed/z690-16cpu-5.15-run1", "timed/r640-2s-72cpu-4.15", "timed/x670e-32cpu-6.7rc5"])
def test_ports_of_public_logs(name: str) -> None:
    """Containment, services one after the other, and slots of a switch; the kinds of all logs there are."""
    path = SHARED / "corpora" / f"{name}.log.gz"
    if not path.is_file():
        pytest.skip("no shared/corpora beside the checkout")
    text = gzip.decompress(path.read_bytes()).decode(errors="replace")
    real = [match[0].rstrip() for line in text.splitlines() if (match := PORTS.search(line))]
    ours = [line.text for line in boot(load_machine(str(path))).kernel.log.lines if PORTS.match(line.text)]
    assert ours == real
