"""CPUID leaves of described CPUs, decoded back; feature bits checked against real dumps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.cpu_features import FEATURES, SYNTHETIC, Place
from hw.cpuid import CpuDescription, CpuidTable, build_cpuid, signature
from hw.errors import InputError
from hw.spec import CpuSpec


def flags_of(table: CpuidTable) -> set[str]:
    """Every known flag whose bit is set."""
    return {name for name, p in FEATURES.items() if table.get((p.leaf, p.subleaf), (0,) * 4)[p.register] >> p.bit & 1}


def text(*words: int) -> str:
    return b"".join(word.to_bytes(4, "little") for word in words).rstrip(b"\0").decode()


def decode_signature(eax: int) -> tuple[int, int, int]:
    """Display family, model, stepping by the SDM's rule."""
    family, model = eax >> 8 & 0xF, eax >> 4 & 0xF
    if family in (6, 0xF):
        model |= eax >> 12 & 0xF0
    if family == 0xF:
        family += eax >> 20 & 0xFF
    return family, model, eax & 0xF


# Real leaves (emulated Skylake server and a minimal 64-bit CPU) and what Linux printed in /proc/cpuinfo for them.
REAL = [
    (
        {
            (1, 0): (0x50654, 0x40800, 0xFED83203, 0x178BFBFD),
            (6, 0): (4, 0, 0, 0),
            (7, 0): (0, 0x19803A9, 0x18, 0),
            (0xD, 1): (5, 0x988, 0, 0),
            (0x80000001, 0): (0x50654, 0, 0x21, 0x2C100800),
        },
        "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht syscall nx "
        "pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology cpuid pni pclmulqdq ssse3 fma cx16 sse4_1 sse4_2 movbe "
        "popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm pti fsgsbase bmi1 avx2 smep bmi2 erms adx smap "
        "clflushopt clwb xsaveopt xgetbv1 arat pku ospke",
    ),
    (
        {
            (1, 0): (0x60FB1, 0x800, 0x80002001, 0x78BFBFD),
            (0x80000001, 0): (0x60FB1, 0, 5, 0x2193FBFD),
        },
        "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 syscall nx lm "
        "rep_good nopl cpuid extd_apicid pni cx16 hypervisor lahf_lm svm 3dnowprefetch vmmcall",
    ),
]


@pytest.mark.parametrize(("leaves", "cpuinfo"), REAL)
def test_feature_bits_are_those_of_real_cpus(leaves: CpuidTable, cpuinfo: str) -> None:
    flags = set(cpuinfo.split())
    assert flags <= FEATURES.keys() | SYNTHETIC
    # Linux knows these two from the model number alone, without the bit.
    derived = SYNTHETIC | {"constant_tsc", "3dnowprefetch"}
    assert flags_of(leaves) - derived == flags - derived


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("la57", Place(7, 0, 2, 16)),
        ("sha_ni", Place(7, 0, 1, 29)),
        ("tsc_adjust", Place(7, 0, 1, 1)),
        ("x2apic", Place(1, 0, 2, 21)),
        ("tsc_deadline_timer", Place(1, 0, 2, 24)),
        ("arat", Place(6, 0, 0, 2)),
        ("nonstop_tsc", Place(0x80000007, 0, 3, 8)),
        ("arch_capabilities", Place(7, 0, 3, 29)),
        ("amx_tile", Place(7, 0, 3, 24)),
        ("lam", Place(7, 1, 0, 26)),
        ("wbnoinvd", Place(0x80000008, 0, 1, 9)),
        ("amd_ppin", Place(0x80000008, 0, 1, 23)),
        ("topoext", Place(0x80000001, 0, 2, 22)),
        ("enqcmd", Place(7, 0, 2, 29)),
    ],
)
def test_places_from_the_manuals(name: str, place: Place) -> None:
    assert FEATURES[name] == place


def test_no_flag_is_both_real_and_synthetic() -> None:
    assert not FEATURES.keys() & SYNTHETIC


@given(st.sets(st.sampled_from(sorted(FEATURES)), max_size=30))
def test_features_decode_back(names: set[str]) -> None:
    found = flags_of(build_cpuid(CpuDescription(features=tuple(names)), 0))
    same_bit = {other for other in FEATURES for name in names if FEATURES[other] == FEATURES[name]}
    assert found == same_bit


@given(
    st.one_of(st.tuples(st.integers(0, 5), st.integers(0, 15)), st.tuples(st.integers(6, 0x10E), st.integers(0, 255))),
    st.integers(0, 15),
)
def test_signature_decodes_back(kind: tuple[int, int], stepping: int) -> None:
    family, model = kind
    if 6 < family < 0xF:
        model &= 0xF  # these families never had extended models
    assert decode_signature(signature(family, model, stepping)) == (family, model, stepping)


def test_signature_of_a_real_cpu() -> None:
    assert signature(6, 85, 4) == 0x50654


