"""What a boot log tells of its kernel's build, put over the nearest release file."""

from __future__ import annotations

import msgspec

from minikern.core.forks import changed
from minikern.core.image import PAGE_KIB, ImageSizes, linked
from minikern.core.kernel_facts import KernelFacts
from minikern.core.release import Release

IMAGE_FIELDS = ("code_kib", "rwdata_kib", "rodata_kib", "init_kib", "bss_kib")
LOGGED_BEHAVIOUR = (
    "fallback_lines", "unavailable_lines", "efi_mmio_removed", "srat_cpu_lines", "acpi_reserve_lines", "ip_idents_hash",
    "table_perturb", "swiotlb_areas", "posixtimer_hash", "log_buf_usage_line",
    "mds_known", "taa_known", "mmio_stale_known",
)  # fmt: skip
BETWEEN_KIB = 64  # lock list and alignment between data and bss
SMALL_NR_CPUS = 512  # distributions with fewer CPUs than MAXSMP keep the default of 64 nodes


def with_kernel_facts(release: Release, facts: KernelFacts | None) -> Release:
    """``release`` with the figures of ``facts`` that are known; the given release is left as it is."""
    if facts is None:
        return release
    config = {**release.config, **facts.options}
    image = release.image
    if facts.nr_cpus:
        config["CONFIG_NR_CPUS"] = facts.nr_cpus
        # More CPUs can only be configured with masks off the stack. Source: arch/x86/Kconfig, NR_CPUS_RANGE_END
        config["CONFIG_CPUMASK_OFFSTACK"] = facts.nr_cpus > SMALL_NR_CPUS
        config["CONFIG_NODES_SHIFT"] = 10 if facts.nr_cpus > SMALL_NR_CPUS else 6
    if facts.node_data_bytes:
        image = msgspec.structs.replace(image, node_data_bytes=facts.node_data_bytes)
    if facts.percpu_static_bytes:
        image = msgspec.structs.replace(image, percpu_static_bytes=facts.percpu_static_bytes)
    if len(facts.image_kib) == len(IMAGE_FIELDS):
        image = _linked(image, dict(zip(IMAGE_FIELDS, facts.image_kib, strict=True)))
    if facts.decrypted_kib:
        image = msgspec.structs.replace(image, decrypted_kib=min(facts.decrypted_kib, image.bss_kib))
    if facts.image_address:
        brk = image.brk_start - image.text_start + facts.image_address
        image = msgspec.structs.replace(image, text_start=facts.image_address, brk_start=brk)
    if image.text_start != release.image.text_start or image.brk_start != release.image.brk_start:
        image = msgspec.structs.replace(image, kernel_end=0)  # measured in another one
    if facts.log_buf_shift:
        config["CONFIG_LOG_BUF_SHIFT"] = facts.log_buf_shift
    if facts.mptcp is not None:
        config["CONFIG_MPTCP"] = facts.mptcp
    if facts.ram_disks is not None:
        config["CONFIG_BLK_DEV_RAM"] = facts.ram_disks
    if facts.intel_iommu is not None:
        config["CONFIG_INTEL_IOMMU_DEFAULT_ON"] = facts.intel_iommu
        config["CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF"] = False
    config["CONFIG_NUMA"] = facts.numa
    if facts.deferred is not None:
        config["CONFIG_DEFERRED_STRUCT_PAGE_INIT"] = facts.deferred
    config["CONFIG_ZONE_DMA"], config["CONFIG_ZONE_DMA32"] = facts.zone_dma, facts.zone_dma32
    config["CONFIG_ZONE_DEVICE"] = facts.zone_device
    logged = {name: facts.lines[name] for name in LOGGED_BEHAVIOUR if name in facts.lines}
    behaviour = changed(release.behaviour, logged)
    return msgspec.structs.replace(release, config=config, behaviour=behaviour, image=image, facts=facts)


def _linked(image: ImageSizes, sizes: dict[str, int]) -> ImageSizes:
    """``image`` as the linker lays out parts of these sizes, gaps included."""
    if all(getattr(image, name) == size for name, size in sizes.items()):
        return image
    gaps = linked(sizes["code_kib"], sizes["rodata_kib"])
    whole = gaps["write_protect_kib"] + sizes["rwdata_kib"] + sizes["init_kib"] + sizes["bss_kib"] + BETWEEN_KIB
    return msgspec.structs.replace(
        image,
        **sizes,
        **gaps,
        smp_locks_kib=min(image.smp_locks_kib, BETWEEN_KIB // 2),
        decrypted_kib=0,
        brk_start=image.text_start + (-(-whole // PAGE_KIB) * PAGE_KIB << 10),
    )
