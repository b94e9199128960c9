from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.pci.build import build_config
from hw.pci.config import DPC, EXT_ID, PCIE
from hw.pci.spec import Address, PciFunctionSpec, SlotSpec
from minikern.describe.dmesg_ports import LoggedPort, logged_ports, port_irqs

FLAGS = "AttnBtn- PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+ Interlock- NoCompl+"
LINES = f"""\
pcieport 0000:00:1c.0: PME: Signaling with IRQ 122
pcieport 0000:00:1c.0: AER: enabled with IRQ 122
pcieport 0000:00:1c.0: pciehp: Slot #7 {FLAGS} IbPresDis- LLActRep+
pcieport 0000:00:1d.0: DPC: enabled with IRQ 123
pcieport 0000:00:1d.0: DPC: error containment capabilities: Int Msg #2, RPExt+ PoisonedTLP- SwTrigger+ RP PIO Log 4, DL_ActiveErr+
pcieport 0000:02:01.0: enabling device (0002 -> 0003)
pcieport 0000:02:02.0: AER: Corrected error received: 0000:02:02.0
pci 0000:02:03.0: PME# supported from D0
""".splitlines()  # noqa: E501
PORT, OTHER, DOWN = Address(0, 0, 0xE0), Address(0, 0, 0xE8), Address(0, 2, 8)


def test_services_of_each_port() -> None:
    found = logged_ports(LINES)
    assert list(found) == [PORT, OTHER, DOWN]
    assert found[PORT] == LoggedPort(122, True, None, SlotSpec(7 << 19 | 0x4_0060))
    assert found[OTHER] == LoggedPort(123, True, 2 | 0x20 | 0x80 | 4 << 8 | 0x1000)
    assert found[DOWN] == LoggedPort()
    assert port_irqs(LINES) == {"0000:00:1c.0": 122, "0000:00:1d.0": 123, "0000:02:01.0": 0}


@pytest.mark.parametrize(
    "line",
    [
        "pcieport 0000:00:1c.0: Signaling PME with IRQ 122",
        "pcieport 0000:00:1c.0: AER enabled with IRQ 122",
        "aer 0000:00:1c.0:pcie002: AER enabled with IRQ 122",
    ],
)
def test_older_wordings(line: str) -> None:
    assert logged_ports([line])[PORT].irq == 122
    assert logged_ports([line])[PORT].errors == ("AER" in line)


def test_older_slots_and_containment_are_their_services_own() -> None:
    slot = logged_ports([f"pciehp 0000:00:1c.0:pcie004: Slot #0 {FLAGS} LLActRep-"])[PORT].slot
    assert slot == SlotSpec(0x4_0060, link_active=False)
    text = "DPC error containment capabilities: Int Msg #0, RPExt- PoisonedTLP- SwTrigger- RP PIO Log 0, DL_ActiveErr-"
    assert logged_ports([f"dpc 0000:00:1c.0:pcie008: {text}"])[PORT] == LoggedPort(0, True, 0)


def test_a_port_is_built_as_it_was_told() -> None:
    told = logged_ports(LINES)
    spec = PciFunctionSpec(bdf="00:1c.0", kind="root_port", secondary=1, subordinate=1, hotplug=True,
                           slot=told[PORT].slot, capabilities=["aer", "dpc"], dpc=told[OTHER].dpc or 0)  # fmt: skip
    space = build_config(spec, False)
    at = next(at for number, at in space.capabilities() if number == 0x10)
    assert space.get(PCIE, "slot_cap", at) == 7 << 19 | 0x4_0060
    assert space.get(PCIE, "link_cap", at) >> 20 & 1 == 1
    assert space.get(DPC, "cap", dict(space.ext_capabilities())[EXT_ID[DPC.name]]) == told[OTHER].dpc


@given(st.text(max_size=60))
def test_damaged_lines_tell_nothing_wrong(rest: str) -> None:
    for line in (f"pcieport 0000:00:1c.0: {rest}", f"pcieport {rest}", LINES[2][: len(rest)] + rest):
        assert all(port.irq >= 0 for port in logged_ports([line]).values())