@given(st.integers(1, 64), st.integers(1, 4), st.integers(0, 2**31))
def test_topology_decodes_back(cores: int, threads: int, apic_id: int) -> None:
    description = CpuDescription(cores=cores, threads=threads)
    table = build_cpuid(description, apic_id)
    for leaf in (0xB, 0x1F):
        smt, core, end = (table[leaf, level] for level in range(3))
        assert (1 << smt[0] >> 1) < threads <= 1 << smt[0]
        assert cores <= 1 << (core[0] - smt[0]) < 2 * cores
        assert (smt[1], core[1]) == (threads, cores * threads)
        assert [level[2] for level in (smt, core, end)] == [0x100, 0x201, 2]
        assert [level[3] for level in (smt, core, end)] == [apic_id] * 3
    assert table[1, 0][1] >> 24 == apic_id & 0xFF
    assert table[1, 0][1] >> 16 & 0xFF == min(255, 1 << core[0])
    l3 = table[4, 3]
    assert l3[0] >> 14 & 0xFFF == (1 << core[0]) - 1 and l3[0] >> 26 == (1 << (core[0] - smt[0])) - 1


def test_caches_decode_back() -> None:
    description = CpuDescription(cores=4, threads=2)
    table = build_cpuid(description, 0)
    for subleaf, cache in enumerate(description.caches):
        eax, ebx, ecx, _edx = table[4, subleaf]
        size = ((ebx >> 22) + 1) * ((ebx >> 12 & 0x3FF) + 1) * ((ebx & 0xFFF) + 1) * (ecx + 1)
        assert (eax & 0x1F, eax >> 5 & 7, size) == (cache.kind, cache.level, cache.size_bytes)
    assert table[4, len(description.caches)][0] & 0x1F == 0


@given(st.integers(1, 6_000_000), st.sampled_from([24_000_000, 25_000_000, 38_400_000, 19_200_000]))
def test_tsc_frequency_decodes_exactly(khz: int, crystal: int) -> None:
    table = build_cpuid(CpuDescription(tsc_khz=khz, crystal_hz=crystal), 0)
    denominator, numerator, hz, _ = table[0x15, 0]
    assert hz == crystal and hz * numerator == khz * 1000 * denominator
    assert abs(table[0x16, 0][0] * 1000 - khz) <= 500


def test_no_crystal_no_frequency() -> None:
    table = build_cpuid(CpuDescription(), 0)
    assert table[0x15, 0] == table[0x16, 0] == (0, 0, 0, 0)


def test_names_and_sizes() -> None:
    table = build_cpuid(CpuDescription(model_name="Testing 9000 CPU", phys_bits=52, features=("la57",)), 3)
    _max, ebx, ecx, edx = table[0, 0]
    assert text(ebx, edx, ecx) == "GenuineIntel"
    assert text(*(word for leaf in (2, 3, 4) for word in table[0x80000000 + leaf, 0])) == "Testing 9000 CPU"
    assert table[0x80000008, 0][0] & 0xFFFF == 57 << 8 | 52


def test_amd_leaves() -> None:
    description = CpuDescription(vendor="AuthenticAMD", family=0x19, model=1, cores=8, threads=2, features=("topoext",))
    table = build_cpuid(description, 0x13)
    assert (0x1F, 0) not in table and table[0xB, 1][:2] == (4, 16)
    assert table[4, 0] == (0, 0, 0, 0) and table[0x8000001D, 3][0] >> 14 & 0xFFF == 15
    assert table[0x8000001E, 0] == (0x13, 0x109, 1, 0)
    assert table[0x80000008, 0][2] == 4 << 12 | 15


@pytest.mark.parametrize(
    "description",
    [
        CpuDescription(features=("fpu", "no_such_flag")),
        CpuDescription(vendor="Intel"),
        CpuDescription(model_name="x" * 48),
        CpuDescription(family=0x10F),
        CpuDescription(family=5, model=16),
        CpuDescription(model=256),
        CpuDescription(threads=0),
        CpuDescription(phys_bits=53),
        CpuDescription(vendor="Genuine\u0130ntel"),
    ],
)
def test_wrong_descriptions_are_refused(description: CpuDescription) -> None:
    with pytest.raises(InputError, match="CPU"):
        build_cpuid(description, 0)


def test_dies() -> None:
    """Twelve cores on two dies leave a hole in the ids. Source: SDM leaf 1FH, APM leaf 8000_0026H."""
    description = CpuDescription(vendor="AuthenticAMD", family=0x19, model=1, cores=12, threads=2, dies=2)
    amd = build_cpuid(description, 0x13)
    assert amd[0x80000000, 0][0] == 0x80000026
    assert [amd[0x80000026, level][:3] for level in range(4)] == [
        (1, 2, 1 << 8), (4, 12, 1 | 2 << 8), (4, 12, 2 | 3 << 8), (5, 24, 3 | 4 << 8),
    ]  # fmt: skip
    intel = build_cpuid(CpuDescription(cores=4, threads=2, dies=2), 5)
    assert [intel[0x1F, level][:3] for level in range(3)] == [(1, 2, 0x100), (2, 4, 0x201), (3, 8, 0x502)]
    assert intel[0xB, 1][:2] == (3, 8) and (0x80000026, 0) not in intel
    ids = [place.apic_id for place in CpuSpec(count=12, cores=6, dies=2, threads=2).topology()]
    assert ids == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
