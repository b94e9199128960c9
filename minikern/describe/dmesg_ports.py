"""PCI Express ports as their driver's lines show them: services, slots, containment, interrupts.

Source: drivers/pci/pcie/{pme,aer,dpc}.c, drivers/pci/hotplug/pciehp_hpc.c @ v4.15, v5.15, v6.12
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from hw.pci.spec import Address, SlotSpec
from minikern.state.pci import DPC_WORDS, SLOT_WORDS

MAX_PORTS, MAX_IRQ, MAX_SLOT = 4096, 1 << 20, 0x1FFF

_LINE = re.compile(
    r"^(pcieport|aer|pcie_pme|pciehp|dpc) ([0-9a-f]{4,8}):([0-9a-f]{2}):([0-1][0-9a-f])\.([0-7])"
    r"(?::pcie[0-9a-f]{3})?: (.*)$"
)
_IRQ = re.compile(r"^(?:PME: Signaling|Signaling PME|AER: enabled|AER enabled|DPC: enabled) with IRQ (\d{1,7})\s*$")
_ENABLING = re.compile(r"^enabling device \([0-9a-f]{4} -> [0-9a-f]{4}\)\s*$")
_SLOT = re.compile(r"^(?:pciehp: )?Slot #(\d{1,4}) ((?:[A-Za-z]+[+-] ?)+)")
_DPC = re.compile(
    r"^DPC:? error containment capabilities: Int Msg #(\d{1,2}), ((?:[A-Za-z]+[+-] )+)RP PIO Log (\d{1,2}),"
    r" (DL_ActiveErr[+-])"
)


@dataclass
class LoggedPort:
    """What lines tell of a port; ``irq`` 0: no line tells."""

    irq: int = 0
    errors: bool = False  # it has the capability to report them
    dpc: int | None = None
    slot: SlotSpec | None = None


def logged_ports(lines: Iterable[str]) -> dict[Address, LoggedPort]:
    """Ports by their address; what is no port's line is passed over."""
    found: dict[Address, LoggedPort] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None or len(found) >= MAX_PORTS:
            continue
        text = match[6]
        address = Address(int(match[2], 16), int(match[3], 16), int(match[4], 16) << 3 | int(match[5]))
        irq, slot, dpc = _IRQ.match(text), _SLOT.match(text), _DPC.match(text)
        if not (irq or slot or dpc or _ENABLING.match(text)):
            continue
        port = found.setdefault(address, LoggedPort())
        if irq and 0 < int(irq[1]) < MAX_IRQ:
            port.irq = port.irq or int(irq[1])
            port.errors = port.errors or text.startswith(("AER", "DPC"))
        if slot:
            port.slot = _slot(int(slot[1]), slot[2])
        if dpc:
            port.dpc, port.errors = _containment(int(dpc[1]), f"{dpc[2]}{dpc[4]}", int(dpc[3])), True
    return found


def port_irqs(lines: Iterable[str]) -> dict[str, int]:
    """The interrupt of each port with a line, by the name of the function."""
    return {str(address): port.irq for address, port in logged_ports(lines).items()}


def _slot(number: int, text: str) -> SlotSpec:
    words = {word[:-1]: word.endswith("+") for word in text.split()}
    bits = sum(bit for name, bit in SLOT_WORDS.items() if words.get(name))
    return SlotSpec(
        min(number, MAX_SLOT) << 19 | bits, words.get("IbPresDis", False), words.get("LLActRep", True)
    )


def _containment(message: int, text: str, log: int) -> int:
    words = {word[:-1]: word.endswith("+") for word in text.split()}
    return message & 0x1F | (log & 0xF) << 8 | sum(bit for name, bit in DPC_WORDS.items() if words.get(name))
