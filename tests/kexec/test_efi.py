"""From kernel to kernel on an EFI machine: the map of what the firmware keeps, and the node that goes with it."""

from __future__ import annotations

import struct

import pytest

from hw import boot_params
from hw.efi_map import DESCRIPTOR, EFI_INFO, INFO
from hw.spec import MemoryRange
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.kexec import efi_state
from minikern.kexec.errors import KexecError
from minikern.kexec.load import Kexec
from minikern.kexec.setup_data import SETUP_EFI, SETUP_RNG_SEED
from minikern.kexec.zeropage import layout_for
from minikern.kho.preserve import preserve_pages
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from minikern.state.kho_abi import SETUP_KEXEC_KHO
from tests.kexec.images import make_bzimage

MIB = 1 << 20
CODE, DATA, RUNTIME_CODE, RUNTIME_DATA = 3, 4, 5, 6
RUNTIME = 1 << 63
VENDOR, TABLES = 0x5000018, 0x5000098
SYSTEM_TABLE = 0x8000018


def machine() -> Case:
    """A small machine whose firmware left a map; one of its ranges holds a table the kernel keeps."""
    spec = load_machine("tiny")
    page = bytearray(boot_params.SIZE)
    page[EFI_INFO : EFI_INFO + INFO.size] = INFO.pack(b"EL64", SYSTEM_TABLE, 48, 1, 0x40000, 48 * 6, 0, 0)
    page[efi_state.SECURE_BOOT] = 2
    spec.boot.boot_params = bytes(page)
    spec.boot.boot_services = [
        MemoryRange(80 * MIB, 81 * MIB, DATA),
        MemoryRange(81 * MIB, 82 * MIB, DATA),
        MemoryRange(84 * MIB, 85 * MIB, CODE),
    ]
    spec.boot.efi_runtime = [
        MemoryRange(82 * MIB, 83 * MIB, RUNTIME_DATA),
        MemoryRange(83 * MIB, 84 * MIB, RUNTIME_CODE),
    ]
    spec.boot.efi_images = [MemoryRange(80 * MIB + 0x3018, 80 * MIB + 0x4100, 2)]
    return spec


def kexec(first: Boot) -> Boot:
    image = Kexec(first.kernel).kexec_file_load(bytes(make_bzimage()), None, "console=ttyS0")
    return reboot(first, image, "hashlib").boot


def rows(data: bytes) -> list[tuple[int, int, int, bool]]:
    """(type, start, pages, outlives start-up) of every descriptor."""
    found = [DESCRIPTOR.unpack_from(data, at) for at in range(0, len(data), 48)]
    return [(kind, start, pages, bool(attributes & RUNTIME)) for kind, _, start, _, pages, attributes in found]


def test_only_what_outlives_start_up_goes_along_from_the_top_down() -> None:
    k = boot(machine()).kernel
    assert rows(efi_state.runtime_map(k)) == [
        (RUNTIME_CODE, 83 * MIB, 256, True),
        (RUNTIME_DATA, 82 * MIB, 256, True),
        (DATA, 80 * MIB + 0x3000, 2, True),
    ]


def test_virtual_addresses_keep_their_place_within_2_mib() -> None:
    data = efi_state.runtime_map(boot(machine()).kernel)
    found = [DESCRIPTOR.unpack_from(data, at) for at in range(0, len(data), 48)]
    below = efi_state.EFI_VA_START
    for _, _, start, virtual, pages, _ in found:
        assert virtual % (2 * MIB) == start % (2 * MIB)
        assert virtual + (pages << 12) <= below
        below = virtual


def test_the_zero_page_names_the_map_and_the_node() -> None:
    first = boot(machine())
    memory = first.kernel.machine.bus.memory
    memory.write_int(SYSTEM_TABLE + 24, 8, VENDOR)
    memory.write_int(SYSTEM_TABLE + 112, 8, TABLES)
    handed = efi_state.runtime_map(first.kernel)
    places = layout_for(first.kernel, len("console=ttyS0") + 1)
    assert places.efi_node - places.efi_map == len(handed) == 3 * 48
    second = kexec(first).kernel
    params = second.boot_params
    signature, table, step, version, low, size, _, high = INFO.unpack_from(params.page, EFI_INFO)
    assert (signature, table, step, version, size) == (b"EL64", SYSTEM_TABLE, 48, 1, len(handed))
    assert memory.read(low | high << 32, size) == handed
    assert params.page[efi_state.SECURE_BOOT] == 2
    assert params.acpi_rsdp
    assert [kind for _, kind, _ in params.setup_data] == [SETUP_RNG_SEED, SETUP_EFI]
    node = params.setup_data[1][0]
    assert params.setup_data[1][2] == 96
    assert struct.unpack_from("<QQQ", memory.read(node + 16, 24)) == (VENDOR, 0, TABLES)
    assert any(line.text.startswith("ACPI: RSDP 0x") for line in second.log.lines)


