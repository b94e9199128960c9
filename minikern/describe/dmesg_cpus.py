"""What a boot log says of the processors: how many, which model, which APIC ids, which memory types."""

from __future__ import annotations

import re

from hw.cpu_features import FEATURES
from hw.cpuid import DEFAULT_FEATURES, CpuDescription, build_cpuid
from hw.msr import IA32_MTRR_DEF_TYPE, IA32_MTRR_PHYSBASE0, IA32_MTRRCAP, MSR_PKG_CST_CONFIG_CONTROL
from hw.spec import MAX_CPUS, CpuidDump, CpuSpec
from minikern.describe.dmesg_bringup import apic_ids, bringup, siblings
from minikern.describe.dmesg_listed import boot_cpu_id, listed_ids, on_firmwares_cpu
from minikern.describe.dmesg_log import RANGE, Log

THREADS_PER_CORE = r"^CPU topo: Max\. threads per core: +(\d+)"
FIRST_DEADLINE = (6, 0x2A)
LA57_MAX_ARCH_PFN = 1 << 40  # 52 physical bits, with five page-table levels
MTRR_ENABLED, MTRR_VALID, MTRR_WRITE_BACK, MAX_MTRRS = 0xC00, 1 << 11, 6, 40
MIB = 1 << 20
PC10_FEATURES, PKG_CST_C10 = ("mwait_extensions", "mwait_c10"), 8  # idle states, and how deep firmware lets them be

_MTRR_UPDATE = re.compile(rf"^e820: update {RANGE} usable ==> reserved$")
_CPU0 = re.compile(r"^smpboot: CPU0: (.+?) \(family: 0x([0-9a-f]+), model: 0x([0-9a-f]+), stepping: 0x([0-9a-f]+)\)")
_LAPIC = re.compile(r"^ACPI: (?:LAPIC \(acpi_id\[0x\w+\] lapic_id|X2APIC \(apic_id)\[0x(\w+)\].* enabled\)")


def cpus(log: Log, srat_ids: list[int]) -> CpuSpec:
    threads = log.number(THREADS_PER_CORE, 16) or 1
    count = (
        log.number(r"^CPU topo: Allowing (\d+) present CPUs", MAX_CPUS)
        or max(0, (log.number(r"^(?:smpboot: )?Allowing (\d+) CPUs", MAX_CPUS) or 0) - hotplug(log))
        or log.number(r"^smp: Brought up \d+ nodes?, (\d+) CPUs", MAX_CPUS)
        or log.number(r"^Brought up (\d+) CPUs", MAX_CPUS)
        or len(set(srat_ids))
    )
    sockets = _sockets(log, count or 1)
    if not count:
        count = 1
        log.assumed.append("one CPU")
    else:
        log.read.append(f"{count} CPUs in {sockets} sockets")
    khz = log.first(r"^tsc: (?:Detected|Fast TSC calibration.*?) *(\d+)\.(\d{3}) MHz")
    spec = CpuSpec(count=count, sockets=sockets, threads=threads, dies=_dies(log))
    _model(log, spec)
    if khz and len(khz[1]) < 7 and int(khz[1] + khz[2]):
        spec.tsc_khz = int(khz[1] + khz[2])
        log.read.append(f"a TSC of {khz[1]}.{khz[2]} MHz")
    else:
        log.assumed.append(f"a TSC of {spec.tsc_khz // 1000} MHz")
    _identify(log, spec, srat_ids)
    return spec


def hotplug(log: Log) -> int:
    # CPUs the firmware lists but has not put in.
    spare = log.number(r"^(?:smpboot: )?Allowing \d+ CPUs, (\d+) hotplug", MAX_CPUS)
    return spare or log.number(r"^CPU topo: Allowing \d+ present CPUs plus (\d+) hotplug", MAX_CPUS) or 0


def _sockets(log: Log, count: int) -> int:
    # Packages are counted, or guessed from those that are full, for all CPUs there may ever be.
    told = log.number(r"^(?:CPU topo: Max\. |smpboot: Max |Max )logical packages: +(\d+)", MAX_CPUS) or 1
    return max(1, min(count, round(told * count / (count + hotplug(log)))))


