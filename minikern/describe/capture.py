"""A folder captured from a real machine becomes a Case.

The folder's bytes are the machine: zero page, ACPI tables, PCI configuration, CPUID. Of its boot log only what stands
nowhere else is taken: addresses of ACPI tables, the TSC frequency, the version line and the SMBIOS lines.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from hw import boot_params, purgatory
from hw.acpi.spec import AcpiSpec
from hw.cpu_listed import add_listed_cpus
from hw.errors import InputError
from hw.files import read_input, read_text_input
from hw.numbers import without_endless
from hw.spec import BootSpec, CpuidDump, CpuSpec, MemoryRange, pc_uarts
from minikern.describe import capture_handover, capture_memory
from minikern.describe.acpi_places import placed_acpi
from minikern.describe.acpidump import acpi_from_capture, dat_tables, logged_ioapics, logged_tables
from minikern.describe.capture_build import captured_build
from minikern.describe.capture_cpu import cpuid_of_cpuinfo, raw_cpuid, raw_msrs
from minikern.describe.case import Case, read_case
from minikern.describe.log_facts import log_facts
from minikern.describe.pci_capture import pci_from_capture, restore_interrupt_links
from minikern.describe.uarts import uarts_of_capture

MAX_TEXT = 64 << 20
MAX_FILES = 100_000
DEFAULT_TSC_KHZ = 2_000_000
MAX_NOTES = 40
MEMMAP_TYPES = {
    "System RAM": 1, "Reserved": 2, "ACPI Tables": 3, "ACPI Non-volatile Storage": 4, "Unusable memory": 5,
    "Persistent Memory": 7, "Persistent Memory (legacy)": 12, "Soft Reserved": 0xEFFFFFFF,
}  # fmt: skip  # Source: arch/x86/kernel/e820.c:e820_type_to_string() @ v6.12

_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^\]]*\])? ?", re.MULTILINE)
_CPUID_ROW = re.compile(
    r"^\s+0x([0-9a-f]{8}) 0x([0-9a-f]{2}):"
    r" eax=0x([0-9a-f]{8}) ebx=0x([0-9a-f]{8}) ecx=0x([0-9a-f]{8}) edx=0x([0-9a-f]{8})"
)
_MEMMAP_ROW = re.compile(r"^\d{1,5} 0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) (.+)$")
_MSR_ROW = re.compile(r"^\s+0x([0-9a-f]{8}) 0x([0-9a-f]{1,16})\s*$")


def is_capture(folder: Path) -> bool:
    """True if the folder holds a captured machine."""
    return any((folder / name).is_file() for name in ("boot_params.bin", "memmap.txt"))


def without_tables(folder: Path) -> bool:
    """True if the folder's log lists ACPI tables and a memory map, but nothing in it holds a table."""
    if any((folder / "acpi").glob("*.dat")) or any(folder.glob("acpidump*")):
        return False
    log = _read_text(folder / "dmesg.txt", required=False)
    return "BIOS-e820: " in log and bool(logged_tables(log))


def missing_notes(folder: Path) -> list[str]:
    """What the capture script could not read, as notes."""
    gone = _read_text(folder / "missing.txt", required=False).splitlines()[:MAX_NOTES]
    return [f"missing: {line:.120}" for line in gone]


def spec_from_capture(folder: Path) -> Case:
    """Read a captured folder. InputError names the file that is missing or wrong, and what was expected."""
    try:
        _check_files(folder)
        return _read_folder(folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror}") from error


def _check_files(folder: Path) -> None:
    # Pipes would hang, devices never end; a link that leads nowhere is reported where its file is wanted.
    for count, path in enumerate(folder.rglob("*")):
        if count == MAX_FILES:
            raise InputError(f"{folder}: more than {MAX_FILES} files: expected a captured machine")
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path}: neither a file nor a folder")
        if stat.S_ISREG(found.st_mode) and found.st_size > MAX_TEXT:
            raise InputError(f"{path}: {found.st_size} bytes: expected at most {MAX_TEXT}")


