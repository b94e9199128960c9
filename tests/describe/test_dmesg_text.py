"""Boot logs as people keep them: what stands before the lines, how the file is packed, what is missing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import quopri
from pathlib import Path

import pytest
import zstandard

from hw.errors import InputError
from minikern.describe.dmesg_text import boots, looks_like_log, read_log
from minikern.describe.presets import load_machine

PLAIN = [
    "Linux version 6.8.0-51-generic (build@host) #52 SMP",
    "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
    "BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable",
    "  DMA      [mem 0x0000000000001000-0x0000000000ffffff]",
    "  node   0: [mem 0x0000000000001000-0x000000000009efff]",
    ".... node  #0, CPUs:      #1",
    "[mem 0x40000000-0xfeffbfff] available for PCI devices",
    "pci 0000:00:00.0: [8086:1237] type 00 class 0x060000",
]
STAMPED = [
    "[    0.000000] {}",
    "[    0.000000][    T0] {}",
    "[    0.000000] [    T0] {}",
    "<6>[    0.000000] {}",
    "> [    0.000000] {}",
    "\t[    0.000000] {}",
    "[Thu Aug  2 15:45:46 2018] {}",
    "[<    0.000000>] {}",
    "[    0.000000 <    0.000000>] {}",
    "[  +0.000012] {}",
    "[Aug 2 15:45] {}",
    "2023-01-01T12:00:00,123456+01:00 {}",
    "kern  :info  : [    0.000000] {}",
    "kern  :info  : [Thu Aug  2 15:45:46 2018] {}",
    "Nov 01 12:00:00 host kernel: {}",
    "Nov  1 12:00:00 host kernel: [    0.000000] {}",
    "2023-01-01T12:00:00+0100 host kernel: {}",
    "2023-01-01T12:00:00.123456+01:00 host kernel: [    0.000000] {}",
    "2026-05-18T17:59:47.299044Z NOTICE kernel: [    0.000000] {}",
    "2015-10-01T18:25:37.33654 kern.info: [    0.000000] {}",
    "Thu Jan  1 00:00:00 1970 kern.info kernel: [    0.000000] {}",
    "Fri 2023-01-06 10:00:00 UTC host kernel: {}",
    "20:55:42,615 NOTICE kernel: {}",
    "[    0.000000] host.example kernel: {}",
    "\x1b[32m[    0.000000] \x1b[0m{}",
    "{}\r",
    "\r[    0.000000] {}",
]


def log_file(folder: Path, data: str | bytes, name: str = "boot.txt") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


@pytest.mark.parametrize("form", STAMPED)
def test_what_stands_before_the_lines_goes(tmp_path: Path, form: str) -> None:
    lines = read_log(log_file(tmp_path, "\n".join(form.format(line) for line in PLAIN)))
    assert [line for line in lines if line] == PLAIN



@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed(tmp_path: Path, pack: object) -> None:
    data = pack("\n".join(PLAIN).encode())  # type: ignore[operator]
    path = log_file(tmp_path, data, "boot")
    assert looks_like_log(path)
    assert read_log(path) == PLAIN
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"ends early|damaged"):
        read_log(path)


def test_zstd(tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor().compress("\n".join(PLAIN).encode())
    assert read_log(log_file(tmp_path, packed)) == PLAIN
    for wrong, message in ((packed[:-4], "ends early"), (packed[:6] + b"\xff" * 40, "damaged zstd")):
        with pytest.raises(InputError, match=message):
            read_log(log_file(tmp_path, wrong))
    bomb = zstandard.ZstdCompressor().compress(bytes(80 << 20))
    with pytest.raises(InputError, match="at most"):
        read_log(log_file(tmp_path, bomb))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    assert read_log(log_file(tmp_path, "\n".join(PLAIN).encode(encoding))) == PLAIN


def test_mails_as_they_are_archived(tmp_path: Path) -> None:
    text = "\n".join([*PLAIN, "Command line: console=ttyS0,115200 root=/dev/sda rw " + "word " * 20])
    assert read_log(log_file(tmp_path, quopri.encodestring(text.encode())))[:8] == PLAIN


def test_a_log_that_lost_its_beginning(tmp_path: Path) -> None:
    assert boots(PLAIN[1:]) == [PLAIN[1:]]
    assert boots(PLAIN[3:]) == [PLAIN[3:]]
    assert boots(PLAIN[5:]) == []
    spec = load_machine(str(log_file(tmp_path, "\n".join(PLAIN[1:]))))
    assert [entry.type for entry in spec.e820] == [1, 1]
    assert any("kernel release" in note for note in spec.notes)


def test_only_the_memory_of_the_nodes_is_left(tmp_path: Path) -> None:
    ranges = ["  node   0: [mem 0x0000000000001000-0x000000000009ffff]", "  node   0: [mem 0x100000-0x7fffffff]"]
    spec = load_machine(str(log_file(tmp_path, "\n".join(ranges))))
    assert [(entry.start, entry.end) for entry in spec.e820] == [(0x1000, 0xA0000), (1 << 20, 2 << 30)]
    assert any("memory map after" in note for note in spec.notes)


def test_firmware_words_of_later_kernels(tmp_path: Path) -> None:
    rows = [
        PLAIN[0],
        "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff]  System RAM",
        "BIOS-e820: [gap 0x00000000000a0000-0x00000000000effff]",
        "BIOS-e820: [mem 0x00000000000f0000-0x00000000000fffff]  device reserved",
        "BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff]  System RAM",
    ]
    spec = load_machine(str(log_file(tmp_path, "\n".join(rows))))
    assert [entry.type for entry in spec.e820] == [1, 2, 1]


def test_captured_folder_with_a_pipe_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "boot_params.bin").write_bytes(bytes(4096))
    os.mkfifo(tmp_path / "cpuid.txt")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_machine(str(tmp_path))


def test_captured_folder_with_a_folder_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "boot_params.bin").write_bytes(bytes(4096))
    (tmp_path / "cpuid.txt").mkdir()
    with pytest.raises(InputError, match="expected a file, found a folder"):
        load_machine(str(tmp_path))
