"""What one kernel, loader or firmware hands another: archives with microcode, unpacked kernels, what KHO keeps."""

from __future__ import annotations

import gzip
import struct
from functools import cache
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from hw.bus import Bus
from hw.errors import InputError
from hw.microcode_update import amd_container, early_cpio, intel_update
from minikern.core.image import ImageSizes
from minikern.core.release import load_release
from minikern.kexec.elf import E_IDENT, EHDR, EM_X86_64, EV_CURRENT, PHDR, PT_LOAD, SHDR
from minikern.kexec.vmlinux import Vmlinux
from minikern.smp.microcode_amd import AmdRules, family_of, find_patch, needs_digest
from minikern.smp.microcode_cpio import find_cpio_data
from minikern.smp.microcode_intel import newest, parse_updates
from minikern.state.fdt import FdtError, Tree
from minikern.state.kho_abi import (
    LUO_NODE,
    MEMBLOCK_NODE,
    MEMORY_MAP_PROP,
    METADATA_NODE,
    SUB_TREE_PROP,
    SUB_TREE_SIZE_PROP,
)
from minikern.state.microcode import Signature
from tests.fuzz.mutations import damaged, edge_number, one_in, overwritten
from tests.kho.test_flips import REFUSALS, outcome, written_down
from tests.kho.test_handover import PAGE

ARCHIVE_AT = 0x100_0000
FOLDER = "kernel/x86/microcode/"
INTEL, AMD = 0x606A6, 0x00A00F11
CPIO_FIELDS, CPIO_CHARS, CPIO_HEAD = 13, 8, 110


# the archive before the initrd: a file's header may lie, what is in it may be damaged with its sums made right


def intel_file(chance: Random) -> bytes:
    """Updates of Intel's, whose numbers are changed; the sums are right most of the time."""
    also = [(chance.choice((INTEL, INTEL + 1)), chance.randrange(8)) for _ in range(chance.randint(0, 3))]
    found = b""
    for _ in range(chance.randint(1, 3)):
        update = intel_update(chance.choice((INTEL, 0x50654)), chance.randrange(9), chance.randrange(1 << 32),
                              "2023-11-21", also)  # fmt: skip
        if one_in(chance, 2):
            update = overwritten(chance, update, 2, 0, 48 if one_in(chance, 2) else 0)
            update = _summed(update) if chance.randrange(4) else update
        found += update
    return found + bytes(chance.choice((0, 0, 0, 4, 48)))


def _summed(update: bytes) -> bytes:
    """The checksum of the header and its data made zero, whatever size the header says they have."""
    size = 48 + (struct.unpack_from("<I", update, 28)[0] or 2000)
    words = struct.unpack_from(f"<{min(size, len(update)) // 4}I", update)
    old = struct.unpack_from("<I", update, 16)[0]
    return update[:16] + struct.pack("<I", old - sum(words) & 0xFFFF_FFFF) + update[20:]


def amd_file(chance: Random) -> bytes:
    """Containers of AMD's with changed numbers in headers and tables."""
    found = b"".join(amd_container(chance.choice((AMD, 0x00800F82, 0x00100F42)), chance.randrange(1 << 32),
                                   chance.choice((0, 0, 0xA011)))
                     for _ in range(chance.randint(1, 2)))  # fmt: skip
    return overwritten(chance, found, 3, 0, 124) if one_in(chance, 2) else damaged(chance, found, 2)


def archive(chance: Random) -> bytes:
    """Files, padding between them, the beginning of something packed; headers and contents changed."""
    vendor = chance.choice(("Intel", "AMD"))
    name, update = (f"{FOLDER}GenuineIntel.bin", intel_file(chance)) if vendor == "Intel" else (
        f"{FOLDER}AuthenticAMD.bin", amd_file(chance))  # fmt: skip
    before = early_cpio("kernel/x86", b"") if one_in(chance, 2) else b""
    files = before + early_cpio(name, update) + bytes(chance.choice((0, 4, 512))) + early_cpio("init", b"#!")
    if one_in(chance, 3):
        files = _other_field(chance, files)
    data = files + b"\x1f\x8b\x08" + bytes(64)
    return damaged(chance, data, 2) if one_in(chance, 5) else data


