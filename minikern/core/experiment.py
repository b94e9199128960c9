"""What no Linux release does, but a variant, a test or the command line may ask of a boot."""

from __future__ import annotations

from typing import Literal

import msgspec

PurgatoryDigest = Literal["generic", "accelerated", "file-bytes", "parallel", "none"]

AcsOverride = Literal["", "downstream", "multifunction", "downstream,multifunction"]


AcpiProcessors = Literal["serial", "one-lock", "own-lock", "lazy"]
"""One after the other; on all CPUs with ACPICA's one interpreter lock, or a lock a processor's objects; idle states
only when somebody asks for them.
"""


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patches and faults of one boot; the defaults are Linux as it is."""

    acs_override: AcsOverride = ""  # ports or functions taken to isolate, though nothing says so
    purgatory_digest: PurgatoryDigest = "generic"  # how the purgatory checks the loaded kernel
    device_shutdown: Literal["serial", "async"] = "serial"  # one device after the other, or each when it can
    iommu_domains: Literal["rebuilt", "kept"] = "rebuilt"  # page tables of passed-through devices, over a kexec
    acpi_processors: AcpiProcessors = "serial"  # how processors' capabilities and idle states are evaluated
    acpi_tables: Literal["all", "needed"] = "all"  # secondary tables are loaded at once, or when an object is touched
    acpi_caches_aligned: bool = False  # ACPICA's objects begin with a cache line
    acpi_results: bool = False  # _STA and _CRS are left for the next kernel, which does not ask again
    acpi_capabilities: bool = True  # the firmware is told what the kernel can do with processors
    trampoline_lock: bool = True  # one CPU at a time uses the trampoline's stack