def _read_folder(folder: Path) -> Case:
    page = read_input(folder / "boot_params.bin") if (folder / "boot_params.bin").is_file() else b""
    if page and len(page) < boot_params.SIZE:
        raise InputError(f"{folder / 'boot_params.bin'}: {len(page)} bytes: a zero page has {boot_params.SIZE}")
    log = _STAMP.sub("", _read_text(folder / "dmesg.txt", required=False))
    pci = pci_from_capture(folder, log) if (folder / "pci").is_dir() else None
    spec = Case(
        name=folder.name,
        title=_read_text(folder / "NOTE.txt", required=False).strip(),
        cpus=_cpus(folder, log),
        append=_read_text(folder / "kernel-cmdline.txt").rstrip("\n"),
        banner=_banner(folder, log),
        dmi=re.findall(r"^(?:SMBIOS .* present\.|DMI: .*)$", log, re.MULTILINE),
        boot=_boot(page) if page else BootSpec(),
        e820=_e820(folder, page),
        uarts=uarts_of_capture(_read_text(folder / "ioports.txt", required=False), log.splitlines()),
    )
    spec.acpi = _acpi(folder, log, spec)
    spec.told = log_facts(log.splitlines())
    iomem = _read_text(folder / "iomem.txt", required=False)
    spec.build = captured_build(_read_text(folder / "config-fragment.txt", required=False), iomem, log)
    bgrt = next((table.data for table in spec.acpi.raw if table.signature == "BGRT"), b"")
    add_listed_cpus(spec.cpus, next((table.data for table in spec.acpi.raw if table.signature == "APIC"), b""), log)
    capture_memory.fill_in(spec.boot, spec.e820, iomem, log, bgrt)
    capture_handover.fill_in(spec.boot, folder)
    if pci is not None:
        if spec.boot.type_of_loader >> 4 != purgatory.STARTED_BY_KEXEC:
            restore_interrupt_links(pci)  # a kernel started by kexec finds what the one before it left
        spec.pci = pci
    spec.notes += missing_notes(folder)
    beside = folder / "machine.toml"
    if beside.is_file():
        _add_facts(spec, read_case(beside))
    return spec


def _add_facts(spec: Case, beside: Case) -> None:
    # What no byte of the folder can hold: unit costs, residue, the exact TSC rate, what the loader left in memory.
    spec.costs, spec.residue, spec.needs, spec.figures = beside.costs, beside.residue, beside.needs, beside.figures
    spec.release = beside.release
    spec.uarts = beside.uarts if beside.uarts != pc_uarts() else spec.uarts
    spec.cpus.tsc_khz = beside.cpus.tsc_khz
    spec.cpus.x2apic = beside.cpus.x2apic
    spec.boot.setup_data = beside.boot.setup_data or spec.boot.setup_data
    spec.boot.microcode, spec.boot.microcode_date = beside.boot.microcode, beside.boot.microcode_date


def _read_text(path: Path, required: bool = True) -> str:
    if not required and not path.exists():
        return ""
    return without_endless(read_text_input(path, MAX_TEXT))


def _acpi(folder: Path, log: str, spec: Case) -> AcpiSpec:
    tables = [] if logged_tables(log) else dat_tables(folder)
    if not tables:
        return acpi_from_capture(folder, log)
    rsdp = boot_params.get(spec.boot.boot_params, "acpi_rsdp_addr") if spec.boot.boot_params else 0
    placed = placed_acpi(tables, spec.e820, rsdp)
    if placed is None:
        spec.notes.append(f"missing: room for {len(tables)} ACPI tables, whose places the log does not tell: no ACPI")
        return acpi_from_capture(folder, log)
    spec.notes.append(f"assumed: places of {len(placed.raw)} ACPI tables, as the log does not tell them")
    placed.ioapics = logged_ioapics(log) or placed.ioapics
    return placed


def _banner(folder: Path, log: str) -> str:
    text = _read_text(folder / "version.txt", required=False) or log
    found = re.search(r"^Linux version .*$", text, re.MULTILINE)
    if found is None:
        raise InputError(f"{folder / 'version.txt'}: no 'Linux version' line")
    return found.group()


