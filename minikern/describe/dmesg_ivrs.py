"""AMD's IOMMUs of a boot log: an IVRS table that has each translate the functions that came into groups.

Source: drivers/iommu/amd/init.c @ v6.12; AMD I/O Virtualization Technology (IOMMU) Specification 3.07, 5.2
"""

from __future__ import annotations

import re
import struct

from hw.pci.spec import Address, HostBridgeSpec, PciFunctionSpec, PciSpec
from hw.spec import MAX_CPUS
from minikern.describe.dmesg_log import Log

VENDOR, CLASS_IOMMU = "1022", 0x080600
IVHD, IVHD_EXTENDED, IVHD_BYTES = 0x10, 0x11, 24
XTSUP = 1 << 2  # interrupts with 32-bit destinations
SELECT, RANGE_START, RANGE_END = 2, 3, 4
DEFAULT_CAP = 0x40
XAPIC_CPUS = 255  # more can only be reached in x2APIC mode
REGISTERS, REGISTER_BYTES = 0xFD00_0000, 0x8_0000  # no line tells where they are
HEADER_REST = 12  # between the table's header and the first block

_CAP = re.compile(r"^pci (\S+): AMD-Vi: Found IOMMU (?:cap|at \S+ cap) 0x([0-9a-f]{1,2})")


def ivrs_body(log: Log, pci: PciSpec, groups: dict[Address, int]) -> bytes:
    """What follows the table's header; empty if the log has no such IOMMU or no groups.

    The blocks stand in the order in which the IOMMUs' functions came into groups.
    """
    iommus = [
        one for one in pci.functions if one.id.startswith(f"{VENDOR}:") and one.class_code == CLASS_IOMMU
    ]
    if not iommus or not groups:
        return b""
    caps = {match[1]: int(match[2], 16) for match in log.all(_CAP)}
    turn = {_root_of(pci.host_bridges, at): number for number, at in reversed(list(enumerate(groups)))}
    iommus.sort(key=lambda one: turn.get(_root_of(pci.host_bridges, one.address()), len(groups)))
    features = features_of(log)
    blocks = [
        _block(one, number, caps.get(one.bdf, DEFAULT_CAP), features, _entries(pci, one, groups))
        for number, one in enumerate(iommus)
    ]
    log.read.append(f"{len(iommus)} IOMMUs and the functions each translates")
    return bytes(HEADER_REST) + b"".join(blocks)


def _root_of(roots: list[HostBridgeSpec], at: Address) -> int:
    """Position of the host bridge that leads to a function; -1 if none does."""
    fitting = (
        number
        for number, root in enumerate(roots)
        if root.segment == at.segment and root.first_bus <= at.bus <= root.last_bus
    )
    return next(fitting, -1)


def _entries(pci: PciSpec, iommu: PciFunctionSpec, groups: dict[Address, int]) -> bytes:
    """Ranges of device ids that hold all functions of its root bus that are in groups, and no other."""
    root = _root_of(pci.host_bridges, iommu.address())
    runs: list[list[int]] = []
    before = False
    for function in sorted(pci.functions, key=PciFunctionSpec.address):
        at = function.address()
        if _root_of(pci.host_bridges, at) != root:
            continue
        if at in groups:
            devid = at.bus << 8 | at.devfn
            if not before:
                runs.append([])
            runs[-1].append(devid)
        before = at in groups
    return b"".join(_entry(run[0], run[-1]) for run in runs)


def _entry(first: int, last: int) -> bytes:
    if first == last:
        return struct.pack("<BHB", SELECT, first, 0)
    return struct.pack("<BHBBHB", RANGE_START, first, 0, RANGE_END, last, 0)


def features_of(log: Log) -> tuple[int, int]:
    """The extended features, with x2APIC mode as the log says it is used; zeros: none that is known."""
    told = log.first(r"^AMD-Vi: Using global IVHD EFR:0x([0-9a-f]{1,16}), EFR2:0x([0-9a-f]{1,16})")
    if told is None or not int(told[1], 16):
        told = log.first(r"^AMD-Vi: Extended features \((?:0x)?([0-9a-f]{1,16})(?:, (?:0x)?([0-9a-f]{1,16}))?\b")
        if told is not None and log.first(r"^AMD-Vi: Using global IVHD EFR:0x0,") is not None:
            told = None  # the table does not have them
    features = (int(told[1], 16), int(told[2] or "0", 16)) if told else (0, 0)
    return (features[0] | XTSUP if _x2apic(log) else features[0] & ~XTSUP, features[1])


def _x2apic(log: Log) -> bool:
    # More processors than an 8-bit destination tells apart were reached through the IOMMUs, whatever else is told.
    online = log.number(r"^smp: Brought up \d+ nodes?, (\d+) CPUs", MAX_CPUS) or 0
    if online > XAPIC_CPUS:
        return True
    used = r"^(?:AMD-Vi: X2APIC enabled|APIC: Switched APIC routing to: .*x2apic|Switched APIC .*x2apic)"
    return log.first(used) is not None


def remapping_only(log: Log) -> bytes:
    """A body for a log that tells of no IOMMU's function, but that interrupts went through one; else empty."""
    if not _x2apic(log):
        return b""
    fixed = (IVHD_EXTENDED, 0, IVHD_BYTES + 16, 2, DEFAULT_CAP, REGISTERS, 0, 0, 0, XTSUP, 0)
    return bytes(HEADER_REST) + struct.pack("<BBHHHQHHIQQ", *fixed)


def _block(iommu: PciFunctionSpec, number: int, cap: int, features: tuple[int, int], entries: bytes) -> bytes:
    at = iommu.address()
    base = REGISTERS + number * REGISTER_BYTES
    rest = struct.pack("<QQ", *features) if any(features) else b""
    kind, size = (IVHD_EXTENDED if rest else IVHD), IVHD_BYTES + len(rest) + len(entries)
    fixed = (kind, 0, size, at.bus << 8 | at.devfn, cap, base, at.segment, 0, 0)
    return struct.pack("<BBHHHQHHI", *fixed) + rest + entries
