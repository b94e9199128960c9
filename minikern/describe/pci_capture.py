"""From a folder captured on a running machine to its PCI description.

The folder holds ``pci/config/*.bin`` (or ``pci/lspci-xxxx.txt``), ``pci/resources.txt`` with start, end and flags
of every resource as sysfs prints them, and ACPI tables as ``acpi/*.dat``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hw.errors import InputError
from hw.files import read_input, read_text_input
from hw.pci.build import interrupt_routing
from hw.pci.config import EXT_ID, PCIE, SRIOV, TYPE1, ConfigSpace
from hw.pci.lspci import parse_lspci
from hw.pci.spec import (
    Address,
    BarSpec,
    DeviceScope,
    DrhdSpec,
    EcamSpec,
    HostBridgeSpec,
    PciFunctionSpec,
    PciSpec,
    VirtualFunctions,
    parse_address,
)
from minikern.describe.cards import without_cards
from minikern.describe.vmd import domains_of_vmd

IORESOURCE_IO, IORESOURCE_MEM = 0x100, 0x200
IORESOURCE_ROM_SHADOW = 0x2  # Source: include/linux/ioport.h @ v6.12
IORESOURCE_PCI_FIXED = 0x10
ROM_RESOURCE, IOV_RESOURCE, WINDOW_RESOURCE = 6, 7, 13
PAGE_BYTES = 4096
HOTPLUG_IO_BYTES = 256  # Source: drivers/pci/pci.c:DEFAULT_HOTPLUG_IO_SIZE @ v6.12
IO_GRANULE = 0x1000
FIRST_PORT = 0x1000  # Source: arch/x86/include/asm/pci.h:PCIBIOS_MIN_IO @ v6.12
MAX_ROM = 1 << 24
MAX_TABLE = 1 << 20

_UNIT_REGISTERS = re.compile(
    r"^DMAR: dmar\d{1,4}: reg_base_addr ([0-9a-f]{1,16}) ver ([0-9a-f]):([0-9a-f]) cap ([0-9a-f]{1,16})"
    r" ecap ([0-9a-f]{1,16})$",
    re.MULTILINE,
)

Resources = list[tuple[int, int, int]]
"""(start, end inclusive, flags) by resource index."""


def pci_from_capture(folder: Path, log: str = "") -> PciSpec:
    """The PciSpec of a captured machine; no functions if the folder has none. InputError names the file at fault.

    ``log``: the folder's boot log without time stamps, for the remapping units' registers, which no file holds.
    """
    configs = _read_configs(folder / "pci")
    resources = _read_resources(folder / "pci" / "resources.txt")
    taken = [(start, end) for rows in resources.values() for start, end, flags in rows if flags]
    functions = {}
    for address, config in configs.items():
        rows = resources.get(address, [])
        space = ConfigSpace(config)
        bars = _bars(space, rows)
        rom = _rom_size(space, rows, taken)
        virtual = virtual_functions(space, rows)
        functions[address] = PciFunctionSpec(str(address), bars=bars, rom_size=rom, raw=bytes(config), virtual=virtual)
    _undo_hotplug_windows(functions, resources)
    kept, _ = without_cards(functions.values())
    functions = {one.address(): one for one in kept}
    base, start, end = _ecam(folder / "acpi" / "MCFG.dat")
    width, drhd = _drhd(folder / "acpi" / "DMAR.dat", log)
    spec = PciSpec(
        ecam_base=base,
        ecam_start_bus=start,
        ecam_end_bus=end,
        segments=_other_segments(folder / "acpi" / "MCFG.dat"),
        host_bridges=_host_bridges(functions),
        functions=list(functions.values()),
        drhd=drhd,
        dmar_address_width=width,
    )
    domains_of_vmd(spec)
    return spec


def restore_interrupt_links(spec: PciSpec) -> None:
    """Give the PCI interrupt links back what firmware had set before the captured kernel disabled them.

    Bit 7 of a PIRQ routing register of an Intel ISA bridge disables the link; the kernel sets it while it scans.
    Source: Intel ICH9 datasheet 13.1.14 (PIRQ[A-D]_ROUT 60h, PIRQ[E-H]_ROUT 68h), PIIX3 datasheet (60h)
    """
    for index, function in enumerate(spec.functions):
        space = ConfigSpace(function.raw)
        raw = bytearray(function.raw)
        for at in (register + link for register in interrupt_routing(space) for link in range(4)):
            raw[at] &= 0x7F
        spec.functions[index] = msgspec.structs.replace(function, raw=bytes(raw))


def _read_configs(folder: Path) -> dict[Address, bytes]:
    configs: dict[Address, bytes] = {}
    for path in sorted((folder / "config").glob("*.bin")):
        data = read_input(path)
        if len(data) not in (64, 256, 4096):
            raise InputError(f"{path}: {len(data)} bytes: expected 64, 256 or 4096 of configuration space")
        configs[parse_address(path.stem, str(path))] = data
    dump = folder / "lspci-xxxx.txt"
    if not configs and dump.is_file():
        devices = parse_lspci(read_text_input(dump), str(dump))
        configs = {device.address: device.config for device in devices}
    return {address: configs[address] for address in sorted(configs) if len(configs[address]) >= 64}


def _read_resources(path: Path) -> dict[Address, Resources]:
    if not path.is_file():
        return {}
    found: dict[Address, Resources] = {}
    rows: Resources | None = None
    for number, line in enumerate(read_text_input(path).splitlines(), 1):
        words = line.split()
        if line.startswith("== ") and len(words) == 2:
            rows = found.setdefault(parse_address(words[1], f"{path}:{number}"), [])
        elif words:
            try:
                start, end, flags = (int(word, 16) for word in words)
            except ValueError:
                raise InputError(f"{path}:{number}: {line!r}: expected start, end and flags in hexadecimal") from None
            if rows is None:
                raise InputError(f"{path}:{number}: resource before any '== ADDRESS' line")
            rows.append((start, end, flags))
    return found


def _bars(space: ConfigSpace, rows: Resources) -> list[BarSpec]:
    bars: list[BarSpec] = []
    index, count = 0, 2 if space.is_bridge else 1 if space.is_cardbus else 6
    while index < count:
        low = space.read(0x10 + 4 * index, 4)
        start, end, flags = rows[index] if index < len(rows) else (0, 0, 0)
        wide = low & 7 == 4 and index + 1 < count
        size = end - start + 1
        fits = size & (size - 1) == 0 and size >= 4
        if flags & (IORESOURCE_IO | IORESOURCE_MEM) and not flags & IORESOURCE_PCI_FIXED and fits:
            kind = "io" if low & 1 else "mem64" if wide else "mem32"
            bars.append(BarSpec(index, kind, size, bool(low & 8) and not low & 1))  # type: ignore[arg-type]
        index += 2 if wide else 1
    return bars


def virtual_functions(space: ConfigSpace, rows: Resources) -> VirtualFunctions | None:
    """What one virtual function decodes, from the room the running kernel kept for all of them; None if there are none.

    Rows 7 to 12 are that room, of as many shares as the capability says.
    """
    at = next((at for number, at in space.ext_capabilities() if number == EXT_ID[SRIOV.name]), None)
    total = space.get(SRIOV, "total_vfs", at) if at is not None else 0
    if at is None or not total:
        return None
    bars = []
    for index, (start, end, flags) in enumerate(rows[IOV_RESOURCE:WINDOW_RESOURCE]):
        size = (end - start + 1) // total
        low = space.read(at + SRIOV["bar0"].offset + 4 * index, 4)
        if flags & IORESOURCE_MEM and size >= PAGE_BYTES and size & (size - 1) == 0:
            bars.append(BarSpec(index, "mem64" if low & 7 == 4 else "mem32", size, bool(low & 8)))
    return VirtualFunctions(total, bars)


def _rom_size(space: ConfigSpace, rows: Resources, taken: list[tuple[int, int]]) -> int:
    if len(rows) <= ROM_RESOURCE or not rows[ROM_RESOURCE][2] & IORESOURCE_MEM:
        return 0
    start, end, flags = rows[ROM_RESOURCE]
    if not flags & IORESOURCE_ROM_SHADOW:
        return end - start + 1
    # The kernel shows its own copy in place of a boot display's ROM: what is left is the address in the register.
    # The ROM is as large as its alignment and the next range in use allow.
    address = space.read(0x38 if space.is_bridge else 0x30, 4) & 0xFFFF_F800
    if not address:
        return 0
    size = min(address & -address, MAX_ROM)
    beyond = min((low for low, _ in taken if low > address), default=address + size)
    while size > beyond - address:
        size >>= 1
    return size


def _undo_hotplug_windows(functions: dict[Address, PciFunctionSpec], resources: dict[Address, Resources]) -> None:
    """Close again the I/O windows the running kernel had opened for hot-plug.

    A kernel gives a hot-plug bridge that came without an I/O window a small one, and opens the bridges above it as
    wide as that needs. Such a window holds no I/O BAR, has exactly the size the kernel's rule gives, and is the first
    place above the legacy ports that was free. Source: drivers/pci/setup-bus.c:pbus_size_io() @ v6.12
    """
    spaces = {address: ConfigSpace(function.raw) for address, function in functions.items()}
    bridges = {at: space for at, space in spaces.items() if space.is_bridge}
    ports = [
        rows[bar.index]
        for at, rows in resources.items()
        if at in functions
        for bar in functions[at].bars
        if bar.type == "io" and bar.index < len(rows)
    ]
    taken = [(start, end) for start, end, _ in ports]
    windows = []
    for at in bridges:
        rows = resources.get(at, [])
        if len(rows) > WINDOW_RESOURCE and rows[WINDOW_RESOURCE][2] & IORESOURCE_IO:
            windows.append((rows[WINDOW_RESOURCE][0], rows[WINDOW_RESOURCE][1], at))
    for start, end, at in sorted(windows):
        size = end - start + 1
        inside = any(start <= low <= end for low, _, _ in ports)
        if size == _hotplug_io_bytes(bridges, at) and not inside and _first_free(taken, size, start):
            space = bridges[at]
            kind = space.get(TYPE1, "io_base") & 0x0F
            space.set(TYPE1, "io_base", 0xF0 | kind)
            space.set(TYPE1, "io_limit", kind)
            space.set(TYPE1, "io_base_upper", 0)
            space.set(TYPE1, "io_limit_upper", 0)
            functions[at].raw = bytes(space.data)
        taken.append((start, end))


def _first_free(taken: list[tuple[int, int]], size: int, start: int) -> bool:
    """No place of that size below ``start`` was free."""
    return all(
        any(low < place + size and place <= high for low, high in taken)
        for place in range(FIRST_PORT, start, IO_GRANULE)
    )


def _hotplug_io_bytes(bridges: dict[Address, ConfigSpace], at: Address) -> int:
    """I/O window a kernel gives a bridge with no I/O BAR below, only for hot-plug; 0 if it gives none."""
    secondary = bridges[at].data[0x19]  # above the bridge's own bus, or nothing is behind it
    below = [other for other in bridges if (other.segment, other.bus) == (at.segment, secondary) and secondary > at.bus]
    wanted = sum(_hotplug_io_bytes(bridges, other) for other in below)
    wanted += HOTPLUG_IO_BYTES if _is_hotplug(bridges[at]) else 0
    return -(-wanted // IO_GRANULE) * IO_GRANULE


def _is_hotplug(space: ConfigSpace) -> bool:
    for number, at in space.capabilities():
        if number == 0x10:
            return bool(space.get(PCIE, "flags", at) & 0x100 and space.get(PCIE, "slot_cap", at) & 0x40)
    return False


def host_bridges_of(pci: PciSpec) -> list[HostBridgeSpec]:
    """A host bridge for each bus with functions that no bridge leads to."""
    return _host_bridges({one.address(): one for one in pci.functions})


def _secondary(function: PciFunctionSpec) -> int:
    """The bus behind a function, 0 if there is none."""
    if not function.raw:
        return function.secondary or 0
    return function.raw[0x19] if function.raw[0x0E] & 0x7F == 1 else 0


def _host_bridges(functions: dict[Address, PciFunctionSpec]) -> list[HostBridgeSpec]:
    """Root buses: those with functions that are no bridge's secondary bus."""
    behind = {(at.segment, bus) for at, function in functions.items() if (bus := _secondary(function))}
    roots = sorted({(at.segment, at.bus) for at in functions} - behind)
    ends = [roots[i + 1][1] - 1 if roots[i + 1 : i + 2] and roots[i + 1][0] == segment else 0xFF
            for i, (segment, _) in enumerate(roots)]
    return [
        HostBridgeSpec(first_bus=bus, last_bus=last, segment=segment, name=_root_name(index), uid=index)
        for index, ((segment, bus), last) in enumerate(zip(roots, ends, strict=True))
    ]


