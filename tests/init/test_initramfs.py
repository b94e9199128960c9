"""The initial file system is unpacked beside the drivers, or before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import Boot, boot
from tests.support import run, texts

UNPACKING, FREEING = "Trying to unpack rootfs image as initramfs...", "Freeing initrd memory: "


def places(done: Boot) -> tuple[int, int, int]:
    """Where the log says that it unpacks, frees, and that DMA has its way."""
    lines = texts(done)
    starts = [next(at for at, line in enumerate(lines) if line.startswith(text)) for text in (UNPACKING, FREEING)]
    return starts[0], starts[1], next(at for at, line in enumerate(lines) if line.startswith("PCI-DMA: "))


def test_older_kernels_do_it_at_once() -> None:
    done = run("laptop", release="linux-5.10")
    unpacking, freeing, dma = places(done)
    assert freeing == unpacking + 1 < dma
    line = done.kernel.log.lines
    assert line[freeing].at_ns - line[unpacking].at_ns >= done.kernel.ledger.total_ns("initramfs_byte")


def test_newer_ones_have_a_worker_do_it() -> None:
    done = run("laptop", release="debian-6.12")
    unpacking, freeing, dma = places(done)
    assert dma <= freeing and unpacking < freeing
    work = [entry for entry in done.kernel.ledger.entries() if entry.kind == "initramfs_byte"]
    assert [(entry.cpu, entry.pieces) for entry in work] == [(1, done.kernel.boot_params.ramdisk[1])]


def test_a_worker_can_be_declined() -> None:
    unpacking, freeing, dma = places(run("laptop", release="debian-6.12", append="initramfs_async=0"))
    assert freeing == unpacking + 1 < dma


def test_what_is_unpacked_early_is_freed_when_it_is_done() -> None:
    done = run("laptop", release="debian-6.12")
    log = done.kernel.log
    freed = log.find(FREEING)
    last = log.find("Freeing unused kernel image (initmem)")
    assert freed is not None and last is not None and freed.at_ns <= last.at_ns


@pytest.mark.parametrize("text", ["Unpacking initramfs...", UNPACKING])
def test_the_words_are_those_of_the_logs_kernel(tmp_path: Path, text: str) -> None:
    log = f"""\
Linux version 6.12.1 (build@host) (gcc) #1 SMP
BIOS-provided physical RAM map:
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
RAMDISK: [mem 0x37000000-0x37ffffff]
{text}
"""
    path = tmp_path / "dmesg.txt"
    path.write_text(log)
    lines = texts(boot(load_machine(str(path))))
    assert text in lines and "Freeing initrd memory: 16384K" in lines
