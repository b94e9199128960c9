"""Where in memory the kernel image of a boot log lay, as far as the log tells."""

from __future__ import annotations

import re

from minikern.core.image import PAGE_KIB
from minikern.describe.case import Case
from minikern.describe.dmesg_log import RANGE, Log

MIB, GIB, FOUR_GIB = 1 << 20, 1 << 30, 1 << 32
LOAD_PHYSICAL_ADDR = 16 * MIB  # Source: arch/x86/Kconfig, PHYSICAL_START
ALIGN_BYTES = 2 * MIB  # Source: arch/x86/Kconfig, PHYSICAL_ALIGN
ROOM_BYTES = 96 * MIB  # of an image whose sizes the log does not tell, with what it unpacks itself into
MOST_ABOVE_BYTES = 256 * MIB  # from the end of the initial RAM disk to the top, where only the kernel lies between

_USER_MAP = re.compile(rf"^user: {RANGE} (?:usable|System RAM)$")
_USER = re.compile(r"^user: \[mem ")
_NODE = re.compile(rf"^\s*node\s+\d+: {RANGE}$")

Span = tuple[int, int]


def place_image(log: Log, spec: Case) -> None:
    """Put the image where the log leaves room for it.

    With KASLR it may lie anywhere in memory that mem= and memmap= leave; the log does not say where. Without it is at
    16 MiB, but where that is no memory, as for a crash kernel: there the loader puts it.
    Source: arch/x86/boot/compressed/kaslr.c:mem_avoid_memmap(), arch/x86/kernel/kexec-bzimage64.c @ v6.12
    """
    if spec.kernel is None:
        return
    usable = usable_ranges(log, spec)
    if not usable:
        return
    at_home = any(start <= LOAD_PHYSICAL_ADDR and LOAD_PHYSICAL_ADDR + _room(spec) <= end for start, end in usable)
    start, end = max(usable, key=lambda span: span[1] - span[0])
    if not at_home:
        spec.kernel.image_address = max(-(-start // ALIGN_BYTES) * ALIGN_BYTES, LOAD_PHYSICAL_ADDR)
        log.assumed.append(f"the kernel image at {spec.kernel.image_address:#x}, in the memory the kernel was left")
    elif "nokaslr" in spec.append.split():
        if place := _above_initrd(spec, usable):
            spec.kernel.image_address = place
            log.assumed.append(f"the kernel image at {place:#x}, where kexec puts it")
    elif start >= FOUR_GIB:
        middle = (start + end) // 2 // GIB * GIB
        spec.kernel.image_address = middle if middle >= start else -(-start // ALIGN_BYTES) * ALIGN_BYTES
        log.assumed.append(f"the kernel image at {spec.kernel.image_address:#x} (KASLR)")


def _above_initrd(spec: Case, usable: list[Span]) -> int:
    """Tools for kexec load the kernel at the top of memory and the initial RAM disk right below it; 0: not so here.

    Source: kexec-tools, kexec/arch/i386/kexec-bzImage.c:do_bzImage_load()
    """
    place = -(-(spec.boot.ramdisk_address + spec.boot.ramdisk_bytes) // ALIGN_BYTES) * ALIGN_BYTES
    top = next((end for start, end in usable if start <= place < end), 0)
    high = spec.boot.ramdisk_address >= FOUR_GIB
    return place if high and place + _room(spec) <= top <= place + MOST_ABOVE_BYTES else 0


def usable_ranges(log: Log, spec: Case) -> list[Span]:
    """Memory the kernel had, as [start, end) in bytes: of the firmware's map what a map by the user and nodes leave."""
    found = [(entry.start, entry.end) for entry in spec.e820 if entry.type == 1]
    for line_of, told in ((_USER_MAP, _USER), (_NODE, _NODE)):
        if log.all(told):
            kept = [(int(match[1], 16), int(match[2], 16) + 1) for match in log.all(line_of)]
            found = _common(found, kept) or found
    return found


def _common(some: list[Span], others: list[Span]) -> list[Span]:
    pairs = ((max(a[0], b[0]), min(a[1], b[1])) for a in some for b in others)
    return [(start, end) for start, end in pairs if start < end]


def _room(spec: Case) -> int:
    known = sum(spec.kernel.image_kib) if spec.kernel else 0
    return -(-known // PAGE_KIB) * PAGE_KIB << 10 if known else ROOM_BYTES
