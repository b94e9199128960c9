"""What a captured machine's kernel was handed by the one before it through Kexec HandOver.

``kho/in`` and ``kho/out`` are debugfs's files, ``raw/sys/kernel/boot_params/setup_data`` sysfs's; ``kho-ram``, in the
folder or beside it, holds pages read out of the machine's memory.
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path

from hw import boot_params
from hw.errors import InputError
from hw.files import read_input, read_text_input
from hw.spec import BootSpec, LeftBytes, SetupData
from minikern.state.kho_abi import KHO_DATA, LUO, PAGE_SIZE, SCRATCH, SETUP_KEXEC_KHO

SETUP_DATA_HEADER = 16
SETUP_RNG_SEED, RNG_SEED_LENGTH = 9, 32  # used up and its length cleared before sysfs shows the node
SYSFS = "raw/sys/kernel/boot_params/setup_data"
MAX_NODES = 64
_RADIX_ROW = re.compile(r"^0x([0-9a-f]{1,16}) \d$", re.MULTILINE)
_BLOB_ROW = re.compile(r"^blob (\S+) at 0x([0-9a-f]{1,16}), \d+ bytes$", re.MULTILINE)
_FILE_ADDRESS = re.compile(r"-([0-9a-f]{4,16})\.bin$")


def fill_in(boot: BootSpec, folder: Path) -> None:
    """Add to ``boot`` the setup_data nodes sysfs shows, and what lies in memory because of them."""
    nodes = _setup_data(folder, boot_params.get(boot.boot_params, "setup_data"))
    if not any(node.type == SETUP_KEXEC_KHO for node in nodes):
        return
    boot.setup_data = nodes
    data = next(node.data for node in nodes if node.type == SETUP_KEXEC_KHO)
    fdt, _, scratch, _ = KHO_DATA.unpack(data.ljust(KHO_DATA.size, b"\0")[: KHO_DATA.size])
    boot.handed_over = [LeftBytes(scratch, _scratch_array(folder)), *_memory(folder, fdt)]


def _setup_data(folder: Path, first: int) -> list[SetupData]:
    # kexec_file_load lays the nodes side by side and puts each in front of the list, so the list goes downwards.
    nodes: list[SetupData] = []
    address = first
    for index in range(MAX_NODES):
        place = folder / SYSFS / str(index)
        if not address or not (place / "type").is_file():
            break
        kind = int(read_text_input(place / "type").strip(), 0)
        data = read_input(place / "data") if (place / "data").is_file() else b""
        size = RNG_SEED_LENGTH if kind == SETUP_RNG_SEED else len(data)
        if nodes:
            address -= SETUP_DATA_HEADER + size
        nodes.append(SetupData(address, kind, size, data))
    return nodes


def _scratch_array(folder: Path) -> bytes:
    columns = [read_text_input(folder / "kho/out" / name).split() for name in ("scratch_phys", "scratch_len")]
    try:
        return b"".join(SCRATCH.pack(int(phys, 16), int(size, 16)) for phys, size in zip(*columns, strict=True))
    except ValueError as error:
        where = folder / "kho/out"
        raise InputError(f"{where}: scratch_phys and scratch_len: expected as many numbers each") from error


def _memory(folder: Path, fdt: int) -> list[LeftBytes]:
    ram = next((place for place in (folder / "kho-ram", folder.parent / "kho-ram") if place.is_dir()), None)
    root = folder / "kho/in/fdt"
    found = [LeftBytes(fdt, read_input(root))] if root.is_file() else []
    if ram is None:
        return found
    if (ram / "fdt.bin").is_file():
        found = [LeftBytes(fdt, read_input(ram / "fdt.bin"))]
    return found + _radix_pages(ram) + _blobs(ram)


def _radix_pages(ram: Path) -> list[LeftBytes]:
    addresses = [int(row, 16) for row in _RADIX_ROW.findall(read_text_input(ram / "radix-pages.txt"))]
    packed = read_input(ram / "radix-pages.bin.xz")
    pages = lzma.LZMADecompressor().decompress(packed, PAGE_SIZE * len(addresses) + 1)
    if len(pages) != PAGE_SIZE * len(addresses):
        raise InputError(f"{ram / 'radix-pages.bin.xz'}: {len(pages)} bytes: expected {len(addresses)} pages")
    return [LeftBytes(at, pages[PAGE_SIZE * i : PAGE_SIZE * (i + 1)]) for i, at in enumerate(addresses)]


def _blobs(ram: Path) -> list[LeftBytes]:
    # Blobs by name, with their addresses in the summary; other structures carry the address in their name.
    found = []
    for name, address in _BLOB_ROW.findall(read_text_input(ram / "kho.txt")):
        if (ram / f"blob-{name}.bin").is_file():
            found.append(LeftBytes(int(address, 16), read_input(ram / f"blob-{name}.bin")))
    luo = ram / "blob-LUO.bin"
    if luo.is_file() and (ram / "luo-flb.bin").is_file() and len(data := read_input(luo)) >= LUO.size:
        found.append(LeftBytes(LUO.unpack(data[: LUO.size])[3], read_input(ram / "luo-flb.bin")))
    named = ((path, _FILE_ADDRESS.search(path.name)) for path in sorted(ram.glob("*.bin")))
    return found + [LeftBytes(int(match[1], 16), read_input(path)) for path, match in named if match]
