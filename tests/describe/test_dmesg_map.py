"""The memory of a log: a lost beginning, tables that count as memory, blanks that were lost, and the image's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from hw.machine import Machine
from minikern.core.kernel import BootOptions
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.verify.page_check import check_memmap

HEADLESS = """\
[    0.000000] BIOS-e820: [mem 0x00000000fffc0000-0x00000000ffffffff] reserved
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x000000011fffffff] usable
[    0.000000] ACPI: RSDP 0x00000000000F5A00 000024 (v02 TEST  )
[    0.000000] ACPI: XSDT 0x000000003FF01500 000034 (v01 TEST   TEST     00000001 TEST 00000001)
[    0.000000] ACPI: FACP 0x000000003FF00180 000114 (v06 TEST   TEST     00000001 TEST 00000001)
"""
NODES = """\
[    0.000000]   node   0: [mem 0x0000000000001000-0x000000000009efff]
[    0.000000]   node   0: [mem 0x0000000000100000-0x000000003fefffff]
[    0.000000]   node   0: [mem 0x0000000100000000-0x000000011fffffff]
"""
PLAIN = """\
Linux version {version} (a@b) #1 SMP
Command line: {words}
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003fffffff] usable
BIOS-e820: [mem 0x0000000040000000-0x00000000400fffff] ACPI data
BIOS-e820: [mem 0x0000000100000000-0x000000021fffffff] usable
efi: EFI v2.7 by EDK II
efi: ACPI=0x40000000 Unaccepted=0x40010b18 
"""  # noqa: W291 (as the kernel writes it)


def machine(folder: Path, text: str) -> Case:
    path = folder / "dmesg.txt"
    path.write_text(text)
    return load_machine(str(path))


def lines(spec: Case, start: str) -> list[str]:
    texts = (line.text.strip() for line in boot(spec).kernel.log.lines)
    return [text for text in texts if text.startswith(start)]


def test_a_map_without_its_beginning_is_completed(tmp_path: Path) -> None:
    spec = machine(tmp_path, HEADLESS + NODES)
    ranges = [(entry.start, entry.end, entry.type) for entry in spec.e820]
    assert ranges[:3] == [(0x1000, 0x9F000, 1), (0x100000, 0x3FF00000, 1), (0x3FF00000, 0x3FF02000, 3)]
    assert any("the log's start is lost inside the memory map" in note for note in spec.notes)
    assert lines(spec, "node   0:") == [line[15:].lstrip() for line in NODES.splitlines()]


def test_a_map_that_nothing_completes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="start is lost inside the memory map, whose first entry is at 0xfffc0000"):
        machine(tmp_path, HEADLESS)


def test_the_table_of_unaccepted_memory_is_memory(tmp_path: Path) -> None:
    spec = machine(tmp_path, PLAIN.format(version="6.14.0", words="nokaslr"))
    assert "node   0: [mem 0x0000000040010000-0x0000000040010fff]" in lines(spec, "node   0:")
    assert not check_memmap(boot(spec, options=BootOptions(vmemmap="full")).kernel).message
    older = machine(tmp_path, PLAIN.format(version="6.4.0", words="nokaslr"))
    assert len(lines(older, "node   0:")) == 3


def test_blanks_that_syslog_ate(tmp_path: Path) -> None:
    zones = "Zone ranges:\n DMA      [mem 0x1000-0xffffff]\n DMA32    [mem 0x1000000-0xffffffff]\n Device   empty\n"
    spec = machine(tmp_path, PLAIN.format(version="5.4.0", words="") + zones)
    assert spec.kernel is not None
    assert (spec.kernel.zone_dma, spec.kernel.zone_dma32, spec.kernel.zone_device) == (True, True, True)


def test_the_image_is_not_put_into_persistent_memory(tmp_path: Path) -> None:
    user = "user: [mem 0x0000000100000000-0x00000001bfffffff] persistent (type 12)\n" + "".join(
        f"user: [mem {place}] usable\n"
        for place in ("0x0000000000100000-0x000000003fffffff", "0x00000001c0000000-0x000000021fffffff")
    )
    spec = machine(tmp_path, PLAIN.format(version="6.1.0", words="memmap=3G!4G") + user)
    assert spec.kernel is not None and 0x1C0000000 <= spec.kernel.image_address < 0x21FFFFFFF
    assert not lines(spec, ".text .data .bss are not marked")
    assert all("0x00000001bfffffff" not in line for line in lines(spec, "node"))


def test_a_crash_kernel_lies_in_its_reserve(tmp_path: Path) -> None:
    text = PLAIN.format(version="6.1.0", words="nokaslr elfcorehdr=0x2fff00000")
    text = text.replace(
        "0x0000000000100000-0x000000003fffffff] usable", "0x000000002e000000-0x000000003dffffff] usable"
    )
    text = "\n".join(line for line in text.splitlines() if "0x0000000100000000" not in line)
    spec = machine(tmp_path, text)
    assert spec.kernel is not None and spec.kernel.image_address == 0x2E000000
    assert not lines(spec, ".text .data .bss are not marked")


def test_kexec_puts_the_kernel_above_its_initial_ram_disk(tmp_path: Path) -> None:
    """Two lab machines' logs: their node data is right only with the tables of a kernel that lies there."""
    text = PLAIN.format(version="6.0.0", words="nokaslr")
    below = "RAMDISK: [mem 0x0000000204000000-0x00000002191fffff]\n"
    spec = machine(tmp_path, text + below)
    assert spec.kernel is not None and spec.kernel.image_address == 0x219200000
    low = machine(tmp_path, text + "RAMDISK: [mem 0x0000000030000000-0x0000000031ffffff]\n")
    assert low.kernel is not None and low.kernel.image_address == 0


