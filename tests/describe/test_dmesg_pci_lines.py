from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.pci.spec import Address
from minikern.describe.dmesg_chipset import registers_of
from minikern.describe.dmesg_pci_lines import MAX_FUNCTIONS, Range, parse_range, seen_functions

OLD = """\
pci 0000:00:1c.0: [8086:a190] type 01 class 0x060400
pci 0000:00:1c.0: PME# supported from D0 D3hot D3cold
pci 0000:00:1f.0: [8086:a1c1] type 00 class 0x060100
pci 0000:01:00.0: [14e4:165f] type 00 class 0x020000
pci 0000:01:00.0: reg 0x10: [mem 0x92030000-0x9203ffff 64bit pref]
pci 0000:01:00.0: reg 0x1c: [io  0x2000-0x20ff]
pci 0000:01:00.0: reg 0x30: [mem 0xfffc0000-0xffffffff pref]
pci 0000:01:00.0: supports D1 D2
pci 0000:01:00.0: enabling Extended Tags
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
pci 0000:00:1c.0:   bridge window [io  0x2000-0x2fff]
pci 0000:00:1c.0:   bridge window [mem 0x92000000-0x920fffff 64bit pref]
""".splitlines()
NEW = """\
pci 0000:00:1c.0: [8086:a190] type 01 class 0x060400 PCIe Root Port
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
pci 0000:00:1c.0:   bridge window [io  0x2000-0x2fff]
pci 0000:00:1c.0:   bridge window [mem 0x92000000-0x920fffff 64bit pref]
pci 0000:00:1c.0: PME# supported from D0 D3hot D3cold
pci 0000:00:1f.0: [8086:a1c1] type 00 class 0x060100 conventional PCI endpoint
pci 0000:01:00.0: [14e4:165f] type 00 class 0x020000 PCIe Endpoint
pci 0000:01:00.0: BAR 0 [mem 0x92030000-0x9203ffff 64bit pref]
pci 0000:01:00.0: BAR 3 [io  0x2000-0x20ff]
pci 0000:01:00.0: ROM [mem 0xfffc0000-0xffffffff pref]
pci 0000:01:00.0: supports D1 D2
pci 0000:01:00.0: enabling Extended Tags
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
""".splitlines()
AFTERWARDS = """\
pci 0000:00:1c.0: bridge window [mem 0x00100000-0x000fffff] to [bus 01-02] add_size 200000 add_align 100000
pci 0000:00:1c.0: bridge window [mem 0x93000000-0x931fffff]: assigned
pci 0000:00:1c.0: PCI bridge to [bus 01-02]
pci 0000:00:1c.0:   bridge window [io  0x2000-0x2fff]
pci 0000:00:1c.0:   bridge window [mem 0x93000000-0x931fffff]
pci 0000:00:1c.0:   bridge window [mem 0x92000000-0x920fffff 64bit pref]
pci_bus 0000:00: resource 4 [io  0x0000-0x0cf7 window]
pcieport 0000:00:1c.0: pciehp: Slot #3 AttnBtn- PwrCtrl- MRL- AttnInd- PwrInd- HotPlug+ Surprise+
pci 10000:e0:06.0: [8086:464d] type 01 class 0x060400
tg3 0000:01:00.0: enabling device (0140 -> 0142)
""".splitlines()
PORT, ISA, NIC = Address(0, 0, 0xE0), Address(0, 0, 0xF8), Address(0, 1, 0)


@pytest.mark.parametrize("lines", [OLD, NEW])
def test_both_wordings_tell_the_same(lines: list[str]) -> None:
    seen = seen_functions([*lines, *AFTERWARDS])
    assert list(seen) == [PORT, ISA, NIC], "what comes after the enumeration is not part of the machine"
    port, nic = seen[PORT], seen[NIC]
    assert (port.id, port.header, port.class_code) == ("8086:a190", 1, 0x060400)
    assert port.buses == (1, 2) and port.slot and port.add_sizes == [0x20_0000]
    assert port.windows == [
        Range("io", 0x2000, 0x2FFF),
        Range("mem", 0x9200_0000, 0x920F_FFFF, wide=True, prefetch=True),
    ], "windows as the firmware left them, not what the kernel opened"
    assert port.pme == ["D0", "D3hot", "D3cold"]
    assert nic.bars == {0: Range("mem", 0x9203_0000, 0x9203_FFFF, True, True), 3: Range("io", 0x2000, 0x20FF)}
    assert nic.rom is not None and nic.rom.size == 0x4_0000
    assert nic.low_power == ["D1", "D2"] and nic.ext_tag and nic.command == 0x0140


def test_newer_kernels_say_which_kind() -> None:
    assert [one.port for one in seen_functions(NEW).values()] == [
        "PCIe Root Port",
        "conventional PCI endpoint",
        "PCIe Endpoint",
    ]


def test_virtual_functions_are_the_drivers() -> None:
    assert not seen_functions(["pci 0000:03:10.0: [8086:1515] type 7f class 0xffffff"])


def test_absurd_counts_end_somewhere() -> None:
    lines = (
        f"pci {segment:04x}:{bus:02x}:00.0: [8086:0001] type 00 class 0x020000"
        for segment in range(20)
        for bus in range(256)
    )
    assert len(seen_functions(lines)) == MAX_FUNCTIONS


@given(st.lists(st.integers(0, len(OLD) + len(AFTERWARDS) - 1)), st.integers(0, 80))
def test_torn_and_shuffled_lines_are_no_fault(order: list[int], cut: int) -> None:
    lines = [*OLD, *AFTERWARDS]
    seen = seen_functions([lines[index][: max(cut, index)] for index in order])
    assert set(seen) <= {PORT, ISA, NIC, Address(0x10000, 0xE0, 0x30)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[io  0x0500-0x053f]", Range("io", 0x500, 0x53F)),
        ("[mem 0xfee00000-0xfeefffff window]", Range("mem", 0xFEE0_0000, 0xFEEF_FFFF)),
        ("[io  0x04d6]", Range("io", 0x4D6, 0x4D6)),
        ("[mem 0x2000-0x1fff]", None),
        ("[mem size 0x00040000 pref]", None),
        ("[bus 00-3f]", None),
    ],
)
def test_resources(text: str, found: Range | None) -> None:
    assert parse_range(text) == found


def test_chipset_functions_without_a_bar() -> None:
    lines = """\
pci 0000:00:1f.0: [8086:2918] type 00 class 0x060100
pci 0000:00:1f.0: quirk: [io  0x0600-0x067f] claimed by ICH6 ACPI/GPIO/TCO
pci 0000:00:1f.0: quirk: [io  0x0500-0x053f] claimed by ICH6 GPIO
pci 0000:00:1f.0: ICH7 LPC Generic IO decode 2 PIO at 0ca0 (mask 000f)
"""
    (one,) = seen_functions(lines.splitlines()).values()
    made = registers_of(one, opened=True)
    assert {register.offset: register.value for register in made} == {
        0x40: 0x601, 0x44: 0x80, 0x48: 0x501, 0x4C: 0x10, 0x88: 0x000C0CA1, 0xF0: 0xFED1C001,
    }  # fmt: skip
