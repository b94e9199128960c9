"""lspci's words instead of bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from hw.pci.spec import BarSpec, LinkSpec, SlotSpec, WindowSpec
from minikern.describe.beside import Beside, lay_over
from minikern.describe.lspci_text import described_functions
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

WORDS = """\
00:00.0 Host bridge [0600]: Intel Corporation 4th Gen Core Processor DRAM Controller [8086:0c00] (rev 06)
\tSubsystem: House [1028:05a4]
\tControl: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-

00:1c.0 PCI bridge [0604]: Intel Corporation 8 Series PCI Express Root Port [8086:a338] (rev d5) (prog-if 00 [Normal decode])
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tInterrupt: pin A routed to IRQ 16
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tI/O behind bridge: 0000e000-0000efff [size=4K]
\tMemory behind bridge: f7c00000-f7cfffff [size=1M]
\tPrefetchable memory behind bridge: 00000000fff00000-00000000000fffff [disabled]
\tCapabilities: [40] Express (v2) Root Port (Slot+), MSI 00
\t\tDevCap:\tMaxPayload 128 bytes, PhantFunc 0
\t\t\tExtTag- RBE+
\t\tSltCap:\tAttnBtn- PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+
\tCapabilities: [a0] Power Management version 3
\t\tFlags: PMEClk- DSI- D1- D2- AuxCurrent=0mA PME(D0+,D1-,D2-,D3hot+,D3cold+)
\tCapabilities: [140 v1] Access Control Services