def test_the_map_of_a_log_of_4_15(tmp_path: Path) -> None:
    spec = machine(tmp_path, PLAIN.format(version="4.15.0-76-generic", words=""))
    assert lines(spec, "e820: BIOS-provided physical RAM map:") and lines(spec, "e820: last_pfn = 0x220000 ")
    assert lines(spec, "Hierarchical SRCU implementation.") and not lines(spec, "printk: ")


def test_a_neighbour_stands_in_and_that_is_said(tmp_path: Path) -> None:
    for version, said in (("4.12.0-76-generic", "there is none of 4.12.0"), ("6.12.5", ""), ("7.1.0", "none of 7.1.0")):
        notes = machine(tmp_path, PLAIN.format(version=version, words="")).notes
        assert [said in note for note in notes if "image and configuration of kernel" in note] == [True] * bool(said)
    wide = machine(tmp_path, PLAIN.format(version="5.10.0-9-686", words="")).notes
    assert "assumed: a 64-bit kernel, where a 32-bit one wrote the log" in wide


def test_faked_nodes_without_their_word(tmp_path: Path) -> None:
    faked = "".join(f"Faking node {nid} at [mem 0x{nid:016x}-0x{nid:016x}] (1MB)\n" for nid in range(2))
    spec = machine(tmp_path, PLAIN.format(version="6.6.0", words="quiet") + faked)
    assert spec.append == "quiet numa=fake=2"
    assert len(lines(spec, "Faking node ")) == 2
    assert machine(tmp_path, PLAIN.format(version="6.6.0", words="numa=fake=4") + faked).append == "numa=fake=4"


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("XSDT 0x000000003FF01500 000034 (v01 ", "XSDT 0x000000003FF01500 000034 (v296 "),
        ("node   0: [mem 0x0000000000001000", "node   31920618001513388852: [mem 0x0000000000001000"),
    ],
)
def test_numbers_wider_than_their_field_are_no_machines(tmp_path: Path, text: str, other: str) -> None:
    log = HEADLESS + NODES
    assert text in log
    Machine.power_on(machine(tmp_path, log.replace(text, other)))
