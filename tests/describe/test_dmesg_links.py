from __future__ import annotations

from hw.pci.spec import Address, LinkSpec
from minikern.describe.dmesg_links import links_of
from minikern.describe.dmesg_log import Log
from minikern.describe.dmesg_pci import pci_from_log
from minikern.describe.dmesg_pci_lines import seen_functions

LINES = """\
pci 0000:00:01.0: [8086:0001] type 01 class 0x060400
pci 0000:02:00.0: [8086:0002] type 01 class 0x060400
pci 0000:02:00.0: 63.012 Gb/s available PCIe bandwidth, limited by 16.0 GT/s PCIe x4 link at 0000:00:01.0 \
(capable of 126.024 Gb/s with 16.0 GT/s PCIe x8 link)
pci 0000:00:01.0: PCI bridge to [bus 02-04]
pci 0000:03:00.0: [8086:0003] type 01 class 0x060400
pci 0000:02:00.0: PCI bridge to [bus 03-04]
pci 0000:04:00.0: [8086:0004] type 00 class 0x020000
pci 0000:04:00.0: reg 0x184: [mem 0x91a00000-0x91a03fff 64bit]
pci 0000:04:00.0: VF(n) BAR0 space: [mem 0x91a00000-0x91a1ffff 64bit] (contains BAR0 for 8 VFs)
pci 0000:04:00.0: reg 0x190: [mem 0x91c00000-0x91c03fff 64bit]
pci 0000:04:00.0: VF(n) BAR3 space: [mem 0x91c00000-0x91c1ffff 64bit] (contains BAR3 for 8 VFs)
pci 0000:03:00.0: PCI bridge to [bus 04]
""".splitlines()
PORT, UPSTREAM, DOWNSTREAM, CARD = Address(0, 0, 8), Address(0, 2, 0), Address(0, 3, 0), Address(0, 4, 0)


def test_the_limiting_port_the_device_and_what_else_is_behind() -> None:
    links = links_of(seen_functions(LINES))
    assert links[PORT] == LinkSpec(4, 4, 4, 4)
    assert links[UPSTREAM] == LinkSpec(4, 8, 4, 4), "both ends of the narrow link"
    assert links[DOWNSTREAM] == links[CARD] == links[PORT], "silent, as no line names them"


def test_virtual_functions_of_the_older_wording() -> None:
    spec = pci_from_log(Log("test", LINES)).spec
    virtual = next(function.virtual for function in spec.functions if function.bdf == "0000:04:00.0")
    assert virtual is not None and (virtual.total, virtual.at) == (8, 0x160)
    assert [(bar.index, bar.size, bar.address) for bar in virtual.bars] == [
        (0, 0x4000, 0x91A0_0000),
        (3, 0x4000, 0x91C0_0000),
    ]


def test_a_link_at_a_place_that_is_not_there_is_no_limit() -> None:
    torn = [line for line in LINES if "type 01" not in line or "02:00.0" in line]
    assert PORT not in links_of(seen_functions(torn))
