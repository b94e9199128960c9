"""``kexec -c -l``: the list that kexec-tools makes in user space for kexec_load().

The tool knows the firmware's map from /sys/firmware/memmap, brings a purgatory of its own, and puts the random seed
into a segment of its own. Source: kexec-tools kexec-bzImage64.c, kexec-x86-common.c, x86-linux-setup.c; sizes and the
first address of RAM as ``kexec -d`` of 2.0.25 lists them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hw import boot_params
from hw import purgatory as layout
from hw.units import PAGE_SIZE
from minikern.kexec import efi_state, zeropage
from minikern.kexec.bzimage import ENTRY_64, MIB, BzImage
from minikern.kexec.errors import KexecError
from minikern.kexec.file_load import MIN_BOOTPARAM_ADDR, MIN_INITRD_LOAD_ADDR, FileImage, Placer
from minikern.kexec.purgatory import digest_segments, mode_of
from minikern.kexec.segments import Range, Segment
from minikern.kexec.setup_data import HEAD, SETUP_RNG_SEED

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

INTERRUPT_TABLE_BYTES = 0x400  # never reported as RAM
PURGATORY_BYTES = 0x9000
PURGATORY_CMDLINE_SIZE = 64
RAM = 1


def tools_map(k: Kernel) -> list[tuple[int, int, int]]:
    """(start, size, type) of the map the next kernel is given: the firmware's, without the interrupt table."""
    rows = [(entry.addr, entry.size, int(entry.type)) for entry in sorted(k.e820.firmware, key=lambda e: e.addr)]
    for index, (start, size, kind) in enumerate(rows):
        if kind == RAM and start < INTERRUPT_TABLE_BYTES:
            rows[index] = (INTERRUPT_TABLE_BYTES, start + size - INTERRUPT_TABLE_BYTES, kind)
            break
    return rows


def tools_segments(k: Kernel, image: BzImage, initrd: bytes, cmdline: bytes) -> FileImage:
    """The segments for ``image``, by address. ``cmdline`` ends with a NUL.

    KexecError EADDRNOTAVAIL: no room; ENOSYS on a machine that started through EFI, whose tables are not handed on.
    """
    if efi_state.wanted(k):
        raise KexecError("ENOSYS", "kexec_load", "a machine that booted without EFI, or kexec_file_load", "EFI")
    rows = tools_map(k)
    placer = Placer([Range(start, start + size) for start, size, kind in rows if kind == RAM], True, True)
    purgatory, purgatory_size = placer.place(PURGATORY_BYTES, buf_min=layout.MIN_ADDRESS)
    places = _places(image, len(cmdline))
    params, params_size = placer.place(places.size, buf_min=MIN_BOOTPARAM_ADDR)
    kernel, kernel_size = placer.place(image.memsz, image.kernel_alignment, MIB)
    ramdisk = placer.place(len(initrd), buf_min=MIN_INITRD_LOAD_ADDR) if initrd else (0, 0)
    page = bytearray(
        zeropage.build_params(k, image, cmdline, places, params, (ramdisk[0], len(initrd)), rows)
    )
    # The seed would be random; from the page's own bytes, so that the same input gives the same boot.
    seed = HEAD.pack(0, SETUP_RNG_SEED, zeropage.RNG_SEED_LENGTH) + hashlib.sha256(page).digest()
    node, node_size = placer.place(len(seed), buf_min=MIB, bottom_up=True)
    boot_params.put(page, "setup_data", node)
    segments = [
        Segment("setup_data", seed, node, node_size),
        Segment("kernel", image.data[image.kernel_offset :], kernel, kernel_size),
        Segment("boot_params", bytes(page), params, params_size),
    ]
    if initrd:
        segments.append(Segment("initrd", initrd, *ramdisk))
    segments.sort(key=lambda one: one.mem)
    mode = mode_of(k.experiment.purgatory_digest)
    loaded = digest_segments(segments, mode)
    entry = kernel + ENTRY_64
    registers = {"rip": entry, "rsi": params, "rsp": purgatory + PURGATORY_BYTES}
    code = layout.build(loaded.regions, loaded.digest, registers, loaded.region_digests if mode.apart else ())
    segments.append(Segment("purgatory", code, purgatory, purgatory_size, digested=False))
    segments.sort(key=lambda one: one.mem)
    return FileImage(segments, loaded, purgatory, params, entry)


def _places(image: BzImage, cmdline_bytes: int) -> zeropage.Layout:
    # The command line lies behind the whole real-mode part of the file; there are no nodes in the page.
    start = max(image.kernel_offset, PAGE_SIZE)
    end = start + cmdline_bytes + PURGATORY_CMDLINE_SIZE
    return zeropage.Layout(start, end, end, 0, 0, 0, end)
