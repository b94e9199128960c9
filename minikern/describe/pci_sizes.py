"""Sizes of what PCI functions decode, where a dump of their registers shows only addresses.

Of a base address register the bits below its size are zero, so that the lowest one of the address bounds it from above;
within that what the log says goes first, then the text of lspci -v (``[size=64K]``), then what is usual for the class.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from hw.pci.config import EXT_ID, SRIOV, ConfigSpace
from hw.pci.spec import BarSpec, PciFunctionSpec, VirtualFunctions

KIB, MIB = 1 << 10, 1 << 20
DISPLAY = 0x03
USUAL_IO, USUAL_MEM, USUAL_PREFETCH = 32, 16 * KIB, MIB
USUAL_DISPLAY_MEM, USUAL_DISPLAY_PREFETCH = 16 * MIB, 256 * MIB
USUAL_ROM = 64 * KIB
STD_BARS, PAGE_BYTES = 6, 4 * KIB
LEAST = 16  # bytes a register of memory decodes

_SIZE = re.compile(r"(?:Memory|I/O ports) at ([0-9a-f]{1,16})\b.*\[size=(\d{1,4})([KMG]?)\]")
_UNIT = {"": 1, "K": KIB, "M": MIB, "G": 1 << 30}


def told_sizes(text: str) -> dict[int, int]:
    """Size by address of all regions an lspci -v text names."""
    found = (_SIZE.search(line) for line in text.splitlines())
    return {int(match[1], 16): int(match[2]) * _UNIT[match[3]] for match in found if match and int(match[1], 16)}


def addresses_of(function: PciFunctionSpec) -> list[int]:
    """The addresses in a captured function's registers, without the bit that says ports."""
    return [address for _, _, address, _ in _registers(ConfigSpace(function.raw)) if address]


def with_sizes(
    function: PciFunctionSpec, logged: PciFunctionSpec | None, told: Mapping[int, int], taken: Sequence[int] = ()
) -> PciFunctionSpec:
    """``function`` with a size for each register that holds an address; ``taken`` are all addresses, in order.

    A size that nobody tells does not reach the next address in use.
    """
    space = ConfigSpace(function.raw)
    known = {bar.index: bar.size for bar in logged.bars} if logged else {}
    bars = list[BarSpec]()
    for index, low, address, wide in _registers(space):
        if address:
            kind = "io" if low & 1 else "mem64" if wide else "mem32"
            size = known.get(index) or told.get(address) or _apart(_usual(space, low), address, taken)
            bars.append(BarSpec(index, kind, _fitting(size, address), bool(low & 8) and not low & 1))  # type: ignore[arg-type]
    rom = (logged.rom_size if logged else 0) or _rom(space)
    told_virtual = (one.virtual for one in (function, logged) if one and one.virtual and one.virtual.bars)
    virtual = next(told_virtual, None) or _virtual(space)
    return msgspec.structs.replace(function, bars=bars, rom_size=rom, virtual=virtual)


def _virtual(space: ConfigSpace) -> VirtualFunctions | None:
    """The virtual functions a capability tells of, with usual sizes, as registers at rest do not show them."""
    at = next((at for number, at in space.ext_capabilities() if number == EXT_ID[SRIOV.name]), None)
    total = space.get(SRIOV, "total_vfs", at) if at is not None else 0
    if at is None or not total:
        return None
    bars, index = list[BarSpec](), 0
    while index < STD_BARS:
        low = space.get(SRIOV, f"bar{index}", at)
        wide = low & 7 == 4 and index + 1 < STD_BARS
        high = space.get(SRIOV, f"bar{index + 1}", at) if wide else 0
        address = (high << 32 | low) & ~15
        if address or wide:
            size = max(_fitting(USUAL_MEM, address), PAGE_BYTES) if address else USUAL_MEM
            bars.append(BarSpec(index, "mem64" if wide else "mem32", size, bool(low & 8)))
        index += 2 if wide else 1
    return VirtualFunctions(total, bars)


def _registers(space: ConfigSpace) -> Iterator[tuple[int, int, int, bool]]:
    """(index, low four bytes, address, whether it takes two registers) of each base address register."""
    index, count = 0, 2 if space.is_bridge else 1 if space.is_cardbus else 6
    while index < count:
        low = space.read(0x10 + 4 * index, 4)
        wide = low & 7 == 4 and index + 1 < count
        high = space.read(0x14 + 4 * index, 4) if wide else 0
        yield index, low, (high << 32 | low) & (~3 if low & 1 else ~15), wide
        index += 2 if wide else 1


def _apart(size: int, address: int, taken: Sequence[int]) -> int:
    after = bisect_right(taken, address)
    return min(size, max(taken[after] - address, LEAST)) if after < len(taken) else size


def _usual(space: ConfigSpace, low: int) -> int:
    display = space.read(0x0B, 1) == DISPLAY
    if low & 1:
        return USUAL_IO
    if low & 8:
        return USUAL_DISPLAY_PREFETCH if display else USUAL_PREFETCH
    return USUAL_DISPLAY_MEM if display else USUAL_MEM


def _fitting(size: int, address: int) -> int:
    return min(1 << (size.bit_length() - 1), address & -address)


def _rom(space: ConfigSpace) -> int:
    if space.is_cardbus:
        return 0
    address = space.read(0x38 if space.is_bridge else 0x30, 4)
    base = address & ~0x7FF
    return min(USUAL_ROM, base & -base) if base else 0
