"""The DMAR table: which DMA remapping units there are and which devices each covers.

Source: drivers/iommu/intel/dmar.c @ v6.12; VT-d specification 4.1, chapter 8
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, Words, early_param, needs_value, setup_param
from minikern.core.printk import Level
from minikern.pci.irq import arch_dynirq_lower_bound
from minikern.state.dmar import SCOPE_HPET, SCOPE_IOAPIC, DmarState, RemappingUnit, Scope

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

HEADER_BYTES = 48
DRHD, RMRR, ATSR, RHSA, ANDD, SATC = range(6)
INCLUDE_ALL = 1
INTR_REMAP, X2APIC_OPT_OUT = 1, 2
ECAP_QI, ECAP_IR, ECAP_EIM, ECAP_SMTS, CAP_CACHING_MODE = 1 << 1, 1 << 3, 1 << 4, 1 << 43, 1 << 7


def _structures(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of each remapping structure; stops at one that can not be."""
    at = HEADER_BYTES
    while at + 4 <= len(data):
        kind, length = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        if length < 4 or at + length > len(data):
            return
        yield kind, data[at : at + length]
        at += length


def _scopes(data: bytes) -> list[Scope]:
    scopes: list[Scope] = []
    at = 0
    while at + 6 <= len(data) and data[at + 1] >= 6 and at + data[at + 1] <= len(data):
        end = at + data[at + 1]
        path = tuple((data[i], data[i + 1]) for i in range(at + 6, end - 1, 2))
        scopes.append(Scope(data[at], data[at + 4], data[at + 5], path))
        at = end
    return scopes


def detect_intel_iommu(k: Kernel) -> None:
    """Note, before devices are found, that they are to be isolated if an IOMMU will be used.

    Source: drivers/iommu/intel/dmar.c:detect_intel_iommu() @ v6.12
    """
    data = k.acpi.table("DMAR")
    if data and len(data) >= HEADER_BYTES and intel_iommu_enabled(k):
        k.pci.acs_requested = True
    # Source: drivers/iommu/amd/init.c:amd_iommu_detect() @ v6.12
    amd = k.acpi.table("IVRS") and "off" not in k.cmdline.words("amd_iommu")
    if amd and "off" not in k.cmdline.words("iommu"):
        k.pci.acs_requested = True


def intel_iommu_enabled(k: Kernel) -> bool:
    """What the build and the command line say, the last word winning. Source: intel/iommu.c:intel_iommu_setup()"""
    # The second of the two leaves integrated graphics untranslated, which changes no group.
    defaults = ("CONFIG_INTEL_IOMMU_DEFAULT_ON", "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF")
    enabled = any(k.config.enabled(name) for name in defaults)
    for word in k.cmdline.words("intel_iommu"):
        if word.startswith("on"):
            enabled = True
        elif word.startswith("off"):
            enabled = False
    return enabled and "off" not in k.cmdline.words("iommu")


def intel_iommu_setup(k: Kernel, text: str) -> bool:
    """Log what one ``intel_iommu=`` asks for, as the parameter is parsed."""
    rest = text
    while rest:
        told = next((line for word, line in WORDS_TOLD.items() if rest.startswith(word)), f"Unknown option - '{rest}'")
        warned = "deprecated" in told
        k.printk(f"DMAR: {told}", Level.WARNING if warned else Level.INFO)
        rest = rest.partition(",")[2].lstrip(",")
    return True


def dmar_table_init(k: Kernel) -> DmarState | None:
    """Parse the table once, with its log lines; None without one. A second call only returns the first's result."""
    if k.pci.dmar is not None:
        return k.pci.dmar
    data = k.acpi.table("DMAR")
    if not data or len(data) < HEADER_BYTES:
        return None
    state = DmarState(data[36] + 1, data[37])
    k.printk(f"DMAR: Host address width {state.address_width}")
    for kind, body in _structures(data):
        state.found.add(kind)
        _parse_one(k, state, kind, body)
    k.pci.dmar = state
    return state


def _parse_one(k: Kernel, state: DmarState, kind: int, body: bytes) -> None:
    def number(at: int, size: int) -> int:
        return int.from_bytes(body[at : at + size], "little")

    if kind == DRHD and len(body) >= 16:
        k.printk(f"DMAR: DRHD base: {number(8, 8):#016x} flags: {body[4]:#x}")
        unit = RemappingUnit(number(8, 8), number(6, 2), bool(body[4] & INCLUDE_ALL), _scopes(body[16:]),
                             len(state.units))
        if unit.base:
            _read_registers(k, unit)
            # Explicit units go to the front of the list, the catch-all of a segment to its end.
            state.units.insert(len(state.units) if unit.include_all else 0, unit)
        else:
            k.printk("[Firmware Bug]: DMAR: DRHD has no register base")
    elif kind == RMRR and len(body) >= 24:
        k.printk(f"DMAR: RMRR base: {number(8, 8):#016x} end: {number(16, 8):#016x}")
    elif kind == ATSR and len(body) >= 8:
        k.printk(f"DMAR: ATSR flags: {body[4]:#x}")
    elif kind == RHSA and len(body) >= 20:
        k.printk(f"DMAR: RHSA base: {number(8, 8):#016x} proximity domain: {number(16, 4):#x}")
    elif kind == SATC and len(body) >= 8:
        k.printk(f"DMAR: SATC flags: {body[4]:#x}")


