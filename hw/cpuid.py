"""CPUID leaves of a CPU that was described, not captured.

Source: SDM vol. 2A "CPUID"; AMD64 APM vol. 3 appendix E for vendor leaves of AMD.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from hw.cpu_features import FEATURES, SYNTHETIC
from hw.errors import InputError

Registers = tuple[int, int, int, int]
CpuidTable = dict[tuple[int, int], Registers]

AMD_VENDORS = ("AuthenticAMD", "HygonGenuine")
CACHE_LINE_BYTES = 64
_SERVER_FLAGS = (
    "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
    "pdpe1gb rdtscp lm constant_tsc nonstop_tsc pni pclmulqdq ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt "
    "tsc_deadline_timer aes xsave avx f16c rdrand lahf_lm abm arat fsgsbase tsc_adjust bmi1 avx2 smep bmi2 erms "
    "invpcid adx smap clflushopt clwb sha_ni"
)
DEFAULT_FEATURES = tuple(_SERVER_FLAGS.split())
"""A current server CPU, for descriptions that name none."""


LEVEL_SMT, LEVEL_CORE, LEVEL_DIE = 1, 2, 5
"""Level types of leaves 0xB and 0x1F. Source: SDM vol. 2A, leaf 1FH."""
AMD_LEVELS = 0x8000_0026
LEVEL_COMPLEX, LEVEL_AMD_DIE, LEVEL_SOCKET = 2, 3, 4
"""Level types of AMD's leaf. Source: AMD64 APM vol. 3, leaf 8000_0026H."""


@dataclass(frozen=True)
class Cache:
    """One cache; `kind` is 1 data, 2 instruction, 3 unified; `package`: all cores of the package share it."""

    level: int
    kind: int
    size_bytes: int
    ways: int
    package: bool = False


DEFAULT_CACHES = (
    Cache(1, 1, 48 << 10, 12),
    Cache(1, 2, 32 << 10, 8),
    Cache(2, 3, 1280 << 10, 20),
    Cache(3, 3, 48 << 20, 12, package=True),
)
"""An Ice Lake server core and package. Source: Intel's product brief of the third generation Xeon Scalable."""


