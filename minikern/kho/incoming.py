"""What subsystems find in a handover: named blobs below the root tree.

Source: kernel/liveupdate/kexec_handover.c:kho_retrieve_subtree(), kho_in_kexec_metadata() @ v7.2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.core.printk import Level
from minikern.kho.retrieve import phys_to_virt
from minikern.state.fdt import U64
from minikern.state.kho_abi import (
    KHO_V1,
    METADATA,
    METADATA_NODE,
    METADATA_VERSION,
    SUB_FDT_PROP_V1,
    SUB_TREE_PROP,
    SUB_TREE_SIZE_PROP,
)

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ENOENT, EINVAL = -2, -22


class RetrieveError(Exception):
    """The blob is not there (ENOENT) or not described as it should be (EINVAL); ``code`` is below 0."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code}")
        self.code = code


def retrieve_subtree(k: Kernel, name: str) -> tuple[int, int]:
    """(physical address, bytes) of the blob called ``name``. RetrieveError if it cannot be had."""
    incoming = k.kho.incoming
    if incoming is None or not incoming.fdt_phys:
        raise RetrieveError(ENOENT)
    offset = incoming.tree.subnode_offset(name)
    if offset < 0:
        raise RetrieveError(ENOENT)
    if k.behaviour.kho_compatible == KHO_V1:
        place = incoming.tree.getprop_u64(offset, SUB_FDT_PROP_V1)
        if place is None:
            raise RetrieveError(EINVAL)
        return place, PAGE_SIZE
    found = [incoming.tree.getprop(offset, prop) for prop in (SUB_TREE_PROP, SUB_TREE_SIZE_PROP)]
    if any(value is None or len(value) != U64.size for value in found):
        raise RetrieveError(EINVAL)
    phys, size = (U64.unpack(value)[0] for value in found if value is not None)
    return phys, size


def blob(k: Kernel, name: str, most: int) -> bytes | None:
    """Bytes of the blob called ``name``, at most so many; None without one."""
    try:
        phys, size = retrieve_subtree(k, name)
    except RetrieveError:
        return None
    return phys_to_virt(k, phys, min(size, most))


def kexec_metadata(k: Kernel) -> None:
    """Say which kernel handed over, and how often that has happened. Source: kho_in_kexec_metadata() @ v7.2"""
    if k.kho.incoming is None or not k.kho.enabled:
        return
    try:
        phys, size = retrieve_subtree(k, METADATA_NODE)
    except RetrieveError as error:
        if error.code != ENOENT:
            k.printk(f"KHO: failed to retrieve {METADATA_NODE} subtree: {error.code}", Level.WARNING)
        return
    data = phys_to_virt(k, phys, METADATA.size)
    version, release, count = METADATA.unpack(data)
    if size != METADATA.size or version != METADATA_VERSION:
        k.printk(f"KHO: unexpected {METADATA_NODE} version {version} or size {size}", Level.WARNING)
        return
    k.kho.kexec_count = count
    text = release.split(b"\0")[0].decode("latin-1")
    k.printk(f"KHO: exec from: {text} (count {count})")
