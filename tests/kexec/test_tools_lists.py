"""kexec_load() with the lists ``kexec -l`` and ``kexec -p`` of kexec-tools make: real addresses and sizes, our bytes.

Taken with ``kexec -d`` on machines of 2 GiB; ``kexec -p`` needs ``crashkernel=256M``.
"""

from __future__ import annotations

import pytest

from hw import boot_params, purgatory
from hw.errors import MachineStopped
from hw.spec import MemoryRange
from minikern.describe.presets import load_machine
from minikern.kexec.bzimage import ENTRY_64, load_bzimage
from minikern.kexec.errors import KexecError
from minikern.kexec.load import KEXEC_ARCH_X86_64, KEXEC_ON_CRASH, Kexec
from minikern.kexec.purgatory import MODES, digest_segments
from minikern.kexec.segments import Segment
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from tests.kexec.images import make_bzimage

RAM, RESERVED, ACPI = 1, 2, 3
MAP = [
    MemoryRange(0, 0x9FC00, RAM),
    MemoryRange(0x9FC00, 0xA0000, RESERVED),
    MemoryRange(0xF0000, 0x100000, RESERVED),
    MemoryRange(0x100000, 0x7FFDF000, RAM),
    MemoryRange(0x7FFDF000, 0x80000000, ACPI),
]
Row = tuple[str, int, int, int]
LISTS: dict[str, list[Row]] = {
    "kexec -l, 6.1": [
        ("initrd", 0x166104, 0x7BE99000, 0x167000),
        ("kernel", 0x7D87C0, 0x7C000000, 0x3F98000),
        ("boot_params", 0x508A, 0x7FFD0000, 0x6000),
        ("purgatory", 0x70E0, 0x7FFD6000, 0x9000),
    ],
    "kexec -l, 6.12": [
        ("kernel", 0xB817C0, 0x7C600000, 0x37EE000),
        ("initrd", 0x16627F, 0x7FE69000, 0x167000),
        ("boot_params", 0x508A, 0x7FFD0000, 0x6000),
        ("purgatory", 0x70E0, 0x7FFD6000, 0x9000),
    ],
    "kexec -p, 6.12": [
        ("initrd", 0x16627F, 0x7B499000, 0x167000),
        ("kernel", 0xB817C0, 0x7B600000, 0x37EE000),
        ("boot_params", 0x50B0, 0x7EF4E000, 0x6000),
        ("purgatory", 0x70E0, 0x7EF54000, 0x9000),
        ("elfcorehdr", 0x400, 0x7EF5D000, 0x4000),
        ("backup", 0x9EC00, 0x7EF61000, 0x9F000),
    ],
}
CRASH = "kexec -p, 6.12"


def machine(append: str = "") -> Boot:
    spec = load_machine("tiny")
    spec.memory, spec.e820 = "2G", MAP
    return boot(spec, append=append)


def filled(first: Boot, rows: list[Row]) -> tuple[list[Segment], int, int]:
    """The rows with contents a kernel can start from, the purgatory's and the zero page's address."""
    image = load_bzimage(bytes(make_bzimage(init_size=0x37EE000)), 40)
    at = {name: (bufsz, mem, memsz) for name, bufsz, mem, memsz in rows}
    page = bytearray(at["boot_params"][0])
    header = image.setup_header()
    page[boot_params.SETUP_HEADER_START : boot_params.SETUP_HEADER_START + len(header)] = header
    page[0x1000:0x100E] = b"console=ttyS0\0"
    for name, value in {
        "type_of_loader": 0xD0,
        "setup_data": 0,
        "cmd_line_ptr": at["boot_params"][1] + 0x1000,
        "ramdisk_image": at["initrd"][1],
        "ramdisk_size": at["initrd"][0],
        "acpi_rsdp_addr": first.kernel.boot_params.acpi_rsdp,
        "e820_entries": len(MAP),
    }.items():
        boot_params.put(page, name, value)
    for index, item in enumerate(MAP):
        place = boot_params.E820_TABLE + 20 * index
        boot_params.E820_ENTRY.pack_into(page, place, item.start, item.end - item.start, item.type)
    code = image.data[image.kernel_offset :]
    data = {"kernel": code.ljust(at["kernel"][0], b"\x90"), "boot_params": bytes(page)}
    segments = [
        Segment(name, data.get(name, b"\x5a" * bufsz), mem, memsz, digested=name != "purgatory")
        for name, bufsz, mem, memsz in rows
    ]
    loaded = digest_segments([one for one in segments if one.digested], MODES["generic"])
    entry, params, place = at["kernel"][1] + ENTRY_64, at["boot_params"][1], at["purgatory"][1]
    bytes_of_purgatory = purgatory.build(loaded.regions, loaded.digest, {"rip": entry, "rsi": params})
    where = next(index for index, one in enumerate(segments) if one.name == "purgatory")
    segments[where] = Segment(
        "purgatory", bytes_of_purgatory.ljust(at["purgatory"][0], b"\0"), place, at["purgatory"][2], digested=False
    )
    return segments, place, params


