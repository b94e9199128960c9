"""A real kexec: the segment list of ``kexec -d`` and the log of the kernel it started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hw import boot_params, purgatory
from minikern.describe.presets import load_machine
from minikern.kexec.load import Kexec
from minikern.kexec.purgatory import MODES, digest_segments
from minikern.kexec.segments import Segment, locate_mem_hole
from minikern.lab.kexec import reboot
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.kexec.images import SECTOR, SETUP_SECTS, make_bzimage, put
from tests.support import CAPTURES, class_lines

FOLDER = CAPTURES / "kexec-q35"
SETUP_SECTORS = 39  # of the real file: the command line lies 0x5000 behind the page
NAMES = ["setup_data", "initrd", "kernel", "boot_params", "purgatory"]

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared/captures beside the checkout"),
]


def real_list() -> list[dict[str, int]]:
    text = (FOLDER / "kexec" / "kexec-load-final.txt").read_text()
    found = re.findall(r"\.bufsz = (0x\w+)\n.*\.mem   = (0x\w+)\n.*\.memsz = (0x\w+)", text)
    return [dict(zip(("bufsz", "mem", "memsz"), (int(v, 16) for v in row), strict=True)) for row in found]


def test_holes_are_where_the_real_loader_put_its_segments() -> None:
    """Sizes and rules given, the addresses follow (in the order of loading, not of the list)."""
    real = dict(zip(NAMES, real_list(), strict=True))
    ram = Kexec(boot(load_machine(str(FOLDER / "first"))).kernel).system_ram()
    taken: list[tuple[int, int]] = []
    for name, align, low in (
        ("purgatory", 4096, 0x3000),
        ("boot_params", 4096, 0x3000),
        ("kernel", 0x200000, 0x1000000),
        ("initrd", 4096, 16 << 20),
    ):
        size = real[name]["memsz"]
        address = locate_mem_hole(ram, taken, size, align, low)
        assert address == real[name]["mem"], name
        taken.append((address, address + size))


def contents(page: bytes) -> dict[str, bytes]:
    """Bytes for the segments: those that are known are real, kernel and initrd have the real sizes only.

    The node of the random seed is as the kernel leaves it: used, its length set to 0.
    """
    real = dict(zip(NAMES, real_list(), strict=True))
    command_line = (FOLDER / "kexec" / "append.txt").read_bytes().rstrip(b"\n") + b"\0"
    params = bytearray(page.ljust(real["boot_params"]["bufsz"], b"\0"))
    at = boot_params.get(page, "cmd_line_ptr") - real["boot_params"]["mem"]
    params[at : at + len(command_line)] = command_line
    head = bytes(8) + (9).to_bytes(4, "little") + bytes(4)
    kernel = b"\x90" * real["kernel"]["bufsz"]
    return {"setup_data": head.ljust(48, b"\0"), "initrd": b"\x1f\x8b" * (real["initrd"]["bufsz"] // 2),
            "kernel": kernel, "boot_params": bytes(params)}  # fmt: skip


def test_the_second_boot_agrees(tmp_path: Path) -> None:
    data = contents((FOLDER / "second" / "boot_params.bin").read_bytes())
    rows = dict(zip(NAMES, real_list(), strict=True))
    segments = [Segment(name, data[name], rows[name]["mem"], rows[name]["memsz"]) for name in NAMES[:-1]]
    loaded = digest_segments(segments, MODES["generic"])
    entry, params = rows["kernel"]["mem"] + 0x200, rows["boot_params"]["mem"]
    code = purgatory.build(loaded.regions, loaded.digest, {"rip": entry, "rsi": params})
    place = rows["purgatory"]["mem"]
    segments.append(Segment("purgatory", code, place, rows["purgatory"]["memsz"], digested=False))
    first = boot(load_machine(str(FOLDER / "first")))
    image = Kexec(first.kernel).kexec_load(place, segments, boot_params=params, purgatory=place)
    assert image is not None
    image.known = loaded
    done = reboot(first, image, "hashlib")
    emulated, real = format_dmesg(done.boot.kernel), (FOLDER / "second" / "dmesg.txt").read_text(errors="replace")
    for kind in ("e820", "zones", "zonelists", "nosave", "acpi-tables", "madt", "smp", "memory", "initmem"):
        assert class_lines(emulated, kind, tmp_path) == class_lines(real, kind, tmp_path), kind
    assert "RAMDISK: [mem 0x7bb4e000-0x7bffffff]" in emulated


def test_the_tools_list_and_its_map_follow_from_the_files_sizes(tmp_path: Path) -> None:
    """What ``kexec -c -l`` made of files of these sizes, segment by segment, and the map the second kernel prints."""
    real = {name: (row["bufsz"], row["mem"], row["memsz"]) for name, row in zip(NAMES, real_list(), strict=True)}
    log = (FOLDER / "second" / "dmesg.txt").read_text(errors="replace")
    banner = re.search(r"Linux version (\S+) .*(#1 SMP.*)", log)
    assert banner is not None
    file = make_bzimage(real["kernel"][0], real["kernel"][2], " ".join(banner.groups()).encode())
    put(file, "setup_sects", SETUP_SECTORS)
    file[0x800:0x800] = bytes((SETUP_SECTORS - SETUP_SECTS) * SECTOR)
    initrd = b"\x1f\x8b" * (real["initrd"][0] // 2)
    cmdline = (FOLDER / "kexec" / "append.txt").read_text().rstrip("\n")
    first = boot(load_machine(str(FOLDER / "first")))
    image = Kexec(first.kernel).kexec_tools_load(bytes(file), initrd, cmdline)
    made = {one.name: (one.bufsz, one.mem, one.memsz) for one in image.kimage.segments}
    assert list(made) == NAMES
    assert {**made, "purgatory": made["purgatory"][1:]} == {**real, "purgatory": real["purgatory"][1:]}
    done = reboot(first, image, "hashlib")
    emulated = format_dmesg(done.boot.kernel)
    for kind in ("e820", "zones", "zonelists", "nosave", "acpi-tables", "madt", "smp", "memory", "initmem"):
        assert class_lines(emulated, kind, tmp_path) == class_lines(log, kind, tmp_path), kind
