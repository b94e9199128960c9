"""What a boot log says of the memory map: the firmware's ranges, and what loader and kernel told of them."""

from __future__ import annotations

import re

from hw.errors import InputError
from hw.spec import MAX_E820, BootSpec, MemoryRange, SetupData
from minikern.describe.acpidump import logged_tables
from minikern.describe.dmesg_cut_words import lost_console_words, with_lost_words
from minikern.describe.dmesg_log import RANGE, Log

E820_TYPES = {
    "usable": 1,
    "System RAM": 1,
    "device reserved": 2,
    "reserved": 2,
    "ACPI data": 3,
    "ACPI NVS": 4,
    "unusable": 5,
    "persistent (type 7)": 7,
    "persistent (type 12)": 12,
    "persistent RAM (type 7)": 7,
    "persistent RAM (type 12)": 12,
    "soft reserved": 0xEFFFFFFF,
}  # Source: arch/x86/kernel/e820.c:e820_print_type() @ v6.12, v7.2
COMMAND_LINE_SIZE = 2048  # Source: arch/x86/include/asm/setup.h
SETUP_PCI, SETUP_EFI = 3, 4  # Source: arch/x86/include/uapi/asm/setup_data.h
SETUP_DATA_HEADER = 16
MIB = 1 << 20
ACPI_DATA = 3
MAX_ADDRESS = 1 << 52
MAX_EFI_KEPT = 64
UNACCEPTED_UNIT_BYTES, UNACCEPTED_HEAD_BYTES = 2 << 20, 24  # Source: include/linux/efi.h @ v6.5
EFI_BOOT_SERVICES_DATA = 4  # Source: UEFI 2.10 clause 7.2

_MAP = re.compile(rf"^\s?(?:BIOS-(?:e820|e801|88)|Xen): {RANGE} (.+)$")
_OLD_MAP = re.compile(r"^\s?BIOS-e820: ([0-9a-f]{16}) - ([0-9a-f]{16}) \(([^)]+)\)$")  # before 3.5; end exclusive
_EXTENDED = re.compile(rf"^\s?reserve setup_data: {RANGE} (.+)$")
_SETUP_UPDATE = re.compile(rf"^e820: update {RANGE} usable ==> usable$")
_NODE = re.compile(rf"^\s*node\s+\d+: {RANGE}$")
_KEPT = re.compile(rf"^e820: update {RANGE} (?:usable ==> reserved|System RAM ==> device reserved)$")
_EFI_MMIO = re.compile(r"^efi: (?:Remove|Not removing) mem\d+: MMIO range=\[0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]")
_UNACCEPTED = re.compile(r"^efi:.* Unaccepted=0x([0-9a-f]{1,13})\b")
_FAKED = re.compile(r"^Faking node +\d+ at \[mem 0x")
_RAMDISK = re.compile(rf"^RAMDISK: {RANGE}")


def e820(log: Log) -> list[MemoryRange]:
    """The firmware's map, else the ranges of the nodes. InputError: neither has usable memory."""
    rows: list[MemoryRange] = []
    dropped = 0
    for line in log.lines:
        if match := _MAP.match(line):
            start, end = int(match[1], 16), int(match[2], 16) + 1
        elif match := _OLD_MAP.match(line):
            start, end = int(match[1], 16), int(match[2], 16)
        else:
            continue
        kind = _type_number(match[3])
        if kind is None or start >= end or end > MAX_ADDRESS or len(rows) == MAX_E820:
            dropped += 1
            continue
        rows.append(MemoryRange(start, end, kind))
    if not rows and not dropped:
        rows = _node_ranges(log)
    elif rows and not dropped and not log.lines[0].startswith("Linux version "):
        rows = _without_head(log, rows)
    if not any(entry.type == 1 for entry in rows):
        raise InputError(f"{log.where}: no usable memory in its {len(rows)} BIOS-e820 lines: expected at least one")
    log.read.append(f"{len(rows)} ranges of the firmware's memory map")
    if dropped:
        log.assumed.append(f"{dropped} damaged BIOS-e820 lines left out")
    return rows


