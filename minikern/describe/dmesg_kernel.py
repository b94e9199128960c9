"""What a boot log says of the kernel that wrote it: figures of its build, not of the machine."""

from __future__ import annotations

import re

from hw.spec import MAX_CPUS
from minikern.core.kernel_facts import KernelFacts
from minikern.core.subsystem_lines import KNOWN
from minikern.describe.dmesg_config import config_facts
from minikern.describe.dmesg_log import RANGE, Log
from minikern.describe.dmesg_ports import port_irqs

LOG_CPU_BYTES = 4096  # what a CPU adds to the log buffer; Source: init/Kconfig, LOG_CPU_MAX_BUF_SHIFT
MIB = 1 << 20

# Lines that came and went between releases; distributions carry them back.
_LINES = {
    "fallback_lines": r"^Fallback order for Node ",
    "unavailable_lines": r"^On node \d+, zone .*unavailable ranges",
    "efi_mmio_removed": r"^efi: (?:Remove|Not removing) mem\d+: MMIO range",
    "srat_cpu_lines": r"^SRAT: PXM \d+ -> APIC ",
    "acpi_reserve_lines": r"^ACPI: Reserving \S+ table memory",
    "ip_idents_hash": r"^IP idents hash table",
    "table_perturb": r"^Table-perturb hash table",
    "swiotlb_areas": r"^software IO TLB: area num",
    "posixtimer_hash": r"^posixtimers hash table",
    "log_buf_usage_line": r"^printk: log buffer data \+ meta data",
    "mds_known": r"^MDS(?:: | CPU bug)",
    "taa_known": r"^TAA(?:: | CPU bug)",
    "mmio_stale_known": r"^MMIO Stale Data(?:: | CPU bug)",
}
# Of some the line beside them shows that they are not there.
_BESIDE = {
    "srat_cpu_lines": r"^ACPI: SRAT: Node ",
    "acpi_reserve_lines": r"^(?:ACPI: Local APIC address |No NUMA configuration found|Zone ranges:)",
    "ip_idents_hash": r"^TCP established hash table",
    "table_perturb": r"^TCP established hash table",
    "log_buf_usage_line": r"^(?:printk: )?log_buf_len: ",
}
_HASH = re.compile(r"^(.+) hash table entries: (\d{1,10}) \((?:order: \d+, )?(\d{1,12}) bytes")
MAX_BUCKET_BYTES = 1024