01:00.0 Ethernet controller [0200]: Intel Corporation I210 Gigabit Network Connection [8086:1533] (rev 03)
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
\tRegion 0: Memory at f7c00000 (32-bit, non-prefetchable) [size=512K]
\tRegion 2: I/O ports at e000 [size=32]
\tRegion 3: Memory at f7c80000 (32-bit, non-prefetchable) [size=16K]
\tExpansion ROM at f7c90000 [disabled] [size=64K]
\tCapabilities: [50] MSI: Enable- Count=1/1 Maskable+ 64bit+
\tCapabilities: [a0] Express (v2) Endpoint, MSI 00
\t\tLnkCap:\tPort #0, Speed 5GT/s, Width x4, ASPM L0s L1
\t\tLnkSta:\tSpeed 2.5GT/s (downgraded), Width x1 (downgraded)
"""  # noqa: E501


def test_functions_are_read_from_words() -> None:
    host, port, nic = described_functions(WORDS)
    assert (host.bdf, host.id, host.class_code, host.revision, host.kind) == (
        "00:00.0", "8086:0c00", 0x060000, 6, "conventional"
    )  # fmt: skip
    assert host.subsystem == "1028:05a4" and host.command == 6
    assert (port.kind, port.secondary, port.subordinate) == ("root_port", 1, 1)
    assert (port.hotplug, port.interrupt_pin) == (True, 1)
    assert port.windows == [WindowSpec("io", 0xE000, 0xEFFF), WindowSpec("mem", 0xF7C0_0000, 0xF7CF_FFFF)]
    assert port.capabilities == ["pm", "acs"] and port.pme == ["D0", "D3hot", "D3cold"]
    assert nic.bars == [
        BarSpec(0, "mem32", 512 << 10, False, 0xF7C0_0000), BarSpec(2, "io", 32, False, 0xE000),
        BarSpec(3, "mem32", 16 << 10, False, 0xF7C8_0000),
    ]  # fmt: skip
    assert (nic.rom_size, nic.rom_address, nic.link) == (64 << 10, 0xF7C9_0000, LinkSpec(2, 4, 1, 1))


def test_short_words_and_numbers_alone() -> None:
    (one,) = described_functions(
        "0000:03:00.0 0108: 144d:a808 (prog-if 02)\n"
        "\tFlags: bus master, fast devsel\n"
        "\tMemory at d0000000 (64-bit, prefetchable) [size=16M]\n"
        "\tMemory at <unassigned> (32-bit, non-prefetchable) [disabled] [size=4K]\n"
    )
    assert one.class_code == 0x010802
    assert one.bars == [BarSpec(0, "mem64", 16 << 20, True, 0xD000_0000), BarSpec(2, "mem32", 4096)]


def laid(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "lspci.txt"
    path.write_text(text)
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(path)))
    return [line.text for line in boot(spec).kernel.log.lines]


def test_they_boot_with_their_addresses(tmp_path: Path) -> None:
    lines = laid(tmp_path, WORDS)
    assert "pci 0000:01:00.0: BAR 0 [mem 0xf7c00000-0xf7c7ffff]" in lines
    assert "pci 0000:00:1c.0: PCI bridge to [bus 01]" in lines
    assert any("0.000 Gb/s" in line or "Gb/s available PCIe bandwidth" in line for line in lines)
    assert not any("can't size" in line for line in lines)


def dump(bdf: str, config: bytes) -> str:
    rows = "".join(f"{at:02x}: {config[at : at + 16].hex(' ')}\n" for at in range(0, len(config), 16))
    return f"{bdf} 0200: 8086:1572\n{rows}\n"


def function(vendor: int = 0x8086, kind: int = 0, secondary: int = 0) -> bytes:
    config = bytearray(64)
    config[0:4] = vendor.to_bytes(2, "little") + b"\x72\x15"
    config[0x0A:0x0C] = b"\x04\x06" if kind else b"\x00\x02"
    config[0x0E] = kind
    config[0x18:0x1B] = bytes([0, secondary, secondary])
    return bytes(config)


def test_segments_get_windows_and_drivers_domains_are_named(tmp_path: Path) -> None:
    text = dump("0000:00:02.0", function()) + dump("0001:00:01.0", function(kind=1, secondary=1))
    text += dump("0001:01:00.0", function()) + dump("10000:e0:06.0", function())
    lines = laid(tmp_path, text)
    assert "PCI host bridge to bus 0001:00" in lines
    assert any(line.startswith("pci 0001:01:00.0: [8086:1572]") for line in lines)
    assert any("for domain 0001 [bus 00-ff]" in line for line in lines)
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(tmp_path / "lspci.txt")))
    assert any("none of 1 functions in PCI domains 10000" in note for note in spec.notes)


def test_without_ids_there_is_no_machine(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected lspci -xxxx, -xxx, -vnn or -t"):
        laid(tmp_path, "00:00.0 Host bridge: Intel Corporation DRAM Controller\n\tFlags: bus master\n")


def test_slots_and_containment_of_ports() -> None:
    words = """\
00:01.0 PCI bridge [0604]: Intel Corporation Port [8086:347a]
\tBus: primary=00, secondary=01, subordinate=01, sec-latency=0
\tCapabilities: [68] Express (v2) Root Port (Slot+), MSI 00
\t\tLnkCap:\tPort #1, Speed 8GT/s, Width x4, ASPM L1, Exit Latency L0s <4us, L1 <4us
\t\t\tClockPM- Surprise+ LLActRep- BwNot+ ASPMOptComp+
\t\tSltCap:\tAttnBtn+ PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+
\t\t\tSlot #25, PowerLimit 0.000W; Interlock- NoCompl+
\tCapabilities: [1d0 v1] Downstream Port Containment
\t\tDpcCap:\tINT Msg #2, RPExt+ PoisonedTLP+ SwTrigger- RP PIO Log 4, DL_ActiveErr+
"""
    (port,) = described_functions(words)
    assert port.slot == SlotSpec(25 << 19 | 0x4_0061, link_active=False)
    assert (port.dpc, "dpc" in port.capabilities) == (2 | 0x60 | 4 << 8 | 0x1000, True)
    cut = words.partition("\t\t\tSlot #25")[0]
    assert described_functions(cut)[0].slot is None
