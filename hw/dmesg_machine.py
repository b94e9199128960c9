"""A bare boot log becomes a MachineSpec.

The log gives the firmware's memory map, command line, processors, memory affinity, and places and lengths of the ACPI
tables; the nearest preset gives the rest. ``MachineSpec.notes`` says what was read and what was assumed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hw.acpi.dsdt import Described, build_dsdt
from hw.cpu_features import FEATURES
from hw.cpuid import DEFAULT_FEATURES, CpuDescription, build_cpuid
from hw.dmesg_tables import Affinity, Firmware, hardware_facts, spec_from_lines
from hw.dmesg_text import boots, read_log
from hw.errors import InputError
from hw.msr import IA32_MTRR_DEF_TYPE, IA32_MTRR_PHYSBASE0, IA32_MTRRCAP
from hw.spec import (
    MAX_CPUS,
    MAX_E820,
    BootSpec,
    CpuidDump,
    CpuSpec,
    KernelFacts,
    MachineSpec,
    MemoryRange,
    NodeMemory,
    NodeSpec,
    SetupData,
)

E820_TYPES = {
    "usable": 1,
    "reserved": 2,
    "ACPI data": 3,
    "ACPI NVS": 4,
    "unusable": 5,
    "persistent (type 7)": 7,
    "persistent (type 12)": 12,
    "soft reserved": 0xEFFFFFFF,
}  # Source: arch/x86/kernel/e820.c:e820_print_type() @ v6.12
FIRST_SERVER_CPUS = 17  # with more CPUs, or more nodes, the server preset is nearer than the laptop
LA57_MAX_ARCH_PFN = 1 << 40  # 52 physical bits, with five page-table levels
COMMAND_LINE_SIZE = 2048  # Source: arch/x86/include/asm/setup.h
SETUP_EFI = 4  # Source: arch/x86/include/uapi/asm/setup_data.h
SETUP_DATA_HEADER = 16
LOG_CPU_BYTES = 4096  # what a CPU adds to the log buffer; Source: init/Kconfig, LOG_CPU_MAX_BUF_SHIFT
MTRR_ENABLED, MTRR_VALID, MTRR_WRITE_BACK, MAX_MTRRS = 0xC00, 1 << 11, 6, 40
MIB, GIB, FOUR_GIB = 1 << 20, 1 << 30, 1 << 32
MAX_ADDRESS = 1 << 52

_RANGE = r"\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]"
_MAP = re.compile(rf"^\s?BIOS-e820: {_RANGE} (.+)$")
_OLD_MAP = re.compile(r"^\s?BIOS-e820: ([0-9a-f]{16}) - ([0-9a-f]{16}) \(([^)]+)\)$")  # before 3.5; end exclusive
_EXTENDED = re.compile(rf"^\s?reserve setup_data: {_RANGE} (.+)$")
_SETUP_UPDATE = re.compile(rf"^e820: update {_RANGE} usable ==> usable$")
_MTRR_UPDATE = re.compile(rf"^e820: update {_RANGE} usable ==> reserved$")
_SRAT_CPU = re.compile(r"^SRAT: PXM (\d+) -> APIC 0x([0-9a-f]+) -> Node (\d+)")
_SRAT_MEMORY = re.compile(rf"^(?:ACPI: )?SRAT: Node (\d+) PXM (\d+) {_RANGE}(.*)$")
_NODE_RANGE = re.compile(rf"^\s*node\s+(\d+): {_RANGE}$")
_FALLBACK = re.compile(r"^Fallback order for Node (\d+): ([\d ]+)$")
_CPU0 = re.compile(r"^smpboot: CPU0: (.+?) \(family: 0x([0-9a-f]+), model: 0x([0-9a-f]+), stepping: 0x([0-9a-f]+)\)")
_LAPIC = re.compile(r"^ACPI: (?:LAPIC \(acpi_id\[0x\w+\] lapic_id|X2APIC \(apic_id)\[0x(\w+)\].* enabled\)")
_EFI_MMIO = re.compile(r"^efi: (?:Remove|Not removing) mem\d+: MMIO range=\[0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]")
_BRINGUP_NODE = re.compile(r"\.\.\.\. node +#(\d+), CPUs:((?: +#\d+)*)")
_RAMDISK = re.compile(rf"^RAMDISK: {_RANGE}")


@dataclass
class _Log:
    """One boot of a log, with helpers to look lines up and to keep account of what was found."""

    where: str
    lines: list[str]
    read: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def first(self, pattern: str) -> re.Match[str] | None:
        """First line that matches from its beginning."""
        regex = re.compile(pattern)
        return next((match for line in self.lines if (match := regex.match(line))), None)

    def all(self, regex: re.Pattern[str]) -> list[re.Match[str]]:
        """All lines that match from their beginning."""
        return [match for line in self.lines if (match := regex.match(line))]

    def number(self, pattern: str, limit: int) -> int | None:
        """The first group of the first match as a decimal number of at most ``limit``."""
        found = self.first(pattern)
        value = int(found[1]) if found and len(found[1]) < 20 else None
        return value if value is not None and value <= limit else None


def spec_from_dmesg(path: Path, preset: Callable[[str], MachineSpec], which: int = 0) -> MachineSpec:
    """The machine a boot log tells of.

    Of several boots in one file the first one with a memory map is taken, or boot ``which`` (from 1). ``preset`` loads
    a machine by name. InputError: no boot log, damaged, or without a usable memory map.
    """
    found = boots(read_log(path))
    if not found:
        raise InputError(
            f"{path}: no boot log: expected a 'Linux version' line and BIOS-e820 lines after it, and a name ending in"
            " .toml for a machine description"
        )
    if not 0 <= which <= len(found):
        raise InputError(f"{path}: boot {which} of a log with {len(found)}: expected 1 to {len(found)}")
    log = _Log(str(path), found[max(which, 1) - 1])
    if len(found) > 1:
        log.read.append(f"boot {max(which, 1)} of {len(found)} in this file (append :N to the name for another)")
    return _spec(log, path.name, preset)


def _spec(log: _Log, name: str, preset: Callable[[str], MachineSpec]) -> MachineSpec:
    e820 = _e820(log)
    memory, cpu_pxm = _affinity(log)
    cpus = _cpus(log, _bringup_order(log, cpu_pxm))
    nodes = len({area.pxm for area in memory})
    base = preset("lpc2023" if cpus.count >= FIRST_SERVER_CPUS or nodes > 1 else "laptop")
    log.assumed.append(f"unit costs and PCI devices of preset {base.name!r}; contents of ACPI tables beyond the log")
    spec = MachineSpec(
        name=name,
        title=f"made from the boot log {name}",
        cpus=cpus,
        release=base.release,
        append=_command_line(log),
        banner=log.lines[0],
        dmi=[match[0] for match in log.all(re.compile(r"^(?:SMBIOS .* present\.|DMI: .*)$"))],
        e820=e820,
        pci=base.pci,
        costs=base.costs,
        needs=base.needs,
        boot=_boot(log, e820),
        kernel=_kernel_facts(log),
    )
    _place_image(log, spec)
    _place_tables(log, spec, base, Firmware(cpus.apic_ids, cpu_pxm, memory, _distances(log), _hotplug(log)))
    spec.notes = [f"read: {item}" for item in log.read] + [f"assumed: {item}" for item in log.assumed]
    return spec


def _e820(log: _Log) -> list[MemoryRange]:
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
    if not any(entry.type == 1 for entry in rows):
        raise InputError(f"{log.where}: no usable memory in its {len(rows)} BIOS-e820 lines: expected at least one")
    log.read.append(f"{len(rows)} ranges of the firmware's memory map")
    if dropped:
        log.assumed.append(f"{dropped} damaged BIOS-e820 lines left out")
    return rows


def _type_number(text: str) -> int | None:
    text = text.strip()
    if text in E820_TYPES:
        return E820_TYPES[text]
    found = re.fullmatch(r"(?:type |persistent \(type )(\d{1,9})\)?", text)
    return int(found[1]) if found else None


def _command_line(log: _Log) -> str:
    found = log.first(r"^Command line: (.*)$") or log.first(r"^Kernel command line: (.*)$")
    if found is None:
        log.assumed.append("an empty command line")
        return ""
    text = found[1].strip()
    fitting = text.encode()[: COMMAND_LINE_SIZE - 256].decode("utf-8", "ignore")
    log.read.append("the command line")
    if fitting != text:
        log.assumed.append("the end of the command line cut off")
    return fitting


def _affinity(log: _Log) -> tuple[list[Affinity], list[tuple[int, int, bool]]]:
    memory = []
    for match in log.all(_SRAT_MEMORY):
        start, end = int(match[3], 16), int(match[4], 16) + 1
        if start < end <= 1 << 63:
            tail = match[5]
            area = Affinity(int(match[2]) & 0xFFFF_FFFF, start, end - start, "hotplug" in tail, "non-volatile" in tail)
            memory.append(area)
    cpus = []
    for match in log.all(_SRAT_CPU)[:MAX_CPUS]:
        apic_id = int(match[2], 16)
        cpus.append((apic_id & 0xFFFF_FFFF, int(match[1]) & 0xFFFF_FFFF, len(match[2]) > 2))
    if memory or cpus:
        log.read.append(f"{len(memory)} memory and {len(cpus)} processor entries of the SRAT")
        return memory, cpus
    nodes = [(int(match[1]), int(match[2], 16), int(match[3], 16) + 1) for match in log.all(_NODE_RANGE)]
    if len({nid for nid, _, _ in nodes}) > 1:
        log.assumed.append("memory affinity after the 'Early memory node ranges' lines")
        return [Affinity(nid, start, end - start) for nid, start, end in nodes if start < end], []
    return [], []


def _cpus(log: _Log, srat_ids: list[int]) -> CpuSpec:
    threads = log.number(r"^CPU topo: Max\. threads per core: +(\d+)", 16) or 1
    sockets = (
        log.number(r"^CPU topo: Max\. logical packages: +(\d+)", 64)
        or log.number(r"^(?:smpboot: )?Max logical packages: (\d+)", 64)
        or 1
    )
    count = (
        log.number(r"^CPU topo: Allowing (\d+) present CPUs", MAX_CPUS)
        or (log.number(r"^(?:smpboot: )?Allowing (\d+) CPUs", MAX_CPUS) or 0) - _hotplug(log)
        or log.number(r"^smp: Brought up \d+ nodes?, (\d+) CPUs", MAX_CPUS)
        or log.number(r"^Brought up (\d+) CPUs", MAX_CPUS)
        or len(set(srat_ids))
    )
    if not count:
        count = 1
        log.assumed.append("one CPU")
    else:
        log.read.append(f"{count} CPUs in {sockets} sockets")
    khz = log.first(r"^tsc: (?:Detected|Fast TSC calibration.*?) *(\d+)\.(\d{3}) MHz")
    spec = CpuSpec(count=count, sockets=sockets, threads=threads)
    _model(log, spec)
    if khz and len(khz[1]) < 7 and int(khz[1] + khz[2]):
        spec.tsc_khz = int(khz[1] + khz[2])
        log.read.append(f"a TSC of {khz[1]}.{khz[2]} MHz")
    else:
        log.assumed.append(f"a TSC of {spec.tsc_khz // 1000} MHz")
    _identify(log, spec, srat_ids)
    return spec


def _hotplug(log: _Log) -> int:
    # CPUs the firmware lists but has not put in.
    spare = log.number(r"^(?:smpboot: )?Allowing \d+ CPUs, (\d+) hotplug", MAX_CPUS)
    return spare or log.number(r"^CPU topo: Allowing \d+ present CPUs plus (\d+) hotplug", MAX_CPUS) or 0


def _model(log: _Log, spec: CpuSpec) -> None:
    found = next(iter(log.all(_CPU0)), None)
    if found is None:
        log.assumed.append(f"the CPU model {spec.model_name!r}")
        return
    spec.model_name = found[1].strip()[:47]
    spec.family, spec.model, spec.stepping = (int(found[at], 16) & 0xFF for at in (2, 3, 4))
    if re.search(r"AMD|EPYC|Ryzen|Opteron", found[1]):
        spec.vendor = "AuthenticAMD"
    elif "Hygon" in found[1]:
        spec.vendor = "HygonGenuine"
    log.read.append(f"the CPU model {spec.model_name!r}")


def _identify(log: _Log, spec: CpuSpec, srat_ids: list[int]) -> None:
    """APIC ids as logged where they are, and CPUID leaves to fit."""
    logged = [int(match[1], 16) for match in log.all(_LAPIC)]
    ids = next((found for found in (logged, srat_ids) if len(set(found)) == len(found) == spec.count), None)
    if ids is None:
        spec.cores = max(1, -(-spec.count // (spec.sockets * spec.threads)))
        ids = [place.apic_id for place in spec.topology()]
        log.assumed.append("APIC ids counted up, as the log has none")
    shift = _package_shift(ids, spec.sockets)
    if shift and any(a ^ b == 1 for a in ids[:1] for b in ids):
        spec.threads = max(spec.threads, 2)
    cores = max(1, (1 << shift) // spec.threads)
    spec.cores = max(cores, -(-spec.count // (spec.sockets * spec.threads)))
    features = _features(log)
    description = CpuDescription(
        vendor="AuthenticAMD" if spec.vendor != "GenuineIntel" else spec.vendor,
        family=spec.family, model=spec.model, stepping=spec.stepping, model_name=spec.model_name, features=features,
        cores=cores, threads=spec.threads, tsc_khz=spec.tsc_khz, phys_bits=spec.phys_bits,
    )  # fmt: skip
    spec.x2apic = max(ids) >= 0xFF or log.first(r"^x2apic: enabled by BIOS") is not None
    spec.apic_ids = ids
    if msrs := _mtrrs(log, spec.phys_bits):
        spec.msrs = [msrs] * spec.count
        log.assumed.append("MTRRs that leave uncached what the kernel found uncovered")
    tables = [build_cpuid(description, apic_id) for apic_id in ids]
    spec.cpuid = [CpuidDump([(*at, *registers) for at, registers in table.items()]) for table in tables]


def _mtrrs(log: _Log, phys_bits: int) -> dict[str, int]:
    """Range registers that make the logged "usable ==> reserved" changes; empty if there are none.

    Everything is write-back but the given holes. Source: SDM vol. 3A, "Memory Type Range Registers"
    """
    holes = []
    for line in log.lines:
        match = _MTRR_UPDATE.match(line)
        if match and int(match[1], 16) >= MIB and int(match[2], 16) - int(match[1], 16) >= MIB:
            holes.append((int(match[1], 16), int(match[2], 16) + 1))
        if line.startswith("Using GB pages for direct mapping") or " RAMDISK: " in line:
            break  # later changes have other reasons
    blocks = [block for hole in holes[:8] for block in _power_of_two_blocks(*hole)]
    if not blocks or len(blocks) > MAX_MTRRS:
        return {}
    mask = (1 << phys_bits) - 1
    values = {IA32_MTRRCAP: 0xD00 | (1 + len(blocks)), IA32_MTRR_DEF_TYPE: MTRR_ENABLED}
    values |= {IA32_MTRR_PHYSBASE0: MTRR_WRITE_BACK, IA32_MTRR_PHYSBASE0 + 1: MTRR_VALID}
    for index, (start, size) in enumerate(blocks, 1):
        values[IA32_MTRR_PHYSBASE0 + 2 * index] = start
        values[IA32_MTRR_PHYSBASE0 + 2 * index + 1] = mask & ~(size - 1) | MTRR_VALID
    return {f"{number:x}": value for number, value in values.items()}


def _power_of_two_blocks(start: int, end: int) -> list[tuple[int, int]]:
    blocks: list[tuple[int, int]] = []
    while start < end and len(blocks) <= MAX_MTRRS:
        size = min(start & -start or 1 << 52, 1 << (end - start).bit_length() - 1)
        blocks.append((start, size))
        start += size
    return blocks


def _package_shift(ids: list[int], sockets: int) -> int:
    # The lowest bit position at which the ids fall into as many groups as there are sockets.
    for shift in range(32):
        if len({apic_id >> shift for apic_id in ids}) <= sockets:
            return shift
    return 32


def _features(log: _Log) -> tuple[str, ...]:
    features = [name for name in DEFAULT_FEATURES if name != "la57"]
    top = log.first(r"^last_pfn = 0x[0-9a-f]+ max_arch_pfn = 0x([0-9a-f]+)")
    if top and int(top[1], 16) >= LA57_MAX_ARCH_PFN and "la57" in FEATURES:
        features.append("la57")
    if log.first(r"^Using GB pages for direct mapping") is None and log.first(r"^last_pfn"):
        features = [name for name in features if name != "pdpe1gb"]
    return tuple(features)


def _boot(log: _Log, e820: list[MemoryRange]) -> BootSpec:
    boot = BootSpec(type_of_loader=0xB0, efi=log.first(r"^efi: EFI v") is not None)
    ramdisk = next(iter(log.all(_RAMDISK)), None)
    if ramdisk:
        start, end = int(ramdisk[1], 16), int(ramdisk[2], 16) + 1
        if 0 < start < end <= MAX_ADDRESS:
            boot.ramdisk_address, boot.ramdisk_bytes = start, end - start
            log.read.append("the place of the initial RAM disk")
    ranges = [(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(_EFI_MMIO)[:MAX_E820]]
    boot.efi_mmio = [MemoryRange(start, end, 2) for start, end in ranges if start < end <= MAX_ADDRESS]
    if boot.efi_mmio:
        log.read.append(f"{len(boot.efi_mmio)} MMIO ranges of the EFI memory map")
    boot.setup_data = _setup_data(log, e820)
    if boot.setup_data:
        log.read.append(f"{len(boot.setup_data)} setup_data ranges")
    return boot


def _setup_data(log: _Log, e820: list[MemoryRange]) -> list[SetupData]:
    ranges = [(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(_SETUP_UPDATE)]
    if not ranges:
        ranges = _split_pieces(log, e820)
    found: dict[int, SetupData] = {}
    for start, end in ranges[:64]:
        if SETUP_DATA_HEADER <= end - start <= MIB and start > 0 and end <= MAX_ADDRESS:
            found.setdefault(start, SetupData(start, SETUP_EFI, end - start - SETUP_DATA_HEADER))
    return list(found.values())


def _split_pieces(log: _Log, e820: list[MemoryRange]) -> list[tuple[int, int]]:
    # A log without debug lines still shows the map again, its usable ranges cut up; of the alternating pieces of one
    # range the smaller ones are setup_data.
    pieces = [(int(m[1], 16), int(m[2], 16) + 1) for m in log.all(_EXTENDED) if m[3].strip() == "usable"]
    small: list[tuple[int, int]] = []
    for entry in e820:
        inside = [piece for piece in pieces if entry.type == 1 and entry.start <= piece[0] and piece[1] <= entry.end]
        if len(inside) > 1:
            small += min(inside[0::2], inside[1::2], key=lambda half: sum(end - start for start, end in half))
    return small


def _kernel_facts(log: _Log) -> KernelFacts:
    """Figures of the kernel that wrote the log: they belong to its build, not to the machine."""
    facts = KernelFacts(debug_lines=log.first(r"^e820: (?:update|remove) \[mem ") is not None)
    facts.numa = log.first(r"^(?:NODE_DATA\(|No NUMA configuration|NUMA|Faking a node|Policy zone)") is not None
    facts.zone_device = log.first(r"^  Device +") is not None
    facts.log_buf_shift = _log_buf_shift(log)
    node_data = log.first(rf"^NODE_DATA\(\d+\) allocated {_RANGE}")
    if node_data:
        size = int(node_data[2], 16) + 1 - int(node_data[1], 16)
        facts.node_data_bytes = size if 0 < size <= MIB else 0
    facts.nr_cpus = log.number(r"^setup_percpu: NR_CPUS:(\d+) ", MAX_CPUS) or 0
    facts.percpu_static_bytes = log.number(r"^percpu: Embedded \d+ pages/cpu (?:@\S+ )?s(\d+) ", 64 * MIB) or 0
    memory = log.first(
        r"^Memory: .*\((\d+)K kernel code, (\d+)K rwdata, (\d+)K rodata, (\d+)K init, (\d+)K bss,"
    )
    if memory and all(len(memory[at]) < 9 for at in range(1, 6)):
        facts.image_kib = [int(memory[at]) for at in range(1, 6)]
    names = ("node_data_bytes", "nr_cpus", "percpu_static_bytes", "image_kib")
    if found := [name for name in names if getattr(facts, name)]:
        log.read.append("of its kernel: " + ", ".join(found))
    return facts


def _log_buf_shift(log: _Log) -> int:
    # The size is logged when many CPUs make it grow; when they did not, it must have been large enough.
    size = log.number(r"^printk: log_buf_len min size: (\d+) bytes", 1 << 30)
    if size:
        return size.bit_length() - 1
    cpus = log.number(r"^setup_percpu: .* nr_cpu_ids:(\d+) ", MAX_CPUS) or 1
    return min(25, max(17, ((cpus - 1) * LOG_CPU_BYTES * 2 - 1).bit_length()))


def _distances(log: _Log) -> list[list[int]]:
    """Distances by proximity domain that give the logged fallback orders; empty for the usual 10 and 20."""
    orders = {int(match[1]): [int(word) for word in match[2].split()] for match in log.all(_FALLBACK)}
    count = max(orders, default=-1) + 1
    if not 2 < count <= 64 or any(nid >= count for order in orders.values() for nid in order):
        return []
    step = min(10, 230 // count)
    table = [[10 if a == b else 254 for b in range(count)] for a in range(count)]
    for nid, order in orders.items():
        for rank, other in enumerate(order):
            if other != nid:
                table[nid][other] = 20 + step * (rank - 1 if order[0] == nid else rank)
    log.assumed.append("node distances that give the logged fallback orders")
    return table


def _place_image(log: _Log, spec: MachineSpec) -> None:
    # With KASLR the image lies anywhere; the log does not say where, only (nokaslr) that it does not.
    largest = max((entry for entry in spec.e820 if entry.type == 1), key=lambda entry: entry.end - entry.start)
    if spec.kernel is None or "nokaslr" in spec.append.split() or largest.start < FOUR_GIB:
        return
    spec.kernel.image_address = (largest.start + largest.end) // 2 // GIB * GIB
    log.assumed.append(f"the kernel image at {spec.kernel.image_address:#x} (KASLR)")


def _place_tables(log: _Log, spec: MachineSpec, base: MachineSpec, firmware: Firmware) -> None:
    window = spec.pci
    if window.ecam_base is not None:
        firmware.ecam = (window.ecam_base, 0, window.ecam_start_bus, window.ecam_end_bus)
    if firmware.memory and not firmware.cpu_pxm:
        firmware.cpu_pxm = _cpu_nodes(log, firmware)
    pxm = {apic_id: domain for apic_id, domain, _ in firmware.cpu_pxm}
    places = CpuSpec(spec.cpus.count, sockets=spec.cpus.count).topology()
    firmware.dsdt = build_dsdt(Described(base.acpi, places, pxm, spec.pci))
    acpi = spec_from_lines(log.lines, firmware, base.acpi)
    if acpi is not None:
        spec.acpi = acpi
        log.read.append(f"places and lengths of {len(acpi.raw)} ACPI tables")
        return
    spec.acpi = hardware_facts(log.lines, base.acpi)
    if not any(entry.type == 3 for entry in spec.e820):
        spec.acpi.enabled = False
        log.assumed.append("no ACPI, as the log has neither tables nor a place for them")
        return
    log.assumed.append("ACPI tables in the first ACPI range of the map")
    _plain_nodes(spec, firmware)


def _bringup_nodes(log: _Log) -> dict[int, int]:
    """Node of each CPU but the first, by the bring-up lines."""
    nodes: dict[int, int] = {}
    for index, line in enumerate(log.lines):
        for match in _BRINGUP_NODE.finditer(line):
            numbers = re.findall(r"#(\d+)", match[2]) + _continued(log.lines, index)
            nodes |= {int(number): int(match[1]) for number in numbers if len(number) < 6}
    return nodes


def _bringup_order(log: _Log, cpu_pxm: list[tuple[int, int, bool]]) -> list[int]:
    """APIC ids of the SRAT in the order in which the kernel numbered the CPUs.

    The SRAT's order is kept within a node; across nodes the bring-up lines decide, where they fit.
    """
    ids = [apic_id for apic_id, _, _ in cpu_pxm]
    nodes = _bringup_nodes(log)
    domains = list(dict.fromkeys(pxm for _, pxm, _ in cpu_pxm))
    queues = {node: [a for a, p, _ in cpu_pxm if p == pxm] for node, pxm in enumerate(domains)}
    counts = Counter(nodes.values())
    short = [node for node, queue in queues.items() if len(queue) == counts[node] + 1]
    if len(short) != 1 or len(nodes) != len(ids) - 1 or sorted(nodes) != list(range(1, len(ids))):
        return ids
    nodes[0] = short[0]
    return [queues[nodes[cpu]].pop(0) for cpu in range(len(ids))]


def _cpu_nodes(log: _Log, firmware: Firmware) -> list[tuple[int, int, bool]]:
    """Which CPU is on which node, by the bring-up lines; else in equal shares over the domains with memory."""
    domains = list(dict.fromkeys(area.pxm for area in firmware.memory))
    nodes = _bringup_nodes(log)
    others = Counter(nodes.values())
    count = len(firmware.cpus)
    if len(nodes) >= count - 1 and all(nid < len(domains) for nid in others):
        # the boot CPU is not in the list: it belongs to the node that is one short
        nodes.setdefault(0, min(range(len(domains)), key=lambda nid: (others[nid], nid)))
        log.read.append("the nodes of the CPUs from their bring-up")
    else:
        nodes = {cpu: cpu * len(domains) // count for cpu in range(count)}
        log.assumed.append("CPUs spread evenly over the nodes")
    return [(apic_id, domains[nodes.get(cpu, 0)], apic_id >= 0xFF) for cpu, apic_id in enumerate(firmware.cpus)]


def _continued(lines: list[str], index: int) -> list[str]:
    # Numbers of further lines of one list, as a log with interleaved output has them.
    found: list[str] = []
    for line in lines[index + 1 : index + 65]:
        if not re.match(r"^\s+#\d+", line):
            break
        found += re.findall(r"#(\d+)", line)
    return found


def _plain_nodes(spec: MachineSpec, firmware: Firmware) -> None:
    domains = list(dict.fromkeys([pxm for _, pxm, _ in firmware.cpu_pxm] + [area.pxm for area in firmware.memory]))
    position = {apic_id: index for index, apic_id in enumerate(firmware.cpus)}
    spec.nodes = [
        NodeSpec(
            memory=[NodeMemory(a.base, a.length, a.hotplug) for a in firmware.memory if a.pxm == pxm],
            cpus=",".join(str(position[a]) for a, p, _ in firmware.cpu_pxm if p == pxm and a in position),
            pxm=pxm,
        )
        for pxm in domains
    ]
    spec.nodes = [node for node in spec.nodes if node.memory or node.cpus]
    if not any(node.memory for node in spec.nodes):
        spec.nodes = []
    spec.cpus.cpuid, spec.cpus.apic_ids = [], []