def _dies(log: Log) -> int:
    # In a package; the line about them counts up to the next power of two.
    dies = log.number(r"^CPU topo: Max\. logical dies: +(\d+)", MAX_CPUS) or 1
    packages = log.number(r"^CPU topo: Max\. logical packages: +(\d+)", MAX_CPUS) or 1
    return -(-dies // packages)


def _model(log: Log, spec: CpuSpec) -> None:
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


def _identify(log: Log, spec: CpuSpec, srat_ids: list[int]) -> None:
    """APIC ids as logged where they are, and CPUID leaves to fit."""
    logged = [int(match[1], 16) for match in log.all(_LAPIC)]
    ids = next((found for found in (logged, srat_ids) if len(set(found)) == len(found) == spec.count), None)
    if ids is None:
        ids = _ids_by_bringup(log, spec)
    spec.firmware_bsp = on_firmwares_cpu(log)
    if ids is None and spec.count == 1 and (boot := boot_cpu_id(log)) is not None:
        ids = [boot]
    if ids is None:
        spec.cores = max(1, -(-spec.count // (spec.sockets * spec.threads)))
        ids = [place.apic_id for place in spec.topology()]
        log.assumed.append("APIC ids counted up, as the log has none")
    shift = _package_shift(ids, spec.sockets)
    told = log.first(THREADS_PER_CORE)
    if shift and not told and any(a ^ b == 1 for a in ids[:1] for b in ids):
        spec.threads = max(spec.threads, 2)
    cores = max(1, (1 << shift) // spec.threads)
    spec.cores = max(cores, -(-spec.count // (spec.sockets * spec.threads)))
    spec.dies = min(cores, 1 << shift - _package_shift(ids, spec.sockets * spec.dies))
    features = _features(log, spec)
    description = CpuDescription(
        vendor="AuthenticAMD" if spec.vendor != "GenuineIntel" else spec.vendor,
        family=spec.family, model=spec.model, stepping=spec.stepping, model_name=spec.model_name, features=features,
        cores=cores, threads=spec.threads, dies=spec.dies, tsc_khz=spec.tsc_khz, phys_bits=spec.phys_bits,
    )  # fmt: skip
    spec.x2apic = max(listed_ids(log, ids)) >= 0xFF or log.first(r"^x2apic: enabled by BIOS") is not None
    spec.apic_ids = ids
    if msrs := _mtrrs(log, spec.phys_bits):
        log.assumed.append("MTRRs that leave uncached what the kernel found uncovered")
    if set(PC10_FEATURES) <= set(features):
        msrs[f"{MSR_PKG_CST_CONFIG_CONTROL:x}"] = PKG_CST_C10
    if msrs:
        spec.msrs = [msrs] * spec.count
    tables = [build_cpuid(description, apic_id) for apic_id in ids]
    spec.cpuid = [CpuidDump([(*at, *registers) for at, registers in table.items()]) for table in tables]


def _ids_by_bringup(log: Log, spec: CpuSpec) -> list[int] | None:
    found = bringup(log)
    per_package = log.number(r"^CPU topo: Num\. cores per package: +(\d+)", MAX_CPUS) or 0
    pairs = siblings(log, found, spec.count, per_package * spec.sockets, spec.threads)
    if not pairs:
        return None
    spec.threads = 2
    log.read.append("which CPUs share a core, from their bring-up")
    return apic_ids(found, pairs, spec.count, spec.sockets, spec.dies)


def _mtrrs(log: Log, phys_bits: int) -> dict[str, int]:
    """Range registers that make the logged "usable ==> reserved" changes; empty if there are none.

    Everything is write-back but the given holes. Source: SDM vol. 3A, "Memory Type Range Registers"
    """
    holes = []
    places = log.places(r"^(?:e820: )?last_pfn = ")
    for line in log.lines[places[0] : places[-1]] if places else []:  # later changes have other reasons
        match = _MTRR_UPDATE.match(line)
        if match and int(match[1], 16) >= MIB:
            holes.append((int(match[1], 16), int(match[2], 16) + 1))
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
    # The lowest bit position at which the ids fall into as many groups as there are sockets, or dies.
    for shift in range(32):
        if len({apic_id >> shift for apic_id in ids}) <= sockets:
            return shift
    return 32


def _has_deadline(spec: CpuSpec) -> bool:
    # AMD's local APIC has no such mode, Intel's since Sandy Bridge. Source: SDM vol. 3, 10.5.4.1
    return spec.vendor == "GenuineIntel" and (spec.family, spec.model) >= FIRST_DEADLINE


def _features(log: Log, spec: CpuSpec) -> tuple[str, ...]:
    features = [name for name in DEFAULT_FEATURES if name != "la57"]
    top = log.first(r"^(?:e820: )?last_pfn = 0x[0-9a-f]+ max_arch_pfn = 0x([0-9a-f]+)")
    if top and int(top[1], 16) >= LA57_MAX_ARCH_PFN and "la57" in FEATURES:
        features.append("la57")
    if log.first(r"^Using GB pages for direct mapping") is None and log.first(r"^(?:e820: )?last_pfn"):
        features = [name for name in features if name != "pdpe1gb"]
    if not _has_deadline(spec) and log.first(r"^TSC deadline timer ") is None:
        features = [name for name in features if name != "tsc_deadline_timer"]
    if log.first(r"^TAA(?:: | CPU bug)"):
        features.append("rtm")  # what only CPUs with transactions suffer from
    if log.first(r"^hpet: HPET dysfunctional in PC10"):
        features += PC10_FEATURES
    return tuple(features)