def _e820(folder: Path, page: bytes) -> list[MemoryRange]:
    if not page:
        return _memmap(folder / "memmap.txt")
    rows = boot_params.read_e820(page)
    if not rows:
        raise InputError(f"{folder / 'boot_params.bin'}: no e820 entries")
    top = 2**64 - 1
    return [MemoryRange(addr, min(addr + size, top), kind) for addr, size, kind in rows if size]


def _memmap(path: Path) -> list[MemoryRange]:
    """Rows of /sys/firmware/memmap: number, start, inclusive end, type."""
    rows = [match for line in _read_text(path).splitlines() if (match := _MEMMAP_ROW.match(line))]
    kinds = [(int(row[1], 16), int(row[2], 16) + 1, MEMMAP_TYPES.get(row[3].strip(), 2)) for row in rows]
    found = [MemoryRange(start, end, kind) for start, end, kind in kinds if start < end < 1 << 64]
    if not any(entry.type == 1 for entry in found):
        raise InputError(f"{path}: no 'System RAM' rows: expected number, start, end and type")
    return found


def _boot(page: bytes) -> BootSpec:
    get = boot_params.get
    return BootSpec(
        ramdisk_address=get(page, "ramdisk_image") | get(page, "ext_ramdisk_image") << 32,
        ramdisk_bytes=get(page, "ramdisk_size") | get(page, "ext_ramdisk_size") << 32,
        type_of_loader=get(page, "type_of_loader"),
        init_size=get(page, "init_size"),
        boot_params=page,
    )


def _cpus(folder: Path, log: str) -> CpuSpec:
    tables = _cpuid_tables(folder)
    found = re.search(r"tsc: Detected (\d+)\.(\d{3}) MHz", log)
    khz = int(found.group(1) + found.group(2)) if found else DEFAULT_TSC_KHZ
    ids = [_apic_id({(row[0], row[1]): row[2:] for row in dump.rows}) for dump in tables]
    if len(set(ids)) < len(ids):
        raise InputError(f"{folder / 'cpuid.txt'}: two CPUs with one APIC id: expected each to have its own")
    return CpuSpec(
        count=len(tables),
        sockets=len(tables),
        tsc_khz=khz,
        cpuid=tables,
        msrs=_msrs(folder / "msr.txt") or raw_msrs(folder),
        apic_ids=ids,
    )


def _cpuid_tables(folder: Path) -> list[CpuidDump]:
    if not (folder / "cpuid.txt").is_file():
        found = raw_cpuid(folder)
        info = folder / "cpuinfo.txt"
        if found or info.is_file():
            return found or cpuid_of_cpuinfo(_read_text(info), str(info))
    return _cpuid(folder / "cpuid.txt")


def _apic_id(leaves: dict[tuple[int, int], tuple[int, ...]]) -> int:
    if (0xB, 0) in leaves and leaves[(0xB, 0)][1]:
        return leaves[(0xB, 0)][3]
    return leaves.get((1, 0), (0, 0, 0, 0))[1] >> 24


def _cpuid(path: Path) -> list[CpuidDump]:
    dumps: list[CpuidDump] = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        if line.startswith("CPU "):
            dumps.append(CpuidDump([]))
        elif match := _CPUID_ROW.match(line):
            if not dumps:
                raise InputError(f"{path}:{number}: a leaf before the first 'CPU n:' line")
            leaf, sub, a, b, c, d = (int(group, 16) for group in match.groups())
            dumps[-1].rows.append((leaf, sub, a, b, c, d))
    if not dumps or not dumps[0].rows:
        raise InputError(f"{path}: no CPUID leaves: expected 'CPU n:' and rows of leaf, subleaf and registers")
    return dumps


def _msrs(path: Path) -> list[dict[str, int]]:
    tables: list[dict[str, int]] = []
    for line in _read_text(path, required=False).splitlines():
        if line.startswith("CPU "):
            tables.append({})
        elif tables and (match := _MSR_ROW.match(line)):
            tables[-1][match.group(1)] = int(match.group(2), 16)
    return tables
