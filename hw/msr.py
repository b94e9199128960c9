"""Numbers of model-specific registers, and the plain ones a described CPU starts with.

Source: SDM vol. 4, "Model-Specific Registers (MSRs)"; AMD64 APM vol. 2 for the 0xC001xxxx ones.
"""

from __future__ import annotations

IA32_TIME_STAMP_COUNTER = 0x10
IA32_PLATFORM_ID = 0x17
IA32_APIC_BASE = 0x1B
IA32_FEATURE_CONTROL = 0x3A
IA32_TSC_ADJUST = 0x3B
IA32_BIOS_UPDT_TRIG = 0x79
IA32_BIOS_SIGN_ID = 0x8B
MSR_PLATFORM_INFO = 0xCE
IA32_MTRRCAP = 0xFE
IA32_MISC_ENABLE = 0x1A0
IA32_MTRR_PHYSBASE0 = 0x200
IA32_MTRR_FIX = (0x250, 0x258, 0x259, *range(0x268, 0x270))
IA32_PAT = 0x277
IA32_MTRR_DEF_TYPE = 0x2FF
IA32_TSC_DEADLINE = 0x6E0
X2APIC_FIRST, X2APIC_LAST = 0x800, 0x8FF
IA32_EFER = 0xC000_0080
IA32_FS_BASE, IA32_GS_BASE, IA32_KERNEL_GS_BASE = 0xC000_0100, 0xC000_0101, 0xC000_0102
IA32_TSC_AUX = 0xC000_0103
MSR_PKG_CST_CONFIG_CONTROL = 0xE2
MSR_AMD64_PATCH_LOADER = 0xC001_0020
MSR_AMD64_SYSCFG, MSR_K7_HWCR = 0xC001_0010, 0xC001_0015
MSR_K8_TOP_MEM1, MSR_K8_TOP_MEM2 = 0xC001_001A, 0xC001_001D

READ_ONLY = frozenset({IA32_PLATFORM_ID, MSR_PLATFORM_INFO, IA32_MTRRCAP})
"""Plain registers whose write is a general protection fault."""

PAT_RESET = 0x0007_0406_0007_0406
"""Source: SDM vol. 3A, "PAT": WB, WT, UC-, UC, twice."""
MTRR_PAIRS = 10
MTRRCAP = 0xD00 | MTRR_PAIRS  # fixed ranges, WC and SMRR supported
MTRR_ENABLED_WB = 0xC06  # MTRRs and fixed ranges on, default type write-back
WB_BYTES, UC_BYTES, WP_BYTES = 0x0606_0606_0606_0606, 0, 0x0505_0505_0505_0505
EFER_LONG_MODE = 0xD01  # SCE, LME, LMA, NXE


def default_msrs(vendor: str = "GenuineIntel", microcode: int = 0, tsc_khz: int = 0) -> dict[int, int]:
    """MSRs of a CPU as firmware leaves them: all RAM write-back, VGA hole uncached, BIOS area write-protected.

    `microcode` is the revision; `tsc_khz` gives the ratio in MSR_PLATFORM_INFO.
    """
    msrs = {
        IA32_PLATFORM_ID: 0,
        IA32_FEATURE_CONTROL: 1,
        IA32_BIOS_SIGN_ID: microcode << 32,
        IA32_MTRRCAP: MTRRCAP,
        IA32_MISC_ENABLE: 1,  # fast strings
        IA32_PAT: PAT_RESET,
        IA32_MTRR_DEF_TYPE: MTRR_ENABLED_WB,
        IA32_EFER: EFER_LONG_MODE,
        IA32_FS_BASE: 0,
        IA32_GS_BASE: 0,
        IA32_KERNEL_GS_BASE: 0,
        IA32_TSC_AUX: 0,
    }
    msrs |= {IA32_MTRR_PHYSBASE0 + i: 0 for i in range(2 * MTRR_PAIRS)}
    for msr in IA32_MTRR_FIX:
        msrs[msr] = WB_BYTES if msr < 0x259 else UC_BYTES if msr == 0x259 else WP_BYTES
    if vendor in ("AuthenticAMD", "HygonGenuine"):
        msrs[IA32_BIOS_SIGN_ID] = microcode  # AMD: PATCH_LEVEL, the revision in the low half
        msrs |= {MSR_AMD64_SYSCFG: 0, MSR_K7_HWCR: 0, MSR_K8_TOP_MEM1: 0, MSR_K8_TOP_MEM2: 0}
    else:
        msrs[MSR_PLATFORM_INFO] = (tsc_khz // 100_000 & 0xFF) << 8  # maximum non-turbo ratio, units of 100 MHz
    return msrs
