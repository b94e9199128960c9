"""What a captured folder's resource tree and log tell about memory at hand-over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import boot_params
from hw.efi_map import DESCRIPTOR, EFI_INFO, EFI_MAP_ADDRESS, INFO, write_efi_map
from hw.errors import InputError
from hw.memory import PhysicalMemory
from hw.spec import BootSpec, MemoryRange
from minikern.describe import capture_memory
from minikern.describe.capture import spec_from_capture

DATA = Path(__file__).parents[1] / "data" / "captures"

E820 = [
    MemoryRange(0, 0xA0000, 1), MemoryRange(0x100000, 0x800000, 1), MemoryRange(0x800000, 0x900000, 4),
    MemoryRange(0x900000, 0x7EAA1000, 1), MemoryRange(0x7EAA1000, 0x7EB62000, 2),
]  # fmt: skip
IOMEM = """\
00001000-0009ffff : System RAM
00100000-007fffff : System RAM
00800000-008fffff : ACPI Non-volatile Storage
00900000-7d485017 : System RAM
  01600000-025fffff : Kernel code
7d485018-7d4c2057 : System RAM
7d4c2058-7d4c3017 : System RAM
7d4c3018-7d4ccc57 : System RAM
7d4ccc58-7d633fff : System RAM
7d634000-7d63cfff : Reserved
7d63d000-7eaa0fff : System RAM
7eaa1000-7eb61fff : Reserved
"""
LOG = """\
efi: mem00: [Boot Code   |   |  |WB|WT|WC|UC] range=[0x0000000000000000-0x0000000000000fff] (0MB)
efi: mem01: [Conventional|   |  |WB|WT|WC|UC] range=[0x0000000000001000-0x000000000009ffff] (0MB)
efi: mem02: [Boot Data   |   |  |WB|WT|WC|UC] range=[0x0000000000900000-0x00000000014fffff] (12MB)
efi: mem00: [Boot Data   |   |  |WB|WT|WC|UC] range=[0x0000000000100000-0x00000000001fffff] (1MB)
"""
BGRT = bytes(40) + (0x7D634018).to_bytes(8, "little") + bytes(8)


def page(signature: bytes = b"EL64", first: int = 0x7D4C3018) -> bytes:
    data = bytearray(boot_params.SIZE)
    boot_params.put(data, "setup_data", first)
    data[EFI_INFO : EFI_INFO + 4] = signature
    return bytes(data)


def filled(log: str = "", iomem: str = IOMEM, **zero_page: int) -> BootSpec:
    boot = BootSpec(boot_params=page(**zero_page))  # type: ignore[arg-type]
    capture_memory.fill_in(boot, E820, iomem, log, BGRT)
    return boot


def test_nodes_of_setup_data_and_their_order() -> None:
    nodes = [(node.address, node.type, node.data_bytes) for node in filled().setup_data]
    assert nodes == [(0x7D4C3018, 3, 0x9C40 - 16), (0x7D485018, 3, 0x3D040 - 16)]


def test_nothing_is_made_up() -> None:
    assert filled(first=0).setup_data == []
    assert filled(first=0x1234).setup_data == []
    empty = filled(iomem="")
    assert (empty.setup_data, empty.efi_images, empty.kernel_address) == ([], [], 0)


def test_boot_logo_and_place_of_the_kernel() -> None:
    boot = filled()
    assert [(item.start, item.end) for item in boot.efi_images] == [(0x7D634000, 0x7D63D000)]
    assert boot.kernel_address == 0x1600000
    other = BootSpec(boot_params=page(b"\0\0\0\0"))
    capture_memory.fill_in(other, E820, IOMEM, LOG, BGRT)
    assert (other.efi_images, other.boot_services) == ([], [])
    assert {node.type for node in other.setup_data} == {9}


def test_first_efi_map_of_the_log() -> None:
    found = [(item.start, item.end, item.type) for item in filled(LOG).boot_services]
    assert found == [(0, 0x1000, 3), (0x900000, 0x1500000, 4)]


def test_without_a_map_only_the_firmware_volume_is_known() -> None:
    assert [(item.start, item.end, item.type) for item in filled().boot_services] == [
        (0x900000, 0x1300000, 4),
        (0, 0x1000, 3),  # and what the kernel keeps of the firmware's own
        (0x7D634000, 0x7D63D000, 4),
    ]
    assert capture_memory.ovmf_volume(E820[:2]) == []


def test_what_ovmf_keeps_for_later_calls() -> None:
    """Without efi=debug, by the map alone; the kernel of this machine handed seven descriptors on."""
    ram, reserved, acpi, nvs = 1, 2, 3, 4
    rows = [
        (0x0, 0xA0000, ram), (0x100000, 0x800000, ram), (0x800000, 0x808000, nvs), (0x808000, 0x80B000, ram),
        (0x80B000, 0x80C000, nvs), (0x80C000, 0x810000, ram), (0x810000, 0x900000, nvs), (0x900000, 0x7EA8B000, ram),
        (0x7EA8B000, 0x7EB4C000, reserved), (0x7EB4C000, 0x7F4ED000, ram), (0x7F4ED000, 0x7F76D000, reserved),
        (0x7F76D000, 0x7F77F000, acpi), (0x7F77F000, 0x7F7FF000, nvs), (0x7F7FF000, 0x7FF40000, ram),
        (0x7FF40000, 0x7FF60000, reserved), (0x7FF60000, 0x80000000, nvs), (0xB0000000, 0xC0000000, reserved),
        (0x100000000, 0x1C0000000, ram),
    ]  # fmt: skip
    e820 = [MemoryRange(*row) for row in rows]
    assert [(item.start, item.end, item.type) for item in capture_memory.ovmf_runtime(e820)] == [
        (0x7EA8B000, 0x7EB4C000, 6),
        (0x7F4ED000, 0x7F5ED000, 6),
        (0x7F5ED000, 0x7F6ED000, 5),
        (0x7FF40000, 0x7FF60000, 6),
    ]
    boot = BootSpec(boot_params=page(first=0))
    iomem = "  7c7e9000-7c7f1fff : Reserved\n"
    bgrt = bytes(40) + (0x7C7E9018).to_bytes(8, "little") + bytes(8)
    capture_memory.fill_in(boot, e820, iomem, "efi: ACPI=0x7f77e000 MEMATTR=0x7c9a0018 INITRD=0x7c9a1f18 \n", bgrt)
    kept = [(item.start, item.end, item.type) for item in boot.boot_services[1:]]
    assert kept == [(0, 0x1000, 3), (0x7C9A0000, 0x7C9A1000, 4), (0x7C7E9000, 0x7C7F2000, 4)]
    assert (len(kept) + len(boot.efi_runtime), boot.efi_memattr) == (7, 0)


@given(st.text("0123456789abcdef-: SystemRKRAMved\n", max_size=200), st.text("efi: mem0[]|x-=range \n", max_size=200))
def test_any_text_is_taken(iomem: str, log: str) -> None:
    filled(log, iomem)


ranges = st.builds(
    lambda start, count, kind: MemoryRange(start << 12, start + count << 12, kind),
    st.integers(0, 1 << 30), st.integers(1, 1 << 20), st.sampled_from([3, 4]),
)  # fmt: skip


@given(st.lists(ranges, max_size=6), st.lists(ranges, max_size=3))
def test_map_reads_back(services: list[MemoryRange], mmio: list[MemoryRange]) -> None:
    memory = PhysicalMemory()
    write_efi_map(memory, 0x10000, mmio, services)
    signature, _, step, _, place, size, _, _ = INFO.unpack(memory.read(0x10000 + EFI_INFO, INFO.size))
    if not services and not mmio:
        assert signature == bytes(4)
        return
    assert (signature, step, place) == (b"EL64", DESCRIPTOR.size, EFI_MAP_ADDRESS)
    rows = [DESCRIPTOR.unpack(memory.read(place + at, step)) for at in range(0, size, step)]
    assert [(row[0], row[2], row[2] + (row[4] << 12)) for row in rows] == [
        *((11, item.start, item.end) for item in mmio), *((item.type, item.start, item.end) for item in services)
    ]  # fmt: skip


def test_map_stays_where_the_loader_had_it() -> None:
    memory = PhysicalMemory()
    memory.write(0x10000 + EFI_INFO, INFO.pack(b"EL64", 7, 48, 1, 0x5000, 96, 0, 0))
    write_efi_map(memory, 0x10000, [], [MemoryRange(0x900000, 0xA00000, 4)])
    assert INFO.unpack(memory.read(0x10000 + EFI_INFO, INFO.size)) == (b"EL64", 7, 48, 1, 0x5000, 96, 0, 0)
    assert DESCRIPTOR.unpack(memory.read(0x5000, 48))[2] == 0x900000
    assert memory.read(0x5030, 48) == bytes(48)


@pytest.mark.parametrize("line", ["tsc: Detected ", "IOAPIC[0]: apic_id ", "ACPI: FACP 0x"])
def test_numbers_of_a_folders_log_have_an_end(tmp_path: Path, line: str) -> None:
    folder = tmp_path / "machine"
    shutil.copytree(DATA / "q35-2cpu-2g", folder)
    log = (folder / "dmesg.txt").read_text()
    assert line in log
    at = log.index(line) + len(line)
    (folder / "dmesg.txt").write_text(log[:at] + "9" * 5000 + log[at:])
    try:
        assert spec_from_capture(folder).e820
    except InputError as error:
        assert "9999" not in str(error)
