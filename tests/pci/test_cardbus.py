"""Bridges to CardBus slots. Lines and places as public logs of laptops with such slots show them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hw.pci.build import build_config
from hw.pci.spec import BarSpec, HostBridgeSpec, PciFunctionSpec, PciSpec, WindowSpec
from minikern.describe.beside import Beside, lay_over
from minikern.describe.cards import without_cards
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.pci.small import SmallKernel

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:27a0", class_code=0x060000)
BRIDGE = PciFunctionSpec(
    bdf="00:1e.0", id="8086:2448", class_code=0x060401, kind="pci_bridge", secondary=0x15, subordinate=0x18,
    assigned=True, command=7, windows=[WindowSpec("io", 0x4000, 0x7FFF), WindowSpec("mem", 0xE430_0000, 0xE7FF_FFFF),
                                       WindowSpec("mem", 0xE000_0000, 0xE3FF_FFFF, True)],
)  # fmt: skip
SLOT = PciFunctionSpec(
    bdf="15:00.0", id="1180:0476", class_code=0x060700, kind="cardbus", secondary=0x16, subordinate=0x17,
    pme=["D0", "D3hot"], low_power=["D1", "D2"], assigned=True, command=7,
    bars=[BarSpec(0, "mem32", 0x1000, address=0xE430_0000)],
)  # fmt: skip
WINDOWS = [WindowSpec("io", 0x1000, 0xFFFF), WindowSpec("mem", 0xC000_0000, 0xEFFF_FFFF)]


def booted(*functions: PciFunctionSpec, append: str = "", **behaviour: object) -> SmallKernel:
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF, windows=WINDOWS)
    spec = PciSpec(ecam_base=0xE000_0000, host_bridges=[host], functions=[HOST, *functions])
    return SmallKernel(spec, append, **behaviour).boot()


def test_a_slot_is_numbered_anew_and_gets_four_windows() -> None:
    k = booted(BRIDGE, SLOT, pci_reg_lines="reg", pci_bridge_lines_early=False, pci_device_type_text=False)
    assert k.class_lines("15:00|0000:1[67]|busn") == [
        "pci 0000:15:00.0: [1180:0476] type 02 class 0x060700",
        "pci 0000:15:00.0: reg 0x10: [mem 0xe4300000-0xe4300fff]",
        "pci 0000:15:00.0: supports D1 D2",
        "pci 0000:15:00.0: PME# supported from D0 D3hot",
        "pci_bus 0000:16: extended config space not accessible",
        "pci_bus 0000:16: busn_res: [bus 16-18] end is updated to 17",
        "pci 0000:15:00.0: BAR 15: assigned [mem 0xe0000000-0xe3ffffff pref]",
        "pci 0000:15:00.0: BAR 16: assigned [mem 0xc0000000-0xc3ffffff]",
        "pci 0000:15:00.0: BAR 13: assigned [io  0x4000-0x40ff]",
        "pci 0000:15:00.0: BAR 14: assigned [io  0x4400-0x44ff]",
        "pci 0000:15:00.0: CardBus bridge to [bus 16-17]",
        "pci 0000:15:00.0:   bridge window [io  0x4000-0x40ff]",
        "pci 0000:15:00.0:   bridge window [io  0x4400-0x44ff]",
        "pci 0000:15:00.0:   bridge window [mem 0xe0000000-0xe3ffffff pref]",
        "pci 0000:15:00.0:   bridge window [mem 0xc0000000-0xc3ffffff]",
        "pci_bus 0000:16: resource 0 [io  0x4000-0x40ff]",
        "pci_bus 0000:16: resource 1 [io  0x4400-0x44ff]",
        "pci_bus 0000:16: resource 2 [mem 0xe0000000-0xe3ffffff pref]",
        "pci_bus 0000:16: resource 3 [mem 0xc0000000-0xc3ffffff]",
    ]
    slot = next(dev for dev in k.pci.devices if dev.is_cardbus)
    assert slot.read(0x18, 4) == 176 << 24 | 0x17_1615
    assert [slot.read(at, 4) for at in (0x1C, 0x20, 0x2C, 0x30)] == [0xE000_0000, 0xE3FF_F000, 0x4000, 0x40FC]
    assert slot.read(0x3E, 2) & 0x300 == 0x100


def test_newer_kernels_have_names_for_the_windows() -> None:
    assert booted(BRIDGE, SLOT).class_lines("CardBus bridge (win|to)|type 02") == [
        "pci 0000:15:00.0: [1180:0476] type 02 class 0x060700 CardBus bridge",
        "pci 0000:15:00.0: CardBus bridge window 0 [mem 0xe0000000-0xe3ffffff pref]: assigned",
        "pci 0000:15:00.0: CardBus bridge window 1 [mem 0xc0000000-0xc3ffffff]: assigned",
        "pci 0000:15:00.0: CardBus bridge window 0 [io  0x4000-0x40ff]: assigned",
        "pci 0000:15:00.0: CardBus bridge window 1 [io  0x4400-0x44ff]: assigned",
        "pci 0000:15:00.0: CardBus bridge to [bus 16-17]",
    ]


def test_a_slot_on_the_root_bus_keeps_four_numbers() -> None:
    slot = msgspec.structs.replace(SLOT, bdf="00:0a.0", assigned=False)
    second = msgspec.structs.replace(slot, bdf="00:0b.0")
    found = booted(slot, second).class_lines("CardBus bridge to")
    assert [line.rpartition(" to ")[2] for line in found] == ["[bus 01-04]", "[bus 05-08]"]


@pytest.mark.parametrize(
    ("word", "sizes"), [("pci=cbiosize=512", [0x200, 0x200]), ("pci=cbmemsize=32M,cbiosize=4K", [0x1000, 0x1000])]
)
def test_the_room_for_cards_can_be_chosen(word: str, sizes: list[int]) -> None:
    k = booted(msgspec.structs.replace(SLOT, bdf="00:0a.0", assigned=False), append=word)
    slot = next(dev for dev in k.pci.devices if dev.is_cardbus)
    assert [window.size for window in slot.resources[13:15]] == sizes
    assert slot.resources[15].size == (32 << 20 if "mem" in word else 64 << 20)


def test_cards_are_left_to_the_slots_driver(tmp_path: Path) -> None:
    card = PciFunctionSpec(bdf="16:00.0", id="168c:0013", class_code=0x020000)
    assert without_cards([SLOT, card, HOST]) == ([SLOT, HOST], 1)
    raw = [msgspec.structs.replace(one, raw=bytes(build_config(one, False).data)) for one in (SLOT, card)]
    assert without_cards(raw) == ([raw[0]], 1)
    (tmp_path / "lspci.txt").write_text(
        "00:00.0 Host bridge [0600]: Intel Corporation [8086:27a0]\n\n"
        "00:1e.0 PCI bridge [0604]: Intel Corporation [8086:2448] (prog-if 01 [Subtractive decode])\n"
        "\tBus: primary=00, secondary=15, subordinate=18, sec-latency=32\n\n"
        "15:00.0 CardBus bridge [0607]: Ricoh Co Ltd RL5c476 II [1180:0476] (rev b3)\n"
        "\tRegion 0: Memory at e4300000 (32-bit, non-prefetchable) [size=4K]\n"
        "\tBus: primary=15, secondary=16, subordinate=17, sec-latency=176\n"
        "\tMemory window 0: e0000000-e3fff000 (prefetchable)\n\n"
        "16:00.0 Ethernet controller [0200]: Atheros [168c:0013]\n"
    )
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(tmp_path / "lspci.txt")))
    assert any("none of 1 PCI functions in CardBus slots" in note for note in spec.notes)
    names = [dev.name for dev in boot(spec).kernel.pci.devices]
    assert names == ["0000:00:00.0", "0000:00:1e.0", "0000:15:00.0"]
