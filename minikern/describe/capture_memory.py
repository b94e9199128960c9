"""What a captured machine's loader and firmware had left in memory, from the traces it left in the folder.

No file of the folder shows memory itself. The kernel's resource tree (``iomem.txt``) does show where it cut RAM up:
around nodes of setup_data, which it keeps apart from the RAM on either side, and around the boot logo, which it keeps.
A log taken with ``efi=debug`` lists the EFI memory map. Addresses in bytes, ends exclusive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hw import boot_params
from hw.efi_map import BOOT_SERVICES, RUNTIME_SERVICES
from hw.spec import BootSpec, MemoryRange, SetupData
from hw.units import PAGE_SIZE

RNG_SEED_LENGTH = 32  # Source: arch/x86/include/uapi/asm/setup_data.h @ v6.12
SETUP_PCI, SETUP_RNG_SEED = 3, 9  # option ROMs, random bytes; Source: arch/x86/include/uapi/asm/setup_data.h
SETUP_DATA_HEADER = 16
MAX_NODES = 64
RAM, RESERVED, NVS = 1, 2, 4
BGRT_BYTES, BGRT_IMAGE_ADDRESS = 56, 40  # Source: ACPI 6.5 clause 5.2.23
EFI_LOADERS = (b"EL64", b"EL32")
EFI_LOADER_SIGNATURE = 0x1C0

# OVMF unpacks its DXE firmware volume at 9 MiB, behind the areas it keeps across S3, and calls it boot-services data.
# Source: OvmfPkg/OvmfPkgX64.fdf of EDK II, [FD.MEMFD]; the volume's size has grown, never below what is said here
OVMF_RUNTIME = (0x100000, 0x100000, 0x80000)  # data, code, reserved; as EDK II's memory type information has grown to
OVMF_KEPT_END, OVMF_DXE_VOLUME = 0x900000, (0x900000, 0x1300000)

_ROW = re.compile(r"^ *([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (.+)$", re.MULTILINE)
_DESCRIPTOR = re.compile(
    r"^efi: mem(\d+): \[([^|\]]+)\|[^\]]*\] range=\[0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]", re.MULTILINE
)
_MEMATTR = re.compile(r"^efi: .*\bMEMATTR=0x([0-9a-f]{1,13})\b", re.MULTILINE)


def fill_in(boot: BootSpec, e820: Sequence[MemoryRange], iomem: str, log: str, bgrt: bytes) -> None:
    """Add to ``boot`` what the resource tree, the log and the BGRT tell about memory at hand-over."""
    rows = [(int(m[1], 16), int(m[2], 16) + 1, m[3].strip()) for m in _ROW.finditer(iomem)]
    # Where the start-up code put the kernel: it moves it at random, or out of the way of what the firmware has there.
    boot.kernel_address = next((start for start, _, name in rows if name == "Kernel code"), 0)
    efi = boot.boot_params[EFI_LOADER_SIGNATURE : EFI_LOADER_SIGNATURE + 4] in EFI_LOADERS
    # The EFI start-up code hands option ROMs over, other loaders something to seed the random numbers with.
    boot.setup_data = setup_data(boot.boot_params, e820, rows, SETUP_PCI if efi else SETUP_RNG_SEED)
    if not efi:
        return
    boot.efi_images = boot_logo(e820, rows, bgrt)
    table = _MEMATTR.search(log)
    boot.efi_memattr = int(table[1], 16) if table else 0
    boot.boot_services = efi_ranges(log, BOOT_SERVICES)
    boot.efi_runtime = efi_ranges(log, RUNTIME_SERVICES)
    if not boot.boot_services and (volume := ovmf_volume(e820)):
        boot.boot_services = volume + ovmf_kept(boot)
        boot.efi_memattr = 0  # what lies around it is not known: one page more or less would say nothing
        boot.efi_runtime = ovmf_runtime(e820)


def setup_data(
    page: bytes, e820: Sequence[MemoryRange], rows: Sequence[tuple[int, int, str]], kind: int
) -> list[SetupData]:
    """Nodes in the order of their list as far as it is known: the first by the zero page, then from the top down."""
    first = boot_params.get(page, "setup_data")
    ram = [(start, end) for start, end, name in rows if name == "System RAM"]
    pieces = [piece for piece in ram if any(start == piece[1] for start, _ in ram) or
              any(end == piece[0] for _, end in ram)]  # fmt: skip
    at = next((index for index, (start, _) in enumerate(pieces) if start == first), None)
    if not first or at is None:
        return []
    entry = next((item for item in e820 if item.type == RAM and item.start <= first < item.end), None)
    if entry is None:
        return []
    # Plain RAM and nodes take turns, so the nodes are the pieces an even number of steps from the first one.
    inside = [index for index, (start, end) in enumerate(pieces) if entry.start <= start and end <= entry.end]
    nodes = [pieces[index] for index in inside if (index - at) % 2 == 0]
    nodes.sort(key=lambda node: (node[0] != first, -node[0]))
    return [
        SetupData(start, kind, _data_bytes(kind, end - start))
        for start, end in nodes[:MAX_NODES]
        if end - start >= SETUP_DATA_HEADER and (start == first or start % PAGE_SIZE)
    ]


def _data_bytes(kind: int, reserved: int) -> int:
    # A seed is used up, and its length set to 0, before the kernel reserves the node.
    return RNG_SEED_LENGTH if kind == SETUP_RNG_SEED else reserved - SETUP_DATA_HEADER


def boot_logo(
    e820: Sequence[MemoryRange], rows: Sequence[tuple[int, int, str]], bgrt: bytes
) -> list[MemoryRange]:
    """Pages of the boot logo, if the kernel reserved them in what the firmware calls RAM."""
    if len(bgrt) < BGRT_BYTES:
        return []
    address = int.from_bytes(bgrt[BGRT_IMAGE_ADDRESS : BGRT_IMAGE_ADDRESS + 8], "little")
    page = address // PAGE_SIZE * PAGE_SIZE
    return [
        MemoryRange(start, end, 2)
        for start, end, name in rows
        if name == "Reserved" and start == page and page
        and any(item.type == RAM and item.start <= start and end <= item.end for item in e820)
    ]  # fmt: skip


def efi_ranges(log: str, kinds: dict[str, int]) -> list[MemoryRange]:
    """Ranges of these kinds in the first EFI memory map a log with ``efi=debug`` shows; empty without one."""
    found: list[MemoryRange] = []
    for expected, match in enumerate(_DESCRIPTOR.finditer(log)):
        number, kind = int(match[1]), match[2].strip()
        start, end = int(match[3], 16), int(match[4], 16) + 1
        if number != expected:
            break  # the map is shown again later, changed
        if kind in kinds and start < end:
            found.append(MemoryRange(start, end, kinds[kind]))
    return found


def ovmf_volume(e820: Sequence[MemoryRange]) -> list[MemoryRange]:
    """Where OVMF's firmware volume lies, if the map has the shape of OVMF's."""
    start, end = OVMF_DXE_VOLUME
    kept = any(item.type == NVS and item.end == OVMF_KEPT_END for item in e820)
    if kept and any(item.type == RAM and item.start <= start and end <= item.end for item in e820):
        return [MemoryRange(start, end, BOOT_SERVICES["Boot Data"])]
    return []


def ovmf_kept(boot: BootSpec) -> list[MemoryRange]:
    """Boot-services ranges of OVMF's that the kernel keeps: page 0, the memory attributes table's, the boot logo."""
    page = boot.efi_memattr // PAGE_SIZE * PAGE_SIZE
    data = BOOT_SERVICES["Boot Data"]
    kept = [MemoryRange(page, page + PAGE_SIZE, data)] if page else []
    kept += [MemoryRange(item.start, -(-item.end // PAGE_SIZE) * PAGE_SIZE, data) for item in boot.efi_images]
    return [MemoryRange(0, PAGE_SIZE, BOOT_SERVICES["Boot Code"]), *kept]


def ovmf_runtime(e820: Sequence[MemoryRange]) -> list[MemoryRange]:
    """OVMF's runtime services: what it reserves between RAM, as e820 shows it, merged where neighbours.

    It keeps room for data, code and reserved memory side by side, of fixed sizes; all else it reserves there is data.
    """
    top = max((item.end for item in e820 if item.type in (RAM, NVS) and item.end <= 1 << 32), default=0)
    code, data = RUNTIME_SERVICES["Runtime Code"], RUNTIME_SERVICES["Runtime Data"]
    found: list[MemoryRange] = []
    for item in e820:
        if item.type != RESERVED or not OVMF_KEPT_END < item.start < top:
            continue
        if item.end - item.start == sum(OVMF_RUNTIME):
            middle = item.start + OVMF_RUNTIME[0]
            found.append(MemoryRange(item.start, middle, data))
            found.append(MemoryRange(middle, middle + OVMF_RUNTIME[1], code))
        else:
            found.append(MemoryRange(item.start, item.end, data))
    return found
