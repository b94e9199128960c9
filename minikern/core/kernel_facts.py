"""What a boot log tells of its kernel's build."""

from __future__ import annotations

import msgspec

from hw.spec import NonNegative


class KernelFacts(msgspec.Struct, forbid_unknown_fields=True):
    """Figures of the kernel build a boot log came from, only carried here; 0 and empty: the log does not tell."""

    node_data_bytes: NonNegative = 0
    nr_cpus: NonNegative = 0
    percpu_static_bytes: NonNegative = 0
    image_kib: list[int] = []  # code, rwdata, rodata, init, bss of the "Memory:" line
    debug_lines: bool = True  # the log keeps lines of debug level
    numa: bool = True  # built with CONFIG_NUMA
    zone_dma: bool = True
    zone_dma32: bool = True
    zone_device: bool = True
    lines: dict[str, bool] = {}  # kinds of lines that this kernel prints (True) or has not (False)
    decrypted_kib: NonNegative = 0  # unused memory shared with a hypervisor, given back after boot
    dma_reserve_pages: int = -1  # taken below 16 MiB when the zones were sized; -1: the log does not tell
    log_buf_shift: NonNegative = 0
    mptcp: bool | None = None  # built with CONFIG_MPTCP
    bucket_bytes: dict[str, int] = {}  # of hash tables by name: locks are larger where they are checked
    options: dict[str, bool | int] = {}  # Kconfig values that its lines show
    ram_disks: bool | None = None  # built with CONFIG_BLK_DEV_RAM
    intel_iommu: bool | None = None  # remapping units are used without being asked for; None: the log does not tell
    image_address: NonNegative = 0  # where the kernel image was put in memory
    preset_lpj: NonNegative = 0  # loops a tick that CPUs do not measure, though the command line has none
    subsystems: list[str] = []  # lines of minikern.core.subsystem_lines that stand behind the log's first host bridge
    port_irqs: dict[str, int] | None = None  # of PCI Express ports with lines, by address, 0: untold; None: no log's
    late_clock: bool = False  # the TSC could not be calibrated early: stamps are zero until the timers are set up
    tsc_reliable: bool = False  # CPUs come up without a test of their TSCs
    deferred: bool | None = None  # struct pages were initialised late; None: the log does not tell