def kernel_facts(log: Log) -> KernelFacts:
    """Figures of the kernel that wrote the log: they belong to its build, not to the machine."""
    facts = KernelFacts(debug_lines=log.first(r"^e820: (?:update|remove) \[mem ") is not None)
    if log.first(r"^Zone ranges:"):
        facts.numa = log.first(r"^(?:NODE_DATA\(|No NUMA configuration|NUMA|Faking a node|Policy zone)") is not None
        facts.zone_dma = log.first(r"^ *DMA +(?:\[mem|empty)") is not None
        facts.zone_dma32 = log.first(r"^ *DMA32 +(?:\[mem|empty)") is not None
        facts.zone_device = log.first(r"^ *Device +(?:\[mem|empty)") is not None
    facts.lines = {name: False for name, pattern in _BESIDE.items() if log.first(pattern)}
    facts.lines |= {name: True for name, pattern in _LINES.items() if log.first(pattern)}
    facts.bucket_bytes = _bucket_bytes(log)
    if "UDP" in facts.bucket_bytes:
        facts.mptcp = "MPTCP token" in facts.bucket_bytes
    facts.log_buf_shift = _log_buf_shift(log)
    facts.options = config_facts(log) | {"CONFIG_VMD": False}  # what lies behind such a device is not read from logs
    node_data = log.first(rf"^NODE_DATA\(\d+\) allocated {RANGE}")
    if node_data:
        size = int(node_data[2], 16) + 1 - int(node_data[1], 16)
        facts.node_data_bytes = size if 0 < size <= MIB else 0
    facts.nr_cpus = log.number(r"^setup_percpu: NR_CPUS:(\d+) ", MAX_CPUS) or 0
    facts.percpu_static_bytes = log.number(r"^percpu: Embedded \d+ pages/cpu (?:@\S+ )?s(\d+) ", 64 * MIB) or 0
    memory = log.first(
        r"^Memory: .*\((\d+)K kernel code, (\d+)K rwdata, (\d+)K rodata, (\d+)K init, (\d+)K bss,"
    )
    if memory and all(len(memory[at]) < 9 for at in range(1, 6)):
        facts.image_kib = [int(memory[at]) for at in range(1, 6)]
    facts.decrypted_kib = log.number(r"^Freeing unused decrypted memory: (\d+)K", 64 << 10) or 0
    reserved = log.number(r"^ *DMA zone: (\d+) pages reserved", 4096)
    facts.dma_reserve_pages = -1 if reserved is None else reserved
    unpacking = log.first(r"^(Trying to unpack rootfs image as|Unpacking) initramfs\.\.\.")
    facts.ram_disks = unpacking[1] != "Unpacking" if unpacking else None
    facts.intel_iommu = _intel_iommu(log)
    facts.deferred = _deferred(log)
    facts.late_clock = _late_clock(log)
    facts.tsc_reliable = log.first(r"^kvm-clock: ") is not None  # measured: 16 such CPUs in 18 ms, a test takes 20
    bridges = log.places(r"^PCI host bridge to bus ")
    behind = set(log.lines[bridges[0] :]) if bridges else set()
    facts.subsystems = sorted(behind & KNOWN)
    facts.port_irqs = port_irqs(log.lines[bridges[0] :] if bridges else [])
    facts.preset_lpj = log.number(r"^Calibrating delay loop \(skipped\) preset value\.\. .*\(lpj=(\d+)\)", 1 << 40) or 0
    names = ("node_data_bytes", "nr_cpus", "percpu_static_bytes", "image_kib")
    if found := [name for name in names if getattr(facts, name)]:
        log.read.append("of its kernel: " + ", ".join(found))
    return facts


def _bucket_bytes(log: Log) -> dict[str, int]:
    found = {}
    for match in log.all(_HASH):
        entries, size = int(match[2]), int(match[3])
        if entries and size % entries == 0 and 0 < size // entries <= MAX_BUCKET_BYTES:
            found[match[1]] = size // entries
    return found


def _intel_iommu(log: Log) -> bool | None:
    # The unit's lines come from interrupt remapping too; whether DMA is translated shows later.
    if log.first(r"^DMAR: Intel\(R\) Virtualization Technology for Directed I/O"):
        return True
    told = log.first(r"^DMAR: DRHD base: ") and log.first(r"^(?:PCI: CLS |PCI-DMA: Using )")
    return False if told else None


def _late_clock(log: Log) -> bool:
    detected, zones = log.places(r"^tsc: Detected \d"), log.places(r"^Built \d+ zonelists")
    return bool(detected and zones and detected[0] > zones[0])


def _deferred(log: Log) -> bool | None:
    # Each node that deferred says so; a log that reached drivers without such a line is of a kernel that does not.
    if log.first(r"^node \d+ (?:deferred pages )?initiali[sz]ed(?: in|, \d+ pages in) ?\d+ ?ms"):
        return True
    whole = log.first(r"^Memory: \d+K/\d+K available") and log.first(r"^(?:smp: |x86: )?Brought up ")
    return False if whole and log.first(r"^(?:devtmpfs: initialized|NET: Registered )") else None


def _log_buf_shift(log: Log) -> int:
    # The size is logged when many CPUs make it grow; when they did not, it must have been large enough.
    size = log.number(r"^(?:printk: )?log_buf_len min size: (\d+) bytes", 1 << 30)
    if size:
        return size.bit_length() - 1
    cpus = log.number(r"^setup_percpu: .* nr_cpu_ids:(\d+) ", MAX_CPUS) or 1
    return min(25, max(17, ((cpus - 1) * LOG_CPU_BYTES * 2 - 1).bit_length()))