def _other_field(chance: Random, files: bytes) -> bytes:
    # One of the numbers in one header: size, name's size, mode, ...
    heads = [at for at in range(0, len(files), 4) if files.startswith(b"070701", at)]
    at = chance.choice(heads) + 6 + CPIO_CHARS * chance.randrange(CPIO_FIELDS)
    text = chance.choice((b"%08X" % (abs(edge_number(chance)) & 0xFFFF_FFFF), b"0000000x", b"        "))
    return files[:at] + text + files[at + CPIO_CHARS :]


def read_archive(place: Path, data: bytes) -> None:
    """Found and taken apart as the early loaders do. InputError: there is no update in it."""
    bus = Bus()
    bus.memory.write(ARCHIVE_AT, data)
    kernel: Any = SimpleNamespace(machine=SimpleNamespace(bus=bus))
    taken = 0
    for vendor in ("GenuineIntel", "AuthenticAMD"):
        found = find_cpio_data(kernel, f"{FOLDER}{vendor}.bin", ARCHIVE_AT, len(data))
        if found is None:
            continue
        assert found.address >= ARCHIVE_AT and found.address + found.size <= ARCHIVE_AT + len(data)
        blob = bus.read_bytes(found.address, found.size)
        taken += _updates(blob) if vendor == "GenuineIntel" else _patches(blob)
    if not taken:
        raise InputError("no update in the archive")


def _updates(blob: bytes) -> int:
    updates = parse_updates(blob) or []
    newest(updates, Signature(INTEL, 1), 0)
    return len(updates)


def _patches(blob: bytes) -> int:
    found = 0
    for signature in (AMD, 0x00800F82, 0x00100F42):
        for zen in (False, True):
            patch = find_patch(blob, AmdRules(signature, family_of(signature), 0, zen), lambda line: None)
            if patch is not None:
                needs_digest(signature, patch.revision)
                found += 1
    return found


# an unpacked kernel

PARTS = {
    ".text": (0, 0x5000), ".rodata": (0x6000, 0x1000), ".data": (0x7000, 0x800), ".init.text": (0x8000, 0x900),
    ".init.data": (0x8A00, 0x500), ".data..percpu": (0x8F00, 0x100), ".smp_locks": (0x9000, 0x100),
    ".bss": (0xA000, 0x2000), ".brk": (0xC000, 0x1000),
}  # fmt: skip
BODY_AT, BODY_BYTES, START, TEXT = 0x1000, 0x2000, 0xFFFFFFFF81000000, 0x1000000
SECTIONS_AT = BODY_AT + BODY_BYTES
NAMES_AT = SECTIONS_AT + 0x400


@cache
def _elf() -> bytes:
    """Headers; banner and configuration; section table; names."""
    body = b"Linux version 6.12.0-test (test) #1 SMP\n\0" + b"IKCFG_ST" + gzip.compress(
        b"CONFIG_HZ=100\nCONFIG_NR_CPUS=31\n", mtime=0) + b"IKCFG_ED"  # fmt: skip
    names, table = b"\0", [bytes(SHDR.size)]
    for name, (at, size) in PARTS.items():
        table.append(SHDR.pack(len(names), 8, 2, START + at, BODY_AT + min(at, BODY_BYTES), size, 0, 0, 1, 0))
        names += name.encode() + b"\0"
    table.append(SHDR.pack(0, 3, 0, 0, NAMES_AT, len(names), 0, 0, 1, 0))
    head = EHDR.pack(E_IDENT, 2, EM_X86_64, EV_CURRENT, TEXT, EHDR.size, SECTIONS_AT, 0, EHDR.size, PHDR.size, 1,
                     SHDR.size, len(table), len(table) - 1)  # fmt: skip
    segment = PHDR.pack(PT_LOAD, 5, BODY_AT, START, TEXT, BODY_BYTES, 0xD000, 0x200000)
    whole = (head + segment).ljust(BODY_AT, b"\0") + body.ljust(BODY_BYTES, b"\0")
    return (whole + b"".join(table)).ljust(NAMES_AT, b"\0") + names