@pytest.mark.parametrize("name", [name for name in LISTS if name != CRASH])
def test_a_list_of_kexec_tools_is_loaded_and_boots(name: str) -> None:
    first = machine()
    segments, place, params = filled(first, LISTS[name])
    loader = Kexec(first.kernel)
    image = loader.kexec_load(place, segments, KEXEC_ARCH_X86_64, boot_params=params, purgatory=place)
    assert image is not None and image is loader.image
    done = reboot(first, image, "hashlib")
    assert done.handover.verified is not None
    assert done.handover.verified.size == sum(memsz for what, _, _, memsz in LISTS[name] if what != "purgatory")
    ramdisk = next(row for row in LISTS[name] if row[0] == "initrd")
    lines = [line.text for line in done.boot.kernel.log.lines]
    assert f"RAMDISK: [mem {ramdisk[2]:#010x}-{ramdisk[2] + ramdisk[3] - 1:#010x}]" in lines


def test_a_crash_list_goes_where_crashkernel_keeps_memory() -> None:
    first = machine("crashkernel=256M")
    start, size = first.kernel.crashk.res
    rows = LISTS[CRASH]
    assert start <= min(row[2] for row in rows) and max(row[2] + row[3] for row in rows) <= start + size
    segments, place, params = filled(first, rows)
    loader = Kexec(first.kernel)
    image = loader.kexec_load(
        place, segments, KEXEC_ARCH_X86_64 | KEXEC_ON_CRASH, boot_params=params, purgatory=place
    )
    assert image is not None and image.crash and image is loader.crash_image
    assert reboot(first, image, "hashlib").handover.verified is not None


def test_the_same_lists_are_refused_in_the_wrong_place() -> None:
    first = machine("crashkernel=256M")
    loader = Kexec(first.kernel)
    segments, place, params = filled(first, LISTS["kexec -l, 6.12"])
    with pytest.raises(KexecError, match="EADDRNOTAVAIL"):
        loader.kexec_load(place, segments, KEXEC_ON_CRASH, boot_params=params, purgatory=place)
    assert (loader.image, loader.crash_image) == (None, None)


def test_a_flip_in_a_caller_made_segment_is_found() -> None:
    first = machine()
    segments, place, params = filled(first, LISTS["kexec -l, 6.12"])
    image = Kexec(first.kernel).kexec_load(place, segments, boot_params=params, purgatory=place)
    assert image is not None
    image.flip("initrd", 0x165000, 6)
    with pytest.raises(MachineStopped, match="SHA-256 over"):
        reboot(first, image, "hashlib")


def test_the_documented_example() -> None:
    """As minikern.kexec.load's docstring has it: no purgatory, the jump goes straight to the kernel."""
    first = machine()
    segments, _, params = filled(first, LISTS["kexec -l, 6.12"])
    kernel = next(one for one in segments if one.name == "kernel")
    own = [one for one in segments if one.name != "purgatory"]
    image = Kexec(first.kernel).kexec_load(kernel.mem + ENTRY_64, own, boot_params=params)
    assert image is not None
    done = reboot(first, image)
    assert done.handover.verified is None and done.handover.entry == kernel.mem + ENTRY_64
    assert done.boot.kernel.cmdline.text == "console=ttyS0"
