"""CPUID and MSRs of a captured folder, in whichever of its forms they are there.

``cpuid.txt`` and ``msr.txt`` are texts of leaves and registers; ``cpu/N.BASE.SUB`` holds bytes read in one go from the
cpuid device of CPU N, 16 a leaf from leaf BASE (hex) on; ``cpu/N.msr`` a register a line, number and bytes in hex.
Without any of them /proc/cpuinfo has to do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from struct import Struct

from hw.cpu_features import FEATURES
from hw.cpuid import CpuDescription, build_cpuid
from hw.errors import InputError
from hw.files import read_input, read_text_input
from hw.numbers import is_count
from hw.spec import MAX_CPUS, CpuidDump

Row = tuple[int, int, int, int, int, int]

REGISTERS = Struct("<4I")
MAX_RAW_BYTES = 1 << 12
# Leaves that answer by subleaf. Source: SDM vol. 2A, CPUID
WITH_SUBLEAVES = {0x4, 0x7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1D, 0x1F, 0x20}

_RAW = re.compile(r"^(\d{1,5})\.([0-9a-f]{1,8})\.(\d)$")
_MSR = re.compile(r"^(\d{1,6}) ([0-9a-f]{16})$")
_INFO = re.compile(r"^([^\t:]+?)[\t ]*: ?(.*)$")


def raw_cpuid(folder: Path) -> list[CpuidDump]:
    """The CPUs of ``cpu/``, by number; empty if there are none. InputError: a file that is no row of leaves."""
    by_cpu: dict[int, list[Row]] = defaultdict(list)
    for path in sorted((folder / "cpu").glob("*.*.*")):
        if match := _RAW.match(path.name):
            by_cpu[int(match[1])] += _rows(path, int(match[2], 16), int(match[3]))
    return [CpuidDump(_kept(by_cpu[cpu])) for cpu in sorted(by_cpu)]


def _rows(path: Path, base: int, sub: int) -> list[Row]:
    data = read_input(path)
    if len(data) % REGISTERS.size or len(data) > MAX_RAW_BYTES:
        raise InputError(f"{path}: {len(data)} bytes: expected 16 a leaf, at most {MAX_RAW_BYTES}")
    return [(base + at, sub, *registers) for at, registers in enumerate(REGISTERS.iter_unpack(data))]


def _kept(rows: list[Row]) -> list[Row]:
    # Beyond the last leaf of a range CPUs answer with something else.
    last = {row[0]: row[2] for row in rows if row[0] & 0xFFFF == 0 and row[1] == 0}
    kept = [row for row in rows if row[0] <= last.get(row[0] & 0xFFFF_0000, 0)]
    return [row for row in kept if row[1] == 0 or row[0] in WITH_SUBLEAVES]


def raw_msrs(folder: Path) -> list[dict[str, int]]:
    """The registers of each CPU of ``cpu/``, by number in hex."""
    found: dict[int, dict[str, int]] = {}
    for path in (folder / "cpu").glob("*.msr"):
        if is_count(path.stem) and len(path.stem) < 6:
            rows = (_MSR.match(line) for line in read_text_input(path).splitlines())
            values = {f"{int(row[1]):08x}": int.from_bytes(bytes.fromhex(row[2]), "little") for row in rows if row}
            found[int(path.stem)] = values
    return [found[cpu] for cpu in sorted(found)]


def cpuid_of_cpuinfo(text: str, where: str) -> list[CpuidDump]:
    """CPUID to fit /proc/cpuinfo: maker, model, flags, APIC ids, cores and threads. InputError: it lists no CPU."""
    cpus = [_fields(part) for part in text.split("\n\n") if part.startswith("processor")][:MAX_CPUS]
    if not cpus:
        raise InputError(f"{where}: no 'processor' lines: expected /proc/cpuinfo")
    return [CpuidDump([(*at, *values) for at, values in _described(cpu, where).items()]) for cpu in cpus]


def _fields(part: str) -> dict[str, str]:
    return {match[1]: match[2].strip() for line in part.splitlines() if (match := _INFO.match(line))}


def _described(cpu: dict[str, str], where: str) -> dict[tuple[int, int], tuple[int, int, int, int]]:
    def number(name: str, default: int) -> int:
        text = cpu.get(name, "")
        if text and not (is_count(text) and len(text) < 10):
            raise InputError(f"{where}: {name} {text!r:.40}: expected a number")
        return int(text or default)

    cores = max(1, number("cpu cores", 1))
    flags = cpu.get("flags", "").split()
    bits = re.match(r"(\d{1,2}) bits physical", cpu.get("address sizes", ""))
    intel = cpu.get("vendor_id", "GenuineIntel") == "GenuineIntel"
    description = CpuDescription(
        vendor="GenuineIntel" if intel else "AuthenticAMD", family=number("cpu family", 6) & 0xFF,
        model=number("model", 0) & 0xFF, stepping=number("stepping", 0) & 0xF,
        model_name=cpu.get("model name", "")[:47], features=tuple(name for name in flags if name in FEATURES),
        cores=cores, threads=max(1, number("siblings", cores) // cores), tsc_khz=_khz(cpu),
        phys_bits=int(bits[1]) if bits else 46,
    )  # fmt: skip
    return build_cpuid(description, number("apicid", number("processor", 0)))


def _khz(cpu: dict[str, str]) -> int:
    found = re.match(r"(\d{1,5})\.(\d{3})", cpu.get("cpu MHz", ""))
    return int(found[1] + found[2]) if found and int(found[1]) else 2_000_000