def _read_registers(k: Kernel, unit: RemappingUnit) -> None:
    cpu = k.machine.boot_cpu
    unit.version, unit.cap, unit.ecap = cpu.read(unit.base, 4), cpu.read(unit.base + 8, 8), cpu.read(unit.base + 16, 8)
    version = f"{unit.version >> 4 & 0xF}:{unit.version & 0xF}"
    k.printk(f"DMAR: dmar{unit.index}: reg_base_addr {unit.base:x} ver {version} cap {unit.cap:x} ecap {unit.ecap:x}")


def enable_irq_remapping(k: Kernel, x2apic: bool = False) -> str | None:
    """Turn interrupt remapping on if every unit has it: "xapic" or, with 32-bit destinations, "x2apic" mode; else None.

    ``x2apic``: the CPUs can do x2APIC mode.
    Source: drivers/iommu/intel/irq_remapping.c:intel_prepare_irq_remapping(), intel_enable_irq_remapping() @ v6.12
    """
    if k.cmdline.get("intremap") == "off" or not k.config.enabled("CONFIG_IRQ_REMAP"):
        return None
    state = dmar_table_init(k)
    if state is None or not state.flags & INTR_REMAP or not state.units:
        return None
    if not all(unit.ecap & ECAP_IR for unit in state.units):
        return None
    for unit in state.units:
        for scope in unit.scopes:
            where = f"id {scope.enumeration_id} under DRHD base"
            if scope.type == SCOPE_IOAPIC:
                k.printk(f"DMAR-IR: IOAPIC {where}  {unit.base:#x} IOMMU {unit.index}")
            elif scope.type == SCOPE_HPET:
                k.printk(f"DMAR-IR: HPET {where} {unit.base:#x}")
    if x2apic and state.flags & X2APIC_OPT_OUT and "no_x2apic_optout" not in k.cmdline.words("intremap"):
        x2apic = False
        k.printk("DMAR-IR: x2apic is disabled because BIOS sets x2apic opt out bit.")
        k.printk("DMAR-IR: Use 'intremap=no_x2apic_optout' to override the BIOS setting.")
    for unit in state.units if x2apic else ():
        if not unit.ecap & ECAP_EIM:
            k.printk(f"DMAR-IR: dmar{unit.index} does not support EIM")
            x2apic = False
    if x2apic:
        k.printk("DMAR-IR: Queued invalidation will be enabled to support x2apic and Intr-remapping.")
    state.irq_remapping = True
    dmar_set_interrupts(k, state, mapped=False)
    k.printk(f"DMAR-IR: Enabled IRQ remapping in {'x2apic' if x2apic else 'xapic'} mode")
    return "x2apic" if x2apic else "xapic"


def dmar_set_interrupts(k: Kernel, state: DmarState, mapped: bool = True) -> None:
    """Each unit that has none gets an interrupt for its faults; with interrupt remapping before pins are ``mapped``.

    Source: drivers/iommu/intel/dmar.c:dmar_set_interrupt(), enable_drhd_fault_handling() @ v6.12
    """
    k.pci.interrupts.lower_bound = arch_dynirq_lower_bound(k, mapped)
    for unit in state.units:
        unit.irq = unit.irq or k.pci.interrupts.allocate()


WORDS_TOLD = {
    "on": "IOMMU enabled",
    "off": "IOMMU disabled",
    "igfx_off": "Disable GFX device mapping",
    "intgpu_off": "Disable integrated GPU device mapping",
    "forcedac": "intel_iommu=forcedac deprecated; use iommu.forcedac instead",
    "strict": "intel_iommu=strict deprecated; use iommu.strict=1 instead",
    "sp_off": "Disable supported super page",
    "sm_on": "Enable scalable mode if hardware supports",
    "sm_off": "Scalable mode is disallowed",
    "tboot_noforce": "Intel-IOMMU: not forcing on after tboot. This could expose security risk for tboot",
}
"""Source: drivers/iommu/intel/iommu.c:intel_iommu_setup() @ v6.1"""
INTEL_IOMMU_WORDS = Words(
    ("on*", "off*", "igfx_off*", "intgpu_off*", "sp_off*", "strict*"),
    ("forcedac*", "sm_on*", "sm_off*", "tboot_noforce*"),
)
INTREMAP_WORDS = Words(("on*", "off*", "no_x2apic_optout*"), ("nosid*", "nopost*", "posted_msi*"))
PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("intel_iommu=", intel_iommu_setup, read_by=intel_iommu_enabled, words=INTEL_IOMMU_WORDS),
    early_param("intremap", needs_value, read_by=enable_irq_remapping, words=INTREMAP_WORDS),
)
