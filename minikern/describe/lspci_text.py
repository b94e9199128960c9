"""PCI functions from what ``lspci -v`` says of them in words, without a byte of their registers.

Source: pciutils lspci(8), options -v, -vv, -n and -nn; lib and ls-*.c of pciutils 3.9 for the words
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hw.pci.spec import (
    BRIDGE_KINDS,
    PCIE_KINDS,
    BarSpec,
    FunctionKind,
    LinkSpec,
    PciFunctionSpec,
    SlotSpec,
    WindowSpec,
)
from minikern.describe.dmesg_ports import MAX_SLOT
from minikern.state.pci import DPC_WORDS, SLOT_WORDS

EXPRESS: dict[str, FunctionKind] = {
    "Endpoint": "endpoint",
    "Legacy Endpoint": "legacy_endpoint",
    "Root Port": "root_port",
    "Upstream Port": "upstream",
    "Downstream Port": "downstream",
    "PCI-Express to PCI/PCI-X Bridge": "pcie_pci_bridge",
    "PCI/PCI-X to PCI-Express Bridge": "pci_pcie_bridge",
    "Root Complex Integrated Endpoint": "rciep",
    "Root Complex Event Collector": "event_collector",
}
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SPEEDS = {"2.5": 1, "5": 2, "8": 3, "16": 4, "32": 5, "64": 6}
PCI_BRIDGE, CARDBUS = 0x0604, 0x0607
STATES = ("D0", "D1", "D2", "D3hot", "D3cold")

_ADDRESS = r"((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_TAIL = r"(?: \(rev ([0-9a-f]{2})\))?(?: \(prog-if ([0-9a-f]{2}).*)?$"
_NAMED = re.compile(rf"^{_ADDRESS} .*? \[([0-9a-f]{{4}})\]: .*\[([0-9a-f]{{4}}:[0-9a-f]{{4}})\]{_TAIL}")
_NUMBERS = re.compile(rf"^{_ADDRESS} (?:Class )?([0-9a-f]{{4}}): ([0-9a-f]{{4}}:[0-9a-f]{{4}}){_TAIL}")
_SIZE = r"\[size=(\d{1,4})([KMGT]?)\]"
_REGION = re.compile(
    rf"^\t(?:Region ([0-5]): )?(?:\[virtual\] )?(Memory|I/O ports) at ([0-9a-f]{{1,16}}|<\w+>)(.*?){_SIZE}"
)
_ROM = re.compile(rf"^\t(?:\[virtual\] )?Expansion ROM at ([0-9a-f]{{1,16}}|<\w+>).*{_SIZE}")
_BUSES = re.compile(r"^\tBus: primary=[0-9a-f]{2}, secondary=([0-9a-f]{2}), subordinate=([0-9a-f]{2})")
_BEHIND = re.compile(
    r"^\t(I/O|Memory|Prefetchable memory) behind bridge: ([0-9a-f]{1,16})-([0-9a-f]{1,16})(?!.*\[disabled\])"
)
_EXPRESS = re.compile(
    r"^\tCapabilities: \[[0-9a-f]+\] Express (?:\(v\d\) )?(" + "|".join(sorted(EXPRESS, key=len, reverse=True)) + ")"
)
_SUBSYSTEM = re.compile(r"^\tSubsystem: .*?\[?([0-9a-f]{4}:[0-9a-f]{4})\]?$")
_PIN = re.compile(r"^\tInterrupt: pin ([A-D]) ")
_PME = re.compile(r"PME\(D0([+-]),D1([+-]),D2([+-]),D3hot([+-]),D3cold([+-])\)")
_LINK = re.compile(r"^\t\tLnk(Cap|Sta):.*Speed ([\d.]+)GT/s.*?, Width x(\d{1,2})")
_SLOT = re.compile(r"^\t\t\tSlot #(\d{1,4}),")
_CONTAINED = re.compile(r"^\t\tDpcCap:\t.*?(?:Msg #|MsgNum )(\d{1,2}),? .*RP[ _]PIO[ _]Log (\d{1,2}),")
_CONTROL = re.compile(r"^\tControl: I/O([+-]) Mem([+-]) BusMaster([+-])")


def described_functions(text: str) -> list[PciFunctionSpec]:
    """The functions of a text that gives ids as numbers (-n, -nn); empty if it gives none."""
    return [_function(block) for block in _blocks(text)]


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.splitlines():
        if _NAMED.match(line) or _NUMBERS.match(line):
            if block:
                yield block
            block = [line]
        elif block:
            block.append(line)
    if block:
        yield block


def _function(block: list[str]) -> PciFunctionSpec:
    head = _NAMED.match(block[0]) or _NUMBERS.match(block[0])
    assert head is not None
    bdf, code, ids, revision, interface = head.groups()
    spec = PciFunctionSpec(
        bdf=bdf,
        id=ids,
        class_code=int(code, 16) << 8 | int(interface or "0", 16),
        revision=int(revision or "0", 16),
        assigned=True,
    )
    spec.kind = _kind(spec.class_code >> 8, block)
    spec.bars = _bars(block, 2 if spec.kind in BRIDGE_KINDS else 1 if spec.kind == "cardbus" else 6)
    spec.command = _command(block, spec)
    _ids_and_rom(spec, block)
    _capabilities(spec, block)
    if spec.kind in BRIDGE_KINDS or spec.kind == "cardbus":
        _bridge(spec, block)
    return spec


def _kind(class_code: int, block: list[str]) -> FunctionKind:
    express = next((match[1] for line in block if (match := _EXPRESS.match(line))), None)
    if express is not None and (EXPRESS[express] in BRIDGE_KINDS) == (class_code == PCI_BRIDGE):
        return EXPRESS[express]
    return "pci_bridge" if class_code == PCI_BRIDGE else "cardbus" if class_code == CARDBUS else "conventional"


def _bars(block: list[str], count: int) -> list[BarSpec]:
    found: list[BarSpec] = []
    following = 0
    for line in block:
        match = _REGION.match(line)
        if match is None:
            continue
        index = int(match[1]) if match[1] else following
        wide, ports = "64-bit" in match[4], match[2] == "I/O ports"
        following = index + (2 if wide else 1)
        size = int(match[5]) * UNITS[match[6]]
        address = 0 if match[3].startswith("<") else int(match[3], 16)
        if following <= count and size >= (4 if ports else 16) and not address % size:
            kind = "io" if ports else "mem64" if wide else "mem32"
            prefetch = not ports and "non-prefetchable" not in match[4] and "prefetchable" in match[4]
            found.append(BarSpec(index, kind, size, prefetch, address))  # type: ignore[arg-type]
    return found


def _command(block: list[str], spec: PciFunctionSpec) -> int:
    for line in block:
        if match := _CONTROL.match(line):
            return sum(bit for bit, sign in zip((1, 2, 4), match.groups(), strict=True) if sign == "+")
    ports = any(bar.type == "io" and bar.address for bar in spec.bars)
    memory = any(bar.type != "io" and bar.address for bar in spec.bars)
    return (1 if ports else 0) | (2 if memory else 0) | (7 if spec.kind in BRIDGE_KINDS else 0)


def _ids_and_rom(spec: PciFunctionSpec, block: list[str]) -> None:
    for line in block:
        if match := _SUBSYSTEM.match(line):
            spec.subsystem = match[1]
        elif match := _PIN.match(line):
            spec.interrupt_pin = ord(match[1]) - ord("A") + 1
        elif match := _ROM.match(line):
            spec.rom_size = int(match[2]) * UNITS[match[3]]
            spec.rom_address = 0 if match[1].startswith("<") else int(match[1], 16) & 0xFFFF_F800


def _capabilities(spec: PciFunctionSpec, block: list[str]) -> None:
    text = "\n".join(block)
    words = {"Power Management": "pm", "MSI:": "msi", "MSI-X:": "msix"}
    if spec.kind in PCIE_KINDS:
        words |= {"Advanced Error Reporting": "aer", "Access Control Services": "acs",
                  "Alternative Routing-ID": "ari", "Device Serial Number": "dsn",
                  "Downstream Port Containment": "dpc"}  # fmt: skip
    lines = [line for line in block if line.startswith("\tCapabilities:")]
    spec.capabilities = [name for word, name in words.items() if any(word in line for line in lines)]  # type: ignore[misc]
    if match := _PME.search(text):
        spec.pme = [state for state, sign in zip(STATES, match.groups(), strict=True) if sign == "+"]  # type: ignore[misc]
    spec.ext_tag = "ExtTag+" in text
    spec.hotplug, spec.slot = "HotPlug+" in text, _slot(block)
    spec.dpc = next((_containment(match) for line in block if (match := _CONTAINED.match(line))), 0)
    ends = {match[1]: match for line in block if (match := _LINK.match(line))}
    if set(ends) == {"Cap", "Sta"} and all(end[2] in SPEEDS and 1 <= int(end[3]) <= 32 for end in ends.values()):
        cap, sta = ends["Cap"], ends["Sta"]
        spec.link = LinkSpec(SPEEDS[cap[2]], int(cap[3]), SPEEDS[sta[2]], int(sta[3]))


def _slot(block: list[str]) -> SlotSpec | None:
    """The slot of a port: two lines of features, and what its link says."""
    at = next((at for at, line in enumerate(block) if line.startswith("\t\tSltCap:")), None)
    number = _SLOT.match(block[at + 1]) if at is not None and at + 1 < len(block) else None
    if at is None or number is None:
        return None
    words = f"{block[at]} {block[at + 1]}".split()
    bits = sum(bit for name, bit in SLOT_WORDS.items() if f"{name}+" in words)
    return SlotSpec(min(int(number[1]), MAX_SLOT) << 19 | bits, link_active="LLActRep-" not in "\n".join(block))


def _containment(match: re.Match[str]) -> int:
    flags = sum(bit for name, bit in DPC_WORDS.items() if f"{name}+" in match.string)
    return int(match[1]) & 0x1F | (int(match[2]) & 0xF) << 8 | flags


def _bridge(spec: PciFunctionSpec, block: list[str]) -> None:
    spec.secondary = spec.subordinate = 0
    for line in block:
        if match := _BUSES.match(line):
            spec.secondary, spec.subordinate = int(match[1], 16), int(match[2], 16)
        elif match := _BEHIND.match(line):
            start, end = int(match[2], 16), int(match[3], 16)
            prefetch = match[1].startswith("Pref")
            if start <= end and not start % (0x1000 if match[1] == "I/O" else 0x10_0000):
                kind = "io" if match[1] == "I/O" else "mem"
                spec.windows.append(WindowSpec(kind, start, end, prefetch, prefetch))  # type: ignore[arg-type]