def _root_name(index: int) -> str:
    return f"PCI{index}" if index < 10 else f"R{index:03X}"


def _table(path: Path) -> bytes:
    if not path.is_file():
        return b""
    data = read_input(path)
    if not 36 <= len(data) <= MAX_TABLE:
        raise InputError(f"{path}: {len(data)} bytes: expected an ACPI table (36 bytes to 1 MiB)")
    return data


def _ecam(path: Path) -> tuple[int | None, int, int]:
    data = _table(path)
    for at in range(44, len(data) - 15, 16):
        segment = int.from_bytes(data[at + 8 : at + 10], "little")
        if segment == 0 and data[at + 10] <= data[at + 11]:
            return int.from_bytes(data[at : at + 8], "little"), data[at + 10], data[at + 11]
    return None, 0, 0xFF


def _other_segments(path: Path) -> list[EcamSpec]:
    data = _table(path)
    found = []
    for at in range(44, len(data) - 15, 16):
        base, segment = (int.from_bytes(data[at + low : at + high], "little") for low, high in ((0, 8), (8, 10)))
        if segment and base and data[at + 10] <= data[at + 11]:
            found.append(EcamSpec(segment, base, data[at + 10], data[at + 11]))
    return found


def _drhd(path: Path, log: str) -> tuple[int, list[DrhdSpec]]:
    data = _table(path)
    logged = {int(base, 16): found for base, *found in _UNIT_REGISTERS.findall(log)}
    found: list[DrhdSpec] = []
    at = 48
    while at + 16 <= len(data):
        kind, length = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        if length < 4:
            break
        if kind == 0 and length >= 16:
            found.append(
                _with_registers(
                    logged,
                    base=int.from_bytes(data[at + 8 : at + 16], "little"),
                    segment=int.from_bytes(data[at + 6 : at + 8], "little"),
                    include_all=bool(data[at + 4] & 1),
                    scopes=_scopes(data[at + 16 : at + length]),
                )
            )
        at += length
    return data[36] + 1 if data else 46, found


def _with_registers(logged: Mapping[int, list[str]], **known: Any) -> DrhdSpec:
    unit = DrhdSpec(**known)
    if unit.base in logged:
        major, minor, cap, ecap = (int(word, 16) for word in logged[unit.base])
        unit.version, unit.cap, unit.ecap = major << 4 | minor, cap, ecap
    return unit


def _scopes(data: bytes) -> list[DeviceScope]:
    scopes: list[DeviceScope] = []
    at = 0
    while at + 6 <= len(data) and data[at + 1] >= 6:
        end = at + data[at + 1]
        path = [(data[i], data[i + 1]) for i in range(at + 6, min(end, len(data)) - 1, 2)]
        if 1 <= data[at] <= 5:
            scopes.append(DeviceScope(data[at], data[at + 5], path, data[at + 4]))
        at = end
    return scopes