@dataclass(frozen=True)
class CpuDescription:
    """What the leaves are made from. Counts are per package (`cores`) and per core (`threads`); sizes in bits, kHz, Hz.

    `crystal_hz` 0: leaves 0x15 and 0x16 enumerate nothing, so software has to calibrate.
    """

    vendor: str = "GenuineIntel"
    family: int = 6
    model: int = 0x6A
    stepping: int = 6
    model_name: str = "Intel(R) Xeon(R) Processor"
    features: tuple[str, ...] = DEFAULT_FEATURES
    cores: int = 1
    threads: int = 1
    dies: int = 1  # in a package; cores are shared out evenly
    tsc_khz: int = 2_000_000
    crystal_hz: int = 0
    bus_mhz: int = 100
    phys_bits: int = 46
    caches: tuple[Cache, ...] = DEFAULT_CACHES

    @property
    def smt_shift(self) -> int:
        """Bits of the APIC id that number a core's threads."""
        return (self.threads - 1).bit_length()

    @property
    def die_shift(self) -> int:
        """Bits of the APIC id below the die's number."""
        return self.smt_shift + (-(-self.cores // self.dies) - 1).bit_length()

    @property
    def package_shift(self) -> int:
        """Bits of the APIC id below the package number."""
        return self.die_shift + (self.dies - 1).bit_length()

    @property
    def amd(self) -> bool:
        """AMD's leaves instead of Intel's."""
        return self.vendor in AMD_VENDORS


def signature(family: int, model: int, stepping: int) -> int:
    """Leaf 1 EAX. Families above 0xF and models above 0xF spill into the extended fields."""
    base, extended = (family, 0) if family < 0xF else (0xF, family - 0xF)
    return stepping & 0xF | (model & 0xF) << 4 | base << 8 | (model >> 4 & 0xF) << 16 | extended << 20


def build_cpuid(description: CpuDescription, apic_id: int) -> CpuidTable:
    """All leaves of one CPU. Raises InputError for an unknown feature flag, or a value or name that does not fit."""
    table = dict(_leaves_of(description))
    own = _Leaves()
    _topology_leaves(own, description, apic_id)
    if description.amd:
        _amd_topology(own, description, apic_id)
    table.update(own.table())
    eax, ebx, ecx, edx = table[1, 0]
    table[1, 0] = _same(eax, ebx | (apic_id & 0xFF) << 24, ecx, edx)
    return table


@lru_cache(maxsize=16)
def _leaves_of(description: CpuDescription) -> CpuidTable:
    """The leaves that CPUs of one description have in common, and those of APIC id 0 of the others."""
    _check(description)
    leaves = _Leaves()
    max_basic, max_extended = (0x10, 0x8000_001E) if description.amd else (0x1F, 0x8000_0008)
    if description.amd and description.dies > 1:
        max_extended = AMD_LEVELS
    for leaf in (*range(max_basic + 1), *range(0x8000_0000, max_extended + 1)):
        leaves.put(leaf, 0, (0, 0, 0, 0))
    vendor = _words(description.vendor.encode("ascii"), 3)
    leaves.put(0, 0, (max_basic, vendor[0], vendor[2], vendor[1]))
    leaves.put(0x8000_0000, 0, (max_extended, vendor[0], vendor[2], vendor[1]))
    _identity(leaves, description)
    _topology_leaves(leaves, description, 0)
    if description.amd:
        _amd_topology(leaves, description, 0)
        _caches(leaves, description, 0x8000_001D)
    else:
        _caches(leaves, description, 4)
        _frequencies(leaves, description)
    for name in description.features:
        if name in FEATURES:
            place = FEATURES[name]
            leaves.set_bit(place.leaf, place.subleaf, place.register, place.bit)
    return leaves.table()


class _Leaves:
    """Leaves under construction."""

    def __init__(self) -> None:
        self._registers: dict[tuple[int, int], list[int]] = {}

    def put(self, leaf: int, subleaf: int, registers: Registers) -> None:
        self._registers[leaf, subleaf] = list(registers)

    def set_bit(self, leaf: int, subleaf: int, register: int, bit: int) -> None:
        self._registers.setdefault((leaf, subleaf), [0, 0, 0, 0])[register] |= 1 << bit

    def table(self) -> CpuidTable:
        return {key: _same(r[0], r[1], r[2], r[3]) for key, r in self._registers.items()}


@lru_cache(maxsize=4096)
def _same(eax: int, ebx: int, ecx: int, edx: int) -> Registers:
    """One object for equal leaves: a large machine has thousands of CPUs."""
    return (eax, ebx, ecx, edx)


def _identity(leaves: _Leaves, d: CpuDescription) -> None:
    """Leaf 1 (signature, addressable ids), brand string, address sizes, subleaf counts."""
    addressable = min(1 << d.package_shift, 0xFF)
    ebx = CACHE_LINE_BYTES // 8 << 8 | addressable << 16
    leaves.put(1, 0, (signature(d.family, d.model, d.stepping), ebx, 0, 0))
    leaves.put(7, 0, (1, 0, 0, 0))
    leaves.put(0x8000_0001, 0, (signature(d.family, d.model, d.stepping) if d.amd else 0, 0, 0, 0))
    brand = _words(d.model_name.encode("ascii"), 12)
    for i in range(3):
        leaves.put(0x8000_0002 + i, 0, (brand[4 * i], brand[4 * i + 1], brand[4 * i + 2], brand[4 * i + 3]))
    virtual = 57 if "la57" in d.features else 48
    threads = d.package_shift << 12 | (d.cores * d.threads - 1 & 0xFF) if d.amd else 0
    leaves.put(0x8000_0008, 0, (d.phys_bits | virtual << 8, 0, threads, 0))


def _topology_leaves(leaves: _Leaves, d: CpuDescription, apic_id: int) -> None:
    """Leaf 0xB, and 0x1F where the CPU has it: shift to the next level, CPUs at the level, level number and type."""
    package = (d.package_shift, d.cores * d.threads)
    die = (d.die_shift, -(-d.cores // d.dies) * d.threads)
    _levels(leaves, 0xB, apic_id, d, ((*package, LEVEL_CORE),))
    if not d.amd:
        split = ((*die, LEVEL_CORE), (*package, LEVEL_DIE))
        _levels(leaves, 0x1F, apic_id, d, split if d.dies > 1 else ((*package, LEVEL_CORE),))
    elif d.dies > 1:
        above = ((*die, LEVEL_COMPLEX), (*die, LEVEL_AMD_DIE), (*package, LEVEL_SOCKET))
        _levels(leaves, AMD_LEVELS, apic_id, d, above)


def _levels(
    leaves: _Leaves, leaf: int, apic_id: int, d: CpuDescription, above: tuple[tuple[int, int, int], ...]
) -> None:
    # (shift to the next level, CPUs at the level, type) of each level above the threads'
    for subleaf, (shift, cpus, kind) in enumerate(((d.smt_shift, d.threads, LEVEL_SMT), *above)):
        leaves.put(leaf, subleaf, (shift, cpus, subleaf | kind << 8, apic_id))
    leaves.put(leaf, 1 + len(above), (0, 0, 1 + len(above), apic_id))


def _caches(leaves: _Leaves, d: CpuDescription, leaf: int) -> None:
    """Deterministic cache parameters: Intel's leaf 4, and AMD's 0x8000001D which lacks the core count."""
    for subleaf, cache in enumerate(d.caches):
        sets = cache.size_bytes // (cache.ways * CACHE_LINE_BYTES)
        sharing = (1 << (d.package_shift if cache.package else d.smt_shift)) - 1
        cores = min((1 << (d.package_shift - d.smt_shift)) - 1, 0x3F)
        eax = cache.kind | cache.level << 5 | 1 << 8 | min(sharing, 0xFFF) << 14 | (0 if d.amd else cores << 26)
        leaves.put(leaf, subleaf, (eax, CACHE_LINE_BYTES - 1 | (cache.ways - 1) << 22, sets - 1, 0))
    leaves.put(leaf, len(d.caches), (0, 0, 0, 0))


def _amd_topology(leaves: _Leaves, d: CpuDescription, apic_id: int) -> None:
    """Leaf 0x8000001E: extended APIC id, core id and threads per core, node id. One node per package."""
    core = apic_id >> d.smt_shift & 0xFF
    leaves.put(0x8000_001E, 0, (apic_id, core | (d.threads - 1) << 8, apic_id >> d.package_shift & 0xFF, 0))


def _frequencies(leaves: _Leaves, d: CpuDescription) -> None:
    """Leaf 0x15 (TSC : crystal ratio, crystal Hz) and 0x16 (base, maximum and bus MHz); neither without a crystal."""
    if not d.crystal_hz:
        return
    ratio = Fraction(d.tsc_khz * 1000, d.crystal_hz)
    mhz = (d.tsc_khz + 500) // 1000
    leaves.put(0x15, 0, (ratio.denominator, ratio.numerator, d.crystal_hz, 0))
    leaves.put(0x16, 0, (mhz, mhz, d.bus_mhz, 0))


def _check(d: CpuDescription) -> None:
    if len(d.vendor) != 12 or not d.vendor.isascii():
        raise InputError(f"CPU vendor: expected 12 ASCII characters, came {d.vendor!r}")
    if len(d.model_name) > 47 or not d.model_name.isascii():
        raise InputError(f"CPU model name: expected at most 47 ASCII characters, came {d.model_name!r}")
    if not (0 <= d.family <= 0x10E and 0 <= d.model <= 0xFF and 0 <= d.stepping <= 0xF):
        raise InputError(f"CPU family {d.family} model {d.model} stepping {d.stepping}: does not fit CPUID leaf 1")
    if d.model > 0xF and d.family < 6:
        raise InputError(f"CPU family {d.family} has no extended model numbers, came model {d.model}")
    if not 32 <= d.phys_bits <= 52 or d.tsc_khz < 1 or d.crystal_hz < 0:
        raise InputError(f"CPU: physical address bits {d.phys_bits}, TSC {d.tsc_khz} kHz, crystal {d.crystal_hz} Hz")
    if d.cores < 1 or d.threads < 1 or not 1 <= d.dies <= d.cores:
        raise InputError(
            f"CPU topology: expected at least a thread a core and a core a die, came {d.dies} dies, {d.cores} cores"
            f" and {d.threads} threads"
        )
    for name in d.features:
        if name not in FEATURES and name not in SYNTHETIC:
            raise InputError(f"CPU feature: expected a flag of /proc/cpuinfo, came {name!r}")


def _words(text: bytes, count: int) -> list[int]:
    """Text as little-endian 32-bit words, padded with zeros."""
    padded = text.ljust(4 * count, b"\0")
    return [int.from_bytes(padded[4 * i : 4 * i + 4], "little") for i in range(count)]
