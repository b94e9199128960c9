"""The update in front of the initial RAM disk: found, checked, matched, loaded once a core; damaged ones are left."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path
from shutil import which

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.errors import InputError
from hw.faults import FaultSpec
from hw.microcode_update import amd_container, early_cpio, intel_update
from hw.spec import CpuSpec
from minikern.core.kernel import Kernel
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_machine, load_preset
from minikern.lab.cpu_board import CpuLab
from minikern.lab.run import boot as boot_machine
from minikern.smp.microcode_amd import AmdRules, find_patch, lowest_revision, needs_digest, signature_of
from minikern.smp.microcode_cpio import find_cpio_data
from minikern.smp.microcode_intel import newest, parse_updates
from minikern.state.microcode import IntelUpdate, Signature
from tests.smp.harness import INITRD, boot, make_kernel, texts

SMP8_HT = CpuSpec(count=8, sockets=2, cores=2, threads=2)
FOUR_AMD = CpuSpec(count=4, cores=2, threads=2, vendor="AuthenticAMD", family=0x17, model=0x31, stepping=0)
ICELAKE = Signature(0x606A6, 1)
DATE = "2023-11-21"
INTEL, AMD = "kernel/x86/microcode/GenuineIntel.bin", "kernel/x86/microcode/AuthenticAMD.bin"
ROME = 0x830F10


def update(revision: int, sig: int = ICELAKE.sig, pf: int = 1, also: tuple[tuple[int, int], ...] = ()) -> bytes:
    return intel_update(sig, pf, revision, DATE, also)


def kernel_with(initrd: bytes, spec: CpuSpec = SMP8_HT, release: str = "debian-6.12", append: str = "") -> Kernel:
    k = make_kernel(spec, append, release=release)
    k.machine.bus.memory.write(INITRD, initrd)
    k.boot_params.ramdisk = INITRD, len(initrd)
    return k


def revisions(k: Kernel) -> set[int]:
    return {cpu.microcode.revision for cpu in k.machine.cpus}


# the archive


def place(archive: bytes, path: str = INTEL) -> tuple[int, int] | None:
    found = find_cpio_data(kernel_with(archive), path, INITRD, len(archive))
    return None if found is None else (found.address - INITRD, found.size)


def test_the_file_is_found_behind_others_and_padding() -> None:
    first, second = early_cpio("kernel/firmware/acpi/x.aml", b"abc"), early_cpio(INTEL, b"microcode")
    archive = first + bytes(1024) + second + b"\x1f\x8b compressed"
    found = place(archive)
    assert found is not None and archive[found[0] : found[0] + found[1]] == b"microcode"
    assert place(bytes(200_000) + second) is not None
    assert place(archive, AMD) is None and place(bytes(3_000_000)) is None and place(b"") is None


@pytest.mark.parametrize(("hole", "whole"), [(5 << 20, True), ((5 << 20) + 0x1234, True), ((5 << 20) + 2, False)])
def test_padding_that_was_never_written(hole: int, whole: bool) -> None:
    first, second = early_cpio("kernel/firmware/acpi/x.aml", b"abc"), early_cpio(INTEL, b"microcode")
    k = kernel_with(b"")
    k.machine.bus.memory.clear(INITRD, 8 << 20)
    for place, archive in ((INITRD, first), (INITRD + hole, second)):
        k.machine.bus.memory.write(place, archive)
    found = find_cpio_data(k, INTEL, INITRD, 3 << 30)
    assert (found is not None and found.address > INITRD + hole) is whole


@pytest.mark.parametrize("damage", [0, 5, 30, 100, 109])
def test_an_archive_that_is_none_ends_the_search(damage: int) -> None:
    archive = bytearray(early_cpio("x", b"") + early_cpio(INTEL, b"microcode"))
    archive[damage] = ord("x")
    assert place(bytes(archive)) is None


def test_lengths_beyond_the_end_are_refused() -> None:
    whole = early_cpio(INTEL, b"m" * 100)
    for cut in range(0, len(whole), 7):
        found = place(whole[:cut])
        assert found is None or sum(found) <= cut


@pytest.mark.skipif(which("cpio") is None, reason="cpio is not installed")
def test_the_real_cpio_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    done = subprocess.run(["cpio", "-it", "--quiet"], input=early_cpio(INTEL, b"abcd"), capture_output=True, check=True)
    assert done.stdout.decode().split()[-1] == INTEL
    (tmp_path / "kernel/x86/microcode").mkdir(parents=True)
    (tmp_path / INTEL).write_bytes(b"their bytes")
    made = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"],
        input=f"kernel\nkernel/x86\nkernel/x86/microcode\n{INTEL}\n".encode(),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    ).stdout
    found = place(made)
    assert found is not None and made[found[0] : found[0] + found[1]] == b"their bytes"


# Intel


def test_the_newest_fitting_update_is_chosen() -> None:
    blob = update(5) + update(9, sig=0x50654) + update(8, pf=2) + update(7) + update(6)
    updates = parse_updates(blob)
    assert updates is not None and [item.revision for item in updates] == [5, 9, 8, 7, 6]
    best = newest(updates, ICELAKE, 4)
    assert best is not None and best.revision == 7
    assert newest(updates, ICELAKE, 7) is None
    only = newest(updates, Signature(0x50654, 1), 0)
    assert only is not None and only.revision == 9


def test_extended_signatures_count() -> None:
    updates = parse_updates(update(3, also=((0x606A4, 0x87), (0x606C1, 0x10))))
    assert updates is not None and updates[0].size == 48 + 2000 + 20 + 24
    assert newest(updates, Signature(0x606C1, 0x10), 0) and not newest(updates, Signature(0x606C1, 0x20), 0)


@given(st.integers(0, 2091), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_no_damaged_byte_goes_unseen(at: int, flip: int) -> None:
    blob = bytearray(update(3, also=((0x606A4, 0x87), (0x606C1, 0x10))))
    blob[at] ^= flip
    changed = parse_updates(bytes(blob))
    assert changed is None


@given(st.binary(max_size=300))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_survived(data: bytes) -> None:
    parse_updates(data)
    parse_updates(update(3) + data)
    rules = AmdRules(ROME, 0x17, 0, True)
    container = amd_container(ROME, lowest_revision(ROME) + 5)
    for blob in (data, container[: len(data)], container[:12] + data, container + data):
        find_patch(blob, rules, lambda text: None)
    place(data)


def twin_parse(blob: bytes) -> list[int] | None:
    """Revisions of the updates in a file of updates without extended tables, word by word."""
    words = [int.from_bytes(blob[at : at + 4], "little") for at in range(0, len(blob) // 4 * 4, 4)]
    out, at = [], 0
    while at < len(words):
        size = (words[at + 8] if words[at + 7] else 2048) // 4
        if sum(words[at : at + size]) % (1 << 32) or words[at] != 1 or words[at + 5] != 1:
            return None
        out.append(words[at + 1])
        at += size
    return out if len(blob) % 4 == 0 else None


def test_the_parser_agrees_with_a_slow_twin() -> None:
    rng = random.Random(4)
    for _ in range(40):
        blob = b"".join(update(rng.randrange(1, 1 << 32), rng.randrange(1 << 32)) for _ in range(rng.randrange(1, 5)))
        parsed: list[IntelUpdate] | None = parse_updates(blob)
        assert parsed is not None and [item.revision for item in parsed] == twin_parse(blob)


@pytest.mark.parametrize(("release", "first"), [
    ("debian-6.1", "microcode: microcode updated early to revision 0x2b, date = 2023-11-21"),
    ("debian-6.12", None),
])  # fmt: skip
def test_every_core_is_brought_to_the_update(release: str, first: str | None) -> None:
    k = boot(kernel_with(early_cpio(INTEL, update(0x2B)), release=release))
    assert revisions(k) == {0x2B}
    assert (k.ledger.count("microcode_load"), k.ledger.count("microcode_check")) == (4, 4)
    assert [text for text in texts(k) if "microcode" in text] == ([first] if first else [])
    assert (k.cpus.microcode.old_revision, k.cpus.microcode.new_revision) == (0, 0x2B)


@pytest.mark.parametrize("initrd", [
    early_cpio(INTEL, update(0x2B)[:-4]),
    early_cpio(INTEL, update(0x2B) + b"left"),
    early_cpio(INTEL, update(0x2B, sig=0x50654)),
    early_cpio(AMD, update(0x2B)),
    early_cpio(INTEL, b""),
    b"\x1f\x8b" + bytes(100),
])  # fmt: skip
def test_without_a_fitting_update_nothing_is_loaded(initrd: bytes) -> None:
    k = boot(kernel_with(initrd))
    assert revisions(k) == {0}
    assert not k.ledger.count("microcode_load") + k.ledger.count("microcode_check")


@pytest.mark.parametrize(("release", "loads"), [("debian-6.1", 1), ("debian-6.12", 0)])
def test_a_thread_behind_its_boot_cpu(release: str, loads: int) -> None:
    """The boot CPU needs nothing: the older loader still looks for every other CPU, the newer one does not."""
    k = kernel_with(early_cpio(INTEL, update(0x2B)), release=release)
    for cpu in k.machine.cpus[:6]:
        cpu.microcode.revision = 0x2B
    boot(k)
    assert k.ledger.count("microcode_load") == loads
    assert k.machine.cpus[7].microcode.revision == (0x2B if loads else 0)


# AMD


def test_the_equivalence_table_names_the_patch() -> None:
    old = 0x100F42  # family 10h
    blob = amd_container(0x100F22, 0x1000083, 0x1022) + amd_container(old, 0x10000DB, 0x1042)
    patch = find_patch(blob, AmdRules(old, 0x10, 0, True), lambda text: None)
    assert patch is not None and patch.revision == 0x10000DB
    assert find_patch(blob, AmdRules(0x100F43, 0x10, 0, True), lambda text: None) is None


def test_zen_revisions_name_their_cpu() -> None:
    assert signature_of(0x0830107C) == ROME and lowest_revision(ROME) == 0x08301000
    patch = find_patch(amd_container(ROME, 0x0830107D), AmdRules(ROME, 0x17, 0x0830107C, True), lambda text: None)
    assert patch is None  # not across the change of signatures
    patch = find_patch(amd_container(ROME, 0x0830107D), AmdRules(ROME, 0x17, 0x0830107C, False), lambda text: None)
    assert patch is not None
    assert needs_digest(ROME, 0) and needs_digest(ROME, 0x0830107C) and not needs_digest(ROME, 0x0830107D)
    assert not needs_digest(0x100F42, 0)


def test_chipset_code_is_refused_with_a_line() -> None:
    blob = bytearray(amd_container(ROME, 0x08301055))
    struct.pack_into("<I", blob, 12 + 32 + 8 + 16, 1)
    said: list[str] = []
    assert find_patch(bytes(blob), AmdRules(ROME, 0x17, 0, True), said.append) is None
    assert said == ["microcode: Patch-ID 0x08301055: chipset-specific code unsupported."]


def test_a_patch_without_a_known_digest_is_refused() -> None:
    k = boot(kernel_with(early_cpio(AMD, amd_container(ROME, 0x08301055)), FOUR_AMD))
    assert [text for text in texts(k) if "microcode" in text] == [
        "microcode: No sha256 digest for patch ID: 0x8301055 found"
    ]
    assert revisions(k) == {0}
    k = boot(kernel_with(early_cpio(AMD, amd_container(ROME, 0x08301055)), FOUR_AMD, release="debian-6.1"))
    assert revisions(k) == {0x08301055}
    assert k.ledger.count("microcode_load") == 4  # every thread, newer or not


# whole machines


def log_of(release: str, append: str = "") -> list[str]:
    spec = load_preset("laptop")
    adjust(spec, Adjustments(memory="512M"))
    spec.release = release
    done = boot_machine(spec, append=append)
    lines = [line.text for line in done.kernel.log.lines]
    done.kernel.release_memory()
    return lines


def test_lines_of_a_whole_boot() -> None:
    new = [text for text in log_of("debian-6.12") if text.startswith("microcode")]
    assert new == ["microcode: Current revision: 0x000000b8", "microcode: Updated early from: 0x0000009a"]
    old = log_of("debian-6.1")
    assert old[0] == "microcode: microcode updated early to revision 0xb8, date = 2024-02-15"
    assert [text for text in old[1:] if text.startswith("microcode")] == [
        "microcode: sig=0x806c1, pf=0x1, revision=0xb8",
        "microcode: Microcode Update Driver: v2.2.",
    ]
    assert not [text for text in log_of("debian-6.12", "dis_ucode_ldr") if text.startswith("microcode")]


BARE_METAL = """\
Linux version 6.12.1 (x@y) #1 SMP PREEMPT_DYNAMIC
Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
tsc: Detected 2893.202 MHz processor
last_pfn = 0x40000 max_arch_pfn = 0x400000000
RAMDISK: [mem 0x30000000-0x30ffffff]
CPU topo: Allowing 2 present CPUs plus 0 hotplug CPUs
smpboot: CPU0: Intel Xeon E3-12xx v2 (family: 0x6, model: 0x3a, stepping: 0x9)
"""


@pytest.mark.parametrize("lines", [
    ["microcode: Current revision: 0x00000021", "microcode: Updated early from: 0x0000001f"],
    ["microcode: Current revision: 0x00000021"],
    [],
])  # fmt: skip
def test_a_log_says_what_its_machine_runs(tmp_path: Path, lines: list[str]) -> None:
    log = tmp_path / "dmesg.txt"
    log.write_text("".join(f"[    0.000000] {line}\n" for line in [*BARE_METAL.splitlines(), *lines]))
    done = boot_machine(load_machine(str(log)))
    ours = [line.text for line in done.kernel.log.lines if line.text.startswith("microcode")]
    assert ours == lines or not lines
    done.kernel.release_memory()


def test_an_initrd_too_small_for_its_update_is_refused() -> None:
    spec = load_preset("laptop")
    spec.boot.ramdisk_bytes = 512
    with pytest.raises(InputError, match="ramdisk_bytes"):
        boot_machine(spec)


def test_a_faulty_sibling_is_brought_up_to_date_on_a_machine_with_an_update() -> None:
    k = CpuLab(SMP8_HT).boot(faults=FaultSpec(microcode="3"))
    assert len(revisions(k)) == 1 and k.ledger.count("microcode_load") == 5