def _node_ranges(log: Log) -> list[MemoryRange]:
    # What is left of the map in a log without its beginning.
    log.assumed.append("the memory map after the 'Early memory node ranges' lines")
    return _usable_by_node(log)


def _usable_by_node(log: Log) -> list[MemoryRange]:
    pairs = sorted({(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(_NODE)})
    rows: list[MemoryRange] = []
    for start, end in pairs[:MAX_E820]:
        if (rows[-1].end if rows else 0) <= start < end <= MAX_ADDRESS:
            rows.append(MemoryRange(start, end, 1))
    return rows


def _without_head(log: Log, rows: list[MemoryRange]) -> list[MemoryRange]:
    """The map with what its lost beginning held: memory of the nodes, and pages with ACPI tables.

    InputError: nothing else in the log tells of it.
    """
    first = min(entry.start for entry in rows)
    if first < MIB:
        return rows
    lost = f"the log's start is lost inside the memory map, whose first entry is at {first:#x}"
    low = [entry for entry in _usable_by_node(log) if entry.end <= first]
    if not low:
        raise InputError(f"{log.where}: {lost}: expected one at 0, or 'Early memory node ranges' lines")
    log.assumed.append(f"memory below it after the 'Early memory node ranges' lines, as {lost}")
    return [*low, *_table_pages(log, low, first), *rows]


def _table_pages(log: Log, low: list[MemoryRange], top: int) -> list[MemoryRange]:
    pages = sorted(
        (table.address >> 12 << 12, -(-(table.address + table.length) >> 12) << 12)
        for table in logged_tables("\n".join(log.lines))
        if table.address >= MIB and table.address + table.length <= top
    )
    joined: list[MemoryRange] = []
    for start, end in pages:
        if any(entry.start < end and start < entry.end for entry in low):
            continue
        if joined and start <= joined[-1].end:
            joined[-1] = MemoryRange(joined[-1].start, max(end, joined[-1].end), ACPI_DATA)
        else:
            joined.append(MemoryRange(start, end, ACPI_DATA))
    return joined


def _type_number(text: str) -> int | None:
    text = text.strip()
    if text in E820_TYPES:
        return E820_TYPES[text]
    found = re.fullmatch(r"(?:type |persistent (?:RAM )?\(type )(\d{1,9})\)?", text)
    return int(found[1]) if found else None


def command_line(log: Log) -> str:
    found = log.first(r"^Command line: (.*)$") or log.first(r"^Kernel command line: (.*)$")
    if found is None:
        log.assumed.append("an empty command line")
        return _with_lost_words(log, "")
    text = _with_lost_words(log, found[1].strip())
    fitting = text.encode()[: COMMAND_LINE_SIZE - 256].decode("utf-8", "ignore")
    log.read.append("the command line")
    if fitting != text:
        log.assumed.append("the end of the command line cut off")
    return fitting


def _with_lost_words(log: Log, text: str) -> str:
    if lost := lost_console_words(log, text):
        text = with_lost_words(text, lost)
        log.assumed.append(f"the words {' '.join(lost)}: the log shows the consoles, its command line is cut")
    # Emulated nodes have only one cause. Source: mm/numa_emulation.c:numa_emulation() @ v6.12
    faked = len(log.all(_FAKED))
    if not faked or "numa=fake=" in text:
        return text
    log.assumed.append(f"numa=fake={faked}, as the log tells of faked nodes and its command line does not")
    return f"{text} numa=fake={faked}".strip()


def boot(log: Log, ranges: list[MemoryRange]) -> BootSpec:
    """What the loader handed over: initial RAM disk, setup_data, EFI's device ranges."""
    boot = BootSpec(type_of_loader=0xB0, efi=log.first(r"^efi: EFI v") is not None)
    ramdisk = next(iter(log.all(_RAMDISK)), None)
    if ramdisk:
        start, end = int(ramdisk[1], 16), int(ramdisk[2], 16) + 1
        if 0 < start < end <= MAX_ADDRESS:
            boot.ramdisk_address, boot.ramdisk_bytes = start, end - start
            log.read.append("the place of the initial RAM disk")
    mmio = [(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(_EFI_MMIO)[:MAX_E820]]
    boot.efi_mmio = [MemoryRange(start, end, 2) for start, end in mmio if start < end <= MAX_ADDRESS]
    if boot.efi_mmio:
        log.read.append(f"{len(boot.efi_mmio)} MMIO ranges of the EFI memory map")
    if boot.efi:
        _efi_kept(log, boot)
        _unaccepted(log, boot, ranges)
    boot.setup_data = _setup_data(log, ranges)
    if boot.setup_data:
        log.read.append(f"{len(boot.setup_data)} setup_data ranges")
    return boot


def _unaccepted(log: Log, boot: BootSpec, ranges: list[MemoryRange]) -> None:
    # A bit for each 2 MiB from the first to the last unaccepted range; the log gives the table's place alone.
    found = next((match for line in log.lines if (match := _UNACCEPTED.match(line))), None)
    if found is None:
        return
    boot.efi_unaccepted = int(found[1], 16)
    page = boot.efi_unaccepted >> 12
    shown = [int(match[2], 16) + 1 for match in log.all(_NODE) if int(match[1], 16) >> 12 == page]
    covered = max(entry.end for entry in ranges if entry.type == 1)
    bitmap = -(-covered // UNACCEPTED_UNIT_BYTES // 8)
    boot.efi_unaccepted_bytes = shown[0] - boot.efi_unaccepted if shown else UNACCEPTED_HEAD_BYTES + bitmap
    log.read.append("the place of the table of unaccepted memory")


def _efi_kept(log: Log, boot: BootSpec) -> None:
    """Firmware tables the kernel kept: gone from its map after the last_pfn lines, and once more with ACPI's tables."""
    last_pfn, acpi = log.places(r"^(?:e820: )?last_pfn = "), log.places(r"^(?:ACPI: RSDP |Zone ranges:)")
    if not last_pfn or not acpi or acpi[0] < last_pfn[-1]:
        return
    for first, last, kept in ((last_pfn[-1], acpi[0], boot.efi_tables), (acpi[0], len(log.lines), boot.efi_images)):
        for line in log.lines[first:last]:
            match = _KEPT.match(line)
            if match and int(match[1], 16) < int(match[2], 16) < MAX_ADDRESS and len(kept) < MAX_EFI_KEPT:
                kept.append(MemoryRange(int(match[1], 16), int(match[2], 16) + 1, 2))
    # Firmware leaves them in memory of its boot services, of which the log shows no more than these pages.
    boot.boot_services = [
        MemoryRange(item.start, item.end, EFI_BOOT_SERVICES_DATA) for item in (*boot.efi_tables, *boot.efi_images)
    ]
    if boot.efi_tables or boot.efi_images:
        log.read.append(f"{len(boot.efi_tables) + len(boot.efi_images)} places of EFI tables the kernel kept")


def _setup_data(log: Log, ranges: list[MemoryRange]) -> list[SetupData]:
    pieces = [(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(_SETUP_UPDATE)]
    if not pieces:
        pieces = _split_pieces(log, ranges)
    found: dict[int, SetupData] = {}
    for start, end in pieces[:64]:
        if SETUP_DATA_HEADER <= end - start <= MIB and start > 0 and end <= MAX_ADDRESS:
            # Only what is kept from a later kexec'd kernel too is logged a second time; EFI's own data is not.
            kind = SETUP_PCI if pieces.count((start, end)) > 1 else SETUP_EFI
            found.setdefault(start, SetupData(start, kind, end - start - SETUP_DATA_HEADER))
    return list(found.values())


def _split_pieces(log: Log, ranges: list[MemoryRange]) -> list[tuple[int, int]]:
    # A log without debug lines still shows the map again, its usable ranges cut up; of the alternating pieces of one
    # range the smaller ones are setup_data.
    pieces = [(int(m[1], 16), int(m[2], 16) + 1) for m in log.all(_EXTENDED) if m[3].strip() == "usable"]
    small: list[tuple[int, int]] = []
    for entry in ranges:
        inside = [piece for piece in pieces if entry.type == 1 and entry.start <= piece[0] and piece[1] <= entry.end]
        if len(inside) > 1:
            small += min(inside[0::2], inside[1::2], key=lambda half: sum(end - start for start, end in half))
    return small
