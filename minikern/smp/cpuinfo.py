"""What CPUID says about a processor: vendor, family, model, name and the features bring-up asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.state.cpuinfo import CpuInfo
from minikern.state.cpus import CpuMaps

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

# CPUID leaf 1 ECX/EDX and leaf 7 EBX bits. Source: SDM vol. 2A, CPUID
_LEAF1_ECX = {"x2apic": 21, "tsc_deadline_timer": 24, "hypervisor": 31}
_LEAF1_EDX = {"tsc": 4, "apic": 9, "ht": 28}
_LEAF6_EAX = {"arat": 2}
_LEAF7_EBX = {"tsc_adjust": 1, "rtm": 11}
_POWER_EDX = {"invariant_tsc": 8}  # leaf 0x80000007

# Signatures of leaf 0x40000000 that the kernel knows; a machine under any other is bare metal to it.
# Source: arch/x86/kernel/cpu/hypervisor.c @ v6.12 and the files of its table
_HYPERVISORS = {
    b"KVMKVMKVM\0\0\0": "KVM",
    b"Microsoft Hv": "Microsoft Hyper-V",
    b"VMwareVMware": "VMware",
    b"XenVMMXenVMM": "Xen HVM",
    b"Jailhouse\0\0\0": "Jailhouse",
    b"ACRNACRNACRN": "ACRN",
}

# Vendor names as the CPU0 line writes them. Source: arch/x86/kernel/cpu/*.c: struct cpu_dev @ v6.12
VENDOR_NAMES = {
    "GenuineIntel": "Intel",
    "AuthenticAMD": "AMD",
    "HygonGenuine": "Hygon",
    "CentaurHauls": "Centaur",
    "  Shanghai  ": "zhaoxin",
}


def identify_cpu(cpu: CPU) -> CpuInfo:
    """Read the identity of ``cpu`` by CPUID.

    Source: arch/x86/kernel/cpu/common.c:early_identify_cpu(), cpu_detect(), get_model_name() @ v6.12
    """
    leaf0 = cpu.cpuid(0)
    vendor = b"".join(word.to_bytes(4, "little") for word in (leaf0.ebx, leaf0.edx, leaf0.ecx)).decode("latin-1")
    signature = cpu.cpuid(1).eax
    family, model, stepping = decode_signature(signature)
    extended = cpu.cpuid(0x80000000).eax
    max_extended = extended if extended >> 16 == 0x8000 else 0
    return CpuInfo(
        vendor=vendor,
        family=family,
        model=model,
        stepping=stepping,
        model_name=_model_name(cpu, max_extended),
        max_leaf=leaf0.eax,
        max_extended_leaf=max_extended,
        features=_features(cpu, vendor, family, model, leaf0.eax, max_extended),
        hypervisor=_hypervisor(cpu),
    )


def _hypervisor(cpu: CPU) -> str:
    if not cpu.cpuid(1).ecx >> 31 & 1:
        return ""
    leaf = cpu.cpuid(0x40000000)
    signature = b"".join(word.to_bytes(4, "little") for word in (leaf.ebx, leaf.ecx, leaf.edx))
    return _HYPERVISORS.get(signature, "")


def decode_signature(signature: int) -> tuple[int, int, int]:
    """Family, model and stepping of a CPUID leaf 1 EAX value. Source: arch/x86/lib/cpu.c @ v6.12"""
    family, model = signature >> 8 & 0xF, signature >> 4 & 0xF
    if family == 0xF:
        family += signature >> 20 & 0xFF
    if family >= 6:
        model |= (signature >> 16 & 0xF) << 4
    return family, model, signature & 0xF


def _features(cpu: CPU, vendor: str, family: int, model: int, max_leaf: int, max_extended: int) -> frozenset[str]:
    leaf1 = cpu.cpuid(1)
    found = {name for name, bit in _LEAF1_ECX.items() if leaf1.ecx >> bit & 1}
    found |= {name for name, bit in _LEAF1_EDX.items() if leaf1.edx >> bit & 1}
    if max_leaf >= 6:
        eax = cpu.cpuid(6).eax
        found |= {name for name, bit in _LEAF6_EAX.items() if eax >> bit & 1}
    if max_leaf >= 7:
        ebx = cpu.cpuid(7).ebx
        found |= {name for name, bit in _LEAF7_EBX.items() if ebx >> bit & 1}
    if max_extended >= 0x80000007:
        edx = cpu.cpuid(0x80000007).edx
        found |= {name for name, bit in _POWER_EDX.items() if edx >> bit & 1}
    if "invariant_tsc" in found:
        found |= {"constant_tsc", "nonstop_tsc"}
    # Source: arch/x86/kernel/cpu/intel.c:early_init_intel() @ v6.12
    if vendor == "GenuineIntel" and ((family == 6 and model >= 0xE) or (family == 0xF and model >= 3)):
        found.add("constant_tsc")
    return frozenset(found)


def _model_name(cpu: CPU, max_extended: int) -> str:
    # Blanks at both ends are taken off, those within stay. Source: cpu/common.c:get_model_name() @ v6.12
    if max_extended < 0x80000004:
        return ""
    raw = b"".join(
        word.to_bytes(4, "little") for leaf in (0x80000002, 0x80000003, 0x80000004) for word in cpu.cpuid(leaf)[:4]
    )
    return raw.split(b"\0")[0].decode("latin-1").strip()


def cpu_info_text(info: CpuInfo) -> str:
    """The CPU's name and signature as the CPU0 line gives them.

    Source: arch/x86/kernel/cpu/common.c:print_cpu_info() @ v6.12
    """
    vendor = VENDOR_NAMES.get(info.vendor, info.vendor)
    name = info.model_name or f"{info.family}86"
    lead = "" if vendor in info.model_name else f"{vendor} "
    return f"{lead}{name} (family: {info.family:#x}, model: {info.model:#x}, stepping: {info.stepping:#x})"



def early_cpu_init(k: Kernel) -> None:
    """Identify the boot CPU and open the books about CPUs.

    Source: arch/x86/kernel/cpu/common.c:early_cpu_init() @ v6.12
    """
    k.cpus = CpuMaps(boot=identify_cpu(k.machine.boot_cpu))
