"""What a boot log tells of its kernel's build, put over the nearest release file."""

from __future__ import annotations

import msgspec

from hw.spec import KernelFacts
from minikern.config import Release

IMAGE_FIELDS = ("code_kib", "rwdata_kib", "rodata_kib", "init_kib", "bss_kib")
SMALL_NR_CPUS = 512  # distributions with fewer CPUs than MAXSMP keep the default of 64 nodes


def with_kernel_facts(release: Release, facts: KernelFacts | None) -> Release:
    """``release`` with the figures of ``facts`` that are known; the given release is left as it is."""
    if facts is None:
        return release
    config, behaviour = dict(release.config), dict(release.behaviour)
    image = release.image
    if facts.nr_cpus:
        config["CONFIG_NR_CPUS"] = facts.nr_cpus
        config["CONFIG_NODES_SHIFT"] = 10 if facts.nr_cpus > SMALL_NR_CPUS else 6
    if facts.node_data_bytes:
        behaviour["node_data_bytes"] = facts.node_data_bytes
    if facts.percpu_static_bytes:
        image = msgspec.structs.replace(image, percpu_static_bytes=facts.percpu_static_bytes)
    if len(facts.image_kib) == len(IMAGE_FIELDS):
        image = msgspec.structs.replace(image, **dict(zip(IMAGE_FIELDS, facts.image_kib, strict=True)))
    if facts.image_address:
        brk = image.brk_start - image.text_start + facts.image_address
        image = msgspec.structs.replace(image, text_start=facts.image_address, brk_start=brk)
    if facts.log_buf_shift:
        config["CONFIG_LOG_BUF_SHIFT"] = facts.log_buf_shift
    config["CONFIG_NUMA"] = facts.numa
    config["CONFIG_ZONE_DEVICE"] = facts.zone_device
    behaviour["debug_lines"] = facts.debug_lines
    return msgspec.structs.replace(release, config=config, behaviour=behaviour, image=image)