def kernel(chance: Random) -> bytes:
    """An ELF file with changed numbers in headers, section table, names and configuration."""
    data = _elf()
    regions = ((16, EHDR.size), (EHDR.size, EHDR.size + PHDR.size), (SECTIONS_AT, NAMES_AT), (SECTIONS_AT, NAMES_AT),
               (NAMES_AT, len(data)), (BODY_AT, BODY_AT + 160))  # fmt: skip
    for _ in range(chance.randint(1, 2)):
        data = overwritten(chance, data, 2, *chance.choice(regions))
    return damaged(chance, data, 3) if one_in(chance, 8) else data


@cache
def _sizes() -> ImageSizes:
    return load_release("debian-6.12").image


def read_kernel(place: Path, data: bytes) -> None:
    """Everything that is read of an unpacked kernel."""
    unpacked = Vmlinux(data)
    assert len(unpacked.banner) < 2000
    list(unpacked.config)
    unpacked.image_sizes(_sizes())


# Kexec HandOver


@cache
def _handed() -> tuple[Any, tuple[tuple[int, int, int], ...]]:
    """A kernel that has written everything down; (start, end, bytes used) of what a successor reads."""
    done = written_down()
    memory = done.kernel.machine.bus.memory
    places = [(start, start + size) for start, size in [*done.parts, *((at, PAGE) for at in done.tree)]]
    used = [(start, end, len(bytes(memory.read(start, end - start)).rstrip(b"\0")) or 8) for start, end in places]
    return done.kernel, tuple(used)


def handover(chance: Random) -> list[tuple[int, bytes]]:
    """What to write where, in one or two of the tree, the list of areas, the map's pages, the sessions, the files."""
    memory = _handed()[0].machine.bus.memory
    written = []
    for _ in range(chance.choice((1, 1, 1, 2))):
        start, end, used = chance.choice(_handed()[1])
        data = bytes(memory.read(start, end - start))
        if chance.randrange(4):
            written.append((start, overwritten(chance, data, 1, 0, min(max(used, 8), end - start))))
        else:
            written.append((start, damaged(chance, data)[: end - start].ljust(end - start, b"\0")))
    return written


@cache
def _usual() -> frozenset[str]:
    return frozenset(outcome(_handed()[0])[1])


def take_over(place: Path, written: list[tuple[int, bytes]]) -> None:
    """A successor takes what lies in memory. InputError: it refused something, in the kernel's words."""
    k, usual = _handed()[0], _usual()
    memory = k.machine.bus.memory
    before = [(start, bytes(memory.read(start, len(data)))) for start, data in written]
    try:
        for start, data in written:
            memory.write(start, data)
        _, said, file = outcome(k)
    finally:
        k.log.lines.clear()
        for start, data in reversed(before):
            memory.write(start, data)
    if file is None or any(line.startswith(REFUSALS) for line in said if line not in usual):
        raise InputError(said[-1] if said else "nothing was found")


def device_tree(chance: Random) -> bytes:
    """The root tree with changed numbers in its header, its structure and its properties."""
    k, places = _handed()
    start, end, used = places[0]
    data = bytes(k.machine.bus.memory.read(start, end - start))
    return overwritten(chance, data, 2, 0, used) if chance.randrange(3) else damaged(chance, data, 4)


def read_tree(place: Path, data: bytes) -> None:
    """All that a kernel asks a tree for. InputError: libfdt refused it, or it goes beyond its own page."""
    try:
        tree = Tree(data)
    except FdtError as error:
        raise InputError(str(error)) from None
    if not max(tree.size, tree.end) <= len(data):
        raise InputError("the tree goes beyond its page")
    for name in (MEMBLOCK_NODE, LUO_NODE, METADATA_NODE):
        at = tree.subnode_offset(name)
        for asked in (0, at) if at > 0 else (0,):
            tree.node_check_compatible(asked, "kho-v1")
            for prop in (MEMORY_MAP_PROP, SUB_TREE_PROP, SUB_TREE_SIZE_PROP):
                tree.getprop(asked, prop)
                tree.getprop_u64(asked, prop)
