"""Where CPUID keeps each feature, by Linux's flag name.

Source: SDM vol. 2A "CPUID", AMD64 APM vol. 3 appendix E; names from arch/x86/include/asm/cpufeatures.h @ v6.12.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Place(NamedTuple):
    """One CPUID bit."""

    leaf: int
    subleaf: int
    register: int  # 0 EAX, 1 EBX, 2 ECX, 3 EDX
    bit: int


EAX, EBX, ECX, EDX = range(4)

# Names in bit order from bit 0; "-" is a bit without a flag.
_WORDS: tuple[tuple[int, int, int, str], ...] = (
    (
        1,
        0,
        EDX,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse "
        "sse2 ss ht tm ia64 pbe",
    ),
    (
        1,
        0,
        ECX,
        "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 "
        "sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor",
    ),
    (5, 0, ECX, "mwait_extensions"),  # Linux has no flags for what it reads of leaf 5
    (5, 0, EDX, "- " * 28 + "mwait_c10"),
    (6, 0, EAX, "dtherm ida arat - pln - pts hwp hwp_notify hwp_act_window hwp_epp hwp_pkg_req - - - - - - - hfi"),
    (
        7,
        0,
        EBX,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed "
        "adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    ),
    (
        7,
        0,
        ECX,
        "- avx512vbmi umip pku - waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
        "avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc",
    ),
    (
        7,
        0,
        EDX,
        "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - "
        "pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities",
    ),
    (7, 1, EAX, "- - - - avx_vnni avx512_bf16 - - - - - - - - - - - fred - wrmsrns - amx_fp16 - avx_ifma - - lam"),
    (0xD, 1, EAX, "xsaveopt xsavec xgetbv1 xsaves"),
    (0xF, 0, EDX, "- cqm_llc"),
    (0xF, 1, EDX, "cqm_occup_llc cqm_mbm_total cqm_mbm_local"),
    (
        0x8000_0001,
        0,
        EDX,
        "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
    ),
    (
        0x8000_0001,
        0,
        ECX,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp "
        "fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx",
    ),
    (0x8000_0007, 0, EBX, "overflow_recov succor - smca"),
    (0x8000_0008, 0, EBX, "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - - - - - - - - - - - - amd_ppin"),
)

_ALIASES: Mapping[str, Place] = MappingProxyType(
    {
        # Both follow from the one invariant-TSC bit.
        "constant_tsc": Place(0x8000_0007, 0, EDX, 8),
        "nonstop_tsc": Place(0x8000_0007, 0, EDX, 8),
        "aperfmperf": Place(6, 0, ECX, 0),
        "epb": Place(6, 0, ECX, 3),
        # One bit for both.
        "ibrs": Place(7, 0, EDX, 26),
        "ibpb": Place(7, 0, EDX, 26),
        "stibp": Place(7, 0, EDX, 27),
        "ssbd": Place(7, 0, EDX, 31),
    }
)


def _places() -> dict[str, Place]:
    found = dict(_ALIASES)
    for leaf, subleaf, register, names in _WORDS:
        for bit, name in enumerate(names.split()):
            if name != "-":
                found[name] = Place(leaf, subleaf, register, bit)
    return found


FEATURES: Mapping[str, Place] = MappingProxyType(_places())

_SYNTHETIC = (
    "acc_power arch_perfmon art avic bts cat_l2 cat_l3 cdp_l2 cdp_l3 cpb cpuid cpuid_fault decodeassists ept ept_ad "
    "extd_apicid flexpriority flushbyasid hw_pstate ibrs_enhanced intel_ppin invpcid_single lbrv mba nonstop_tsc_s3 "
    "nopl nrip_save npt ospke osxsave pausefilter pebs perfmon_v2 pfthreshold proc_feedback pti rep_good ring3mwait "
    "sev sev_es sev_snp sme split_lock_detect svm_lock tpr_shadow tsc_known_freq tsc_reliable tsc_scale up user_shstk "
    "v_spec_ctrl v_vmsave_vmload vgif virt_ssbd vmcb_clean vmmcall vnmi vpid x2avic xtopology"
)
SYNTHETIC = frozenset(_SYNTHETIC.split())
"""Flags of /proc/cpuinfo that Linux derives itself, or keeps in leaves this model does not fill: accepted, no bit."""