def test_a_chain_hands_the_same_map_on_and_loses_no_memory() -> None:
    running, maps, free = boot(machine()), [], []
    for _ in range(3):
        running = kexec(running)
        maps.append(efi_state.runtime_map(running.kernel))
        free.append(running.kernel.page_alloc.nr_free_pages())
        assert [kind for _, kind, _ in running.kernel.boot_params.setup_data] == [SETUP_RNG_SEED, SETUP_EFI]
    assert maps[0] == maps[1] == maps[2] != b""
    assert max(free) - min(free) <= 1  # the zero page shares its pages with what lies beside it


def test_debugging_keeps_the_whole_map() -> None:
    k = boot(machine(), append="efi=debug").kernel
    kinds = [kind for kind, *_ in rows(efi_state.runtime_map(k))]
    assert kinds == [CODE, RUNTIME_CODE, RUNTIME_DATA, DATA, DATA, DATA]


def test_without_runtime_services_nothing_goes_along() -> None:
    for words in ("noefi", "efi=noruntime"):
        first = boot(machine(), append=words)
        assert efi_state.runtime_map(first.kernel) == b""
        params = kexec(first).kernel.boot_params
        assert params.efi_loader == bytes(4)
        assert SETUP_EFI not in [kind for _, kind, _ in params.setup_data]


def test_a_table_the_kernel_keeps_whole() -> None:
    spec = machine()
    spec.boot.efi_memattr = 84 * MIB + 0x18
    assert (CODE, 84 * MIB, 256, True) in rows(efi_state.runtime_map(boot(spec).kernel))


def test_the_tools_list_hands_no_efi_tables_on() -> None:
    with pytest.raises(KexecError, match="without EFI"):
        Kexec(boot(machine()).kernel).kexec_tools_load(bytes(make_bzimage()))


def test_kexec_handover_carries_the_map_along_and_keeps_off_the_firmware() -> None:
    """The map lies in scratch with all else; what the firmware gave back can be kept, and is found again."""
    first = boot(machine(), release="kho-7.2", append="kho=on liveupdate=on")
    k = first.kernel
    runtime = [(83 * MIB, 84 * MIB), (82 * MIB, 83 * MIB), (80 * MIB + 0x3000, 80 * MIB + 0x5000)]
    for area in k.kho.scratch:
        assert not any(area.addr < end and start < area.addr + area.size for start, end in runtime)
    given_back = (84 * MIB) >> 12
    preserve_pages(k, given_back, 16)
    before = efi_state.runtime_map(k)
    kernel = bytes(make_bzimage(init_size=0x1000000, version=b"7.2.13-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"))
    image = Kexec(k).kexec_file_load(kernel, b"initrd", k.cmdline.text)
    areas = [(area.addr, area.addr + area.size) for area in k.kho.scratch]
    for segment in image.kimage.segments:
        assert any(low <= segment.mem and segment.end <= high for low, high in areas), segment.name
    second = reboot(first, image, "hashlib")
    new = second.boot.kernel
    assert not second.lost and new.kho.incoming is not None
    assert [kind for _, kind, _ in new.boot_params.setup_data] == [SETUP_RNG_SEED, SETUP_KEXEC_KHO, SETUP_EFI]
    _, _, _, _, low, size, _, high = INFO.unpack_from(new.boot_params.page, EFI_INFO)
    place = low | high << 32
    assert any(start <= place and place + size <= end for start, end in areas)
    assert efi_state.runtime_map(new) == before
    assert any(blocks.phys == given_back << 12 for blocks in new.kho.incoming.found)
    taken = [(region.base, region.end) for region in new.memblock.reserved_regions()]
    assert any(start <= runtime[2][0] and runtime[2][1] <= end for start, end in taken), "a table the kernel keeps"
