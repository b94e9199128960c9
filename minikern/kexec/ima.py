"""The list of measurements one kernel hands to the next, as far as this machine has measured anything.

It has no TPM and runs no programs, so the list is the boot aggregate alone, in the form and the segment the real one
has. The next kernel finds the list in memory and the SETUP_IMA node that names it; it checks nothing against it.
Source: security/integrity/ima/ima_kexec.c:ima_add_kexec_buffer(), ima_dump_measurement_list() @ v6.12
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from hw.units import PAGE_SIZE
from minikern.kexec.segments import page_align

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

KEXEC_HEADER = struct.Struct("<HHIQQ")  # version, two fields of padding, bytes in all, measurements
KEXEC_VERSION = 1
PCR = 10
TEMPLATE = b"ima-ng"
SHA1_BYTES = 20


def boot_aggregate() -> bytes:
    """The first measurement of every boot, over the TPM's registers; without a TPM, over nothing but zeros.

    Source: ima_init.c:ima_add_boot_aggregate(), ima_fs.c (the binary form of a measurement)
    """
    digest = b"sha256:\0" + hashlib.sha256(bytes(0)).digest()
    name = b"boot_aggregate\0"
    data = struct.pack("<I", len(digest)) + digest + struct.pack("<I", len(name)) + name
    head = struct.pack("<I", PCR) + hashlib.sha1(data, usedforsecurity=False).digest()
    return head + struct.pack("<I", len(TEMPLATE)) + TEMPLATE + struct.pack("<I", len(data)) + data


def measurement_list(k: Kernel) -> bytes | None:
    """The segment's bytes, with room for measurements still to come. None without CONFIG_IMA_KEXEC."""
    if not k.config.enabled("CONFIG_IMA_KEXEC"):
        return None
    entries = [boot_aggregate()]
    body = b"".join(entries)
    size = KEXEC_HEADER.size + len(body)
    return (KEXEC_HEADER.pack(KEXEC_VERSION, 0, 0, size, len(entries)) + body).ljust(
        page_align(size + PAGE_SIZE // 2), b"\0"
    )
