"""Early microcode loading: the update in front of the initial RAM disk, on the boot CPU and then on every core.

Source: arch/x86/kernel/cpu/microcode/core.c, intel.c, amd.c @ v6.12 and v6.1
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import simpy

from hw.errors import GeneralProtection
from minikern.core.moduleparam import Parameter, raw_param
from minikern.core.printk import Level
from minikern.smp.microcode_amd import FINAL_LEVELS, AmdRules, find_patch, needs_digest, signature_of
from minikern.smp.microcode_cpio import CpioFile, find_cpio_data
from minikern.smp.microcode_intel import HEADER, date_text, newest, parse_updates
from minikern.state.cpus import EarlyMicrocode
from minikern.state.microcode import IntelUpdate, Signature

if TYPE_CHECKING:
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

MSR_IA32_PLATFORM_ID, MSR_IA32_UCODE_WRITE, MSR_IA32_UCODE_REV = 0x17, 0x79, 0x8B
MSR_AMD64_PATCH_LOADER = 0xC001_0020
AMD_VENDORS = frozenset({"AuthenticAMD", "HygonGenuine"})
FOLDER = "kernel/x86/microcode/"
LOADERS = {"GenuineIntel": 6, "AuthenticAMD": 0x10}  # first CPU family each loader knows
MAX_BLOB = 64 << 20
DRIVER_VERSION = "2.2"
NAMES = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


def load_ucode_bsp(k: Kernel) -> None:
    """Find the update for this CPU in the initial RAM disk and load it, before anything else is done.

    Source: core.c:load_ucode_bsp(); arch/x86/kernel/head64.c:x86_64_start_kernel() @ v6.12
    """
    maps = k.cpus
    state = maps.microcode = EarlyMicrocode()
    cpu = k.machine.boot_cpu
    state.disabled = _disabled(k, cpu)
    if state.disabled or maps.boot.family < LOADERS.get(maps.boot.vendor, 1 << 32):
        return
    try:
        state.revision = state.old_revision = microcode_revision(k, cpu)
        blob = _blob(k, maps.boot.vendor)
        if maps.boot.vendor == "GenuineIntel":
            _load_intel_bsp(k, cpu, blob)
        else:
            _load_amd_bsp(k, cpu, blob)
    except GeneralProtection:
        state.disabled = True  # no such registers: nothing to load


def _disabled(k: Kernel, cpu: CPU) -> bool:
    """Source: core.c:microcode_loader_disabled() @ v6.12"""
    boot = k.cpus.boot
    if k.cmdline.has("dis_ucode_ldr") or boot.has("hypervisor"):
        return True
    return boot.vendor == "AuthenticAMD" and _try_revision(k, cpu) in FINAL_LEVELS


def _try_revision(k: Kernel, cpu: CPU) -> int:
    try:
        return microcode_revision(k, cpu)
    except GeneralProtection:
        return 0


def _blob(k: Kernel, vendor: str) -> CpioFile | None:
    address, size = k.boot_params.ramdisk
    if not address or not size:
        return None
    found = find_cpio_data(k, f"{FOLDER}{vendor}.bin", address, size)
    return found if found is not None and 0 < found.size <= MAX_BLOB else None


def _read(k: Kernel, place: CpioFile) -> bytes:
    return k.machine.bus.read_bytes(place.address, place.size)


# Intel


def _load_intel_bsp(k: Kernel, cpu: CPU, blob: CpioFile | None) -> None:
    state = k.cpus.microcode
    if blob is None:
        return
    state.blob_address = blob.address
    state.updates = parse_updates(_read(k, blob)) or []
    state.signature = _intel_signature(cpu)
    update = newest(state.updates, state.signature, state.old_revision)
    if update is None:
        return
    k.charge("microcode_load")
    if _apply_intel(k, cpu, update):
        state.update = update
        state.revision = state.new_revision = update.revision


def _intel_signature(cpu: CPU) -> Signature:
    return Signature(cpu.cpuid(1).eax, 1 << (cpu.rdmsr(MSR_IA32_PLATFORM_ID) >> 50 & 7))


def _apply_intel(k: Kernel, cpu: CPU, update: IntelUpdate) -> bool:
    """True if the CPU runs it afterwards. The older loader says so the first time."""
    state = k.cpus.microcode
    cpu.wrmsr(MSR_IA32_UCODE_WRITE, state.blob_address + update.offset + HEADER.size)
    if microcode_revision(k, cpu) != update.revision:
        return False
    if not k.behaviour.microcode_core_lines and not state.told:
        state.told = True
        date = date_text(update.date)
        k.printk(f"microcode: microcode updated early to revision {update.revision:#x}, date = {date}")
    return True


def _intel_update_for(k: Kernel, cpu: CPU) -> IntelUpdate | None:
    """What a started CPU is to run: the boot CPU's update. The older loader searches again if that one needed none.

    Source: intel.c:load_ucode_intel_ap() @ v6.12 and v6.1
    """
    state = k.cpus.microcode
    again = state.update is None and k.behaviour.microcode_ap_search
    if again and state.signature is not None:
        state.update = newest(state.updates, state.signature, microcode_revision(k, cpu))
    return state.update


# AMD


def _load_amd_bsp(k: Kernel, cpu: CPU, blob: CpioFile | None) -> None:
    """Source: amd.c:load_ucode_amd_bsp() @ v6.12, apply_microcode_early_amd() @ v6.1"""
    maps = k.cpus
    state = maps.microcode
    if blob is None:
        return
    zen_ids = k.behaviour.microcode_zen_ids
    rules = AmdRules(cpu.cpuid(1).eax, maps.boot.family, state.old_revision, zen_ids)
    patch = find_patch(_read(k, blob), rules, lambda text: k.printk(text, Level.ERR))
    if patch is None:
        return
    state.blob_address, state.patch = blob.address, patch
    if state.old_revision > patch.revision:
        return
    k.charge("microcode_load")
    if _apply_amd(k, cpu):
        state.revision = state.new_revision = patch.revision


def _apply_amd(k: Kernel, cpu: CPU) -> bool:
    state = k.cpus.microcode
    assert state.patch is not None
    if k.behaviour.microcode_digests and not _digest_known(k, cpu):
        return False
    cpu.wrmsr(MSR_AMD64_PATCH_LOADER, state.blob_address + state.patch.offset)
    return microcode_revision(k, cpu) == state.patch.revision


def _digest_known(k: Kernel, cpu: CPU) -> bool:
    """Whether a patch may be loaded at all. Source: amd.c:verify_sha256_digest() @ v6.12"""
    state = k.cpus.microcode
    signature, revision = cpu.cpuid(1).eax, microcode_revision(k, cpu)
    if not needs_digest(signature, revision) or k.cmdline.get("microcode.amd_sha_check") == "off":
        return True
    assert state.patch is not None
    k.printk(f"microcode: No sha256 digest for patch ID: {state.patch.revision:#x} found", Level.ERR)
    return False


def _amd_patch_for(k: Kernel, cpu: CPU) -> bool:
    """True if a started CPU is to load the patch; every thread does, one whose core runs it already too.

    Source: amd.c:apply_microcode_amd() @ v6.12, load_ucode_amd_ap() @ v6.1
    """
    state = k.cpus.microcode
    if state.patch is None or microcode_revision(k, cpu) > state.patch.revision:
        return False
    if not k.behaviour.microcode_zen_ids or k.cpus.boot.family < 0x17:
        return True
    return signature_of(state.patch.revision) == signature_of(microcode_revision(k, cpu))


# every CPU that is started


def load_ucode_ap(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    """Load the update if this core does not run it yet: a thread whose core is done only looks.

    Source: core.c:load_ucode_ap() @ v6.12
    """
    maps = k.cpus
    state = maps.microcode
    if state.disabled or not state.blob_address:
        return
    if maps.boot.vendor == "AuthenticAMD":
        yield from _load_amd_ap(k, nr, cpu)
        return
    update = _intel_update_for(k, cpu)
    if update is None:
        return
    if microcode_revision(k, cpu) >= update.revision:
        yield k.charge_on(nr, "microcode_check")
        return
    yield k.charge_on(nr, "microcode_load")
    _apply_intel(k, cpu, update)
    k.mark(nr, "microcode", microcode_revision(k, cpu))


def _load_amd_ap(k: Kernel, nr: int, cpu: CPU) -> Generator[simpy.Event, None, None]:
    state = k.cpus.microcode
    if not _amd_patch_for(k, cpu):
        return
    yield k.charge_on(nr, "microcode_load")
    if _apply_amd(k, cpu):
        k.mark(nr, "microcode", microcode_revision(k, cpu))
    elif k.behaviour.microcode_core_lines and state.patch is not None:
        k.printk(f"microcode: CPU{nr}: update failed for patch_level=0x{state.patch.revision:08x}", Level.ERR)


def microcode_revision(k: Kernel, cpu: CPU) -> int:
    """Revision the CPU runs; GeneralProtection where it has none. Source: SDM vol. 3A, "Microcode Update"."""
    if k.cpus.boot.vendor in AMD_VENDORS:
        return cpu.rdmsr(MSR_IA32_UCODE_REV) & 0xFFFFFFFF
    cpu.wrmsr(MSR_IA32_UCODE_REV, 0)
    cpu.cpuid(1)
    return cpu.rdmsr(MSR_IA32_UCODE_REV) >> 32


# late


def microcode_init(k: Kernel) -> None:
    """The driver's lines: what the CPUs run. Source: core.c:microcode_init() @ v6.12 and v6.1"""
    maps = k.cpus
    state = maps.microcode
    if state.disabled:
        return
    vendor = NAMES.get(maps.boot.vendor)
    if vendor is None:
        k.printk("microcode: no support for this CPU vendor", Level.ERR)
        return
    if maps.boot.family < LOADERS[maps.boot.vendor]:
        level = Level.ERR if vendor == "Intel" else Level.WARNING
        k.printk(f"microcode: {vendor} CPU family {maps.boot.family:#x} not supported", level)
        return
    if k.behaviour.microcode_core_lines:
        k.printk(f"microcode: Current revision: 0x{state.revision:08x}")
        if state.new_revision:
            k.printk(f"microcode: Updated early from: 0x{state.old_revision:08x}")
        return
    _driver_lines(k, vendor)
    k.printk(f"microcode: Microcode Update Driver: v{DRIVER_VERSION}.")


def _driver_lines(k: Kernel, vendor: str) -> None:
    """One line a CPU (AMD), or one where it differs from the line before. Source: collect_cpu_info() @ v6.1"""
    maps = k.cpus
    if vendor == "AMD" and maps.microcode.new_revision:
        k.printk(f"microcode: microcode updated early to new patch_level=0x{maps.microcode.new_revision:08x}")
    before = ""
    for nr in maps.online:
        cpu = maps.hardware.get(nr, k.machine.boot_cpu)
        revision = microcode_revision(k, cpu)
        if vendor == "AMD":
            k.printk(f"microcode: CPU{nr}: patch_level=0x{revision:08x}")
            continue
        signature = _intel_signature(cpu)
        text = f"microcode: sig={signature.sig:#x}, pf={signature.pf:#x}, revision={revision:#x}"
        if text != before:
            k.printk(text)
        before = text


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    raw_param("dis_ucode_ldr", read_by=load_ucode_bsp),
    raw_param("microcode.amd_sha_check", read_by=load_ucode_bsp),
)
