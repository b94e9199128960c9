"""Which CPU vulnerabilities matter once SMT siblings run, decided from CPUID and MSRs.

Source: arch/x86/kernel/cpu/common.c:cpu_set_bug_bits(), arch/x86/kernel/cpu/bugs.c:cpu_bugs_smt_update() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import GeneralProtection
from minikern.core.moduleparam import Parameter, early_param
from minikern.core.printk import Level

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel
    from minikern.state.cpuinfo import CpuInfo

MSR_ARCH_CAPABILITIES = 0x10A
ARCH_CAP_MDS_NO, ARCH_CAP_TSX_CTRL, ARCH_CAP_TAA_NO = 1 << 5, 1 << 7, 1 << 8
ARCH_CAP_SBDR_SSDP_NO, ARCH_CAP_FBSDP_NO, ARCH_CAP_PSDP_NO = 1 << 13, 1 << 14, 1 << 15
CPUID7_EDX_ARCH_CAPABILITIES = 1 << 29

# Intel family 6 models by number. Source: arch/x86/include/asm/intel-family.h, cpu_vuln_blacklist @ v6.12
MMIO_MODELS = frozenset(
    {0x3F, 0x4F, 0x56, 0x55, 0x4E, 0x5E, 0x8E, 0x9E, 0x66, 0x7D, 0x7E, 0x6A, 0x6C, 0xA5, 0xA6, 0x8A, 0x8C, 0x8D, 0xA7}
    | {0x96, 0x9C, 0x86}
)
MMIO_NOT_AFFECTED = frozenset({0x8C, 0x8D})  # Tiger Lake is in the list for other flaws only
# Core and Xeon from Nehalem to Comet Lake; what came later says in a register that it is immune, which a description
# does not have. Source: Intel, "Affected Processors: Transient Execution Attacks", MDS
MDS_AFFECTED = frozenset(
    {0x1A, 0x1E, 0x1F, 0x2E, 0x25, 0x2C, 0x2F, 0x2A, 0x2D, 0x3A, 0x3E, 0x3C, 0x3F, 0x45, 0x46, 0x3D, 0x47, 0x4F, 0x56}
    | {0x4E, 0x5E, 0x55, 0x66, 0x8E, 0x9E}
)

MITIGATIONS = ("off", "auto", "auto,nosmt")
_ADVICE = "CPU bug present and SMT on, data leak possible. See https://www.kernel.org/doc/html/latest/admin-guide/hw-vuln"
MDS_LINE = f"MDS {_ADVICE}/mds.html for more details."
TAA_LINE = f"TAA {_ADVICE}/tsx_async_abort.html for more details."
MMIO_LINE = f"MMIO Stale Data {_ADVICE}/processor_mmio_stale_data.html for more details."


def arch_capabilities(k: Kernel) -> int:
    """IA32_ARCH_CAPABILITIES, 0 where the CPU has none."""
    cpu = k.machine.boot_cpu
    if not cpu.cpuid(7).edx & CPUID7_EDX_ARCH_CAPABILITIES:
        return 0
    try:
        return cpu.rdmsr(MSR_ARCH_CAPABILITIES)
    except GeneralProtection:
        return 0


def mitigations_parse_cmdline(k: Kernel, value: str | None) -> bool:
    """``mitigations=``. Source: kernel/cpu.c:mitigations_parse_cmdline() @ v6.12"""
    if value is not None and not _known(value):
        k.printk(f"Unsupported mitigations={value}, system may still be vulnerable", Level.CRIT)
    return True


def _known(value: str) -> bool:
    # What follows a semicolon names kinds of attack, in newer kernels.
    return value.split(";")[0] in MITIGATIONS


def mitigations_off(k: Kernel) -> bool:
    """True if the last word that means something is ``mitigations=off``."""
    return [word for word in k.cmdline.getall("mitigations") if _known(word)][-1:] == ["off"]


def smt_lines(k: Kernel, boot: CpuInfo) -> list[str]:
    """Messages printed once the first SMT sibling is up."""
    if mitigations_off(k) or boot.vendor != "GenuineIntel" or boot.family != 6:
        return []
    capabilities = arch_capabilities(k)
    lines = []
    sampled = not capabilities & ARCH_CAP_MDS_NO and boot.model in MDS_AFFECTED
    if k.behaviour.mds_known and sampled:
        lines.append(MDS_LINE)
    tsx = boot.has("rtm") or bool(capabilities & ARCH_CAP_TSX_CTRL)
    if k.behaviour.taa_known and tsx and not capabilities & ARCH_CAP_TAA_NO:
        lines.append(TAA_LINE)
    if not k.behaviour.mmio_stale_known:
        return lines
    immune = ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO
    if capabilities & immune != immune and boot.model in MMIO_MODELS - MMIO_NOT_AFFECTED:
        lines.append(MMIO_LINE)
    return lines


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("mitigations", mitigations_parse_cmdline, read_by=mitigations_off),
)
