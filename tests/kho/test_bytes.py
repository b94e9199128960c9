"""What real kernels handed over, byte for byte: written here from the same figures, it is the same."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import pytest

from hw.memory import PhysicalMemory
from minikern.kho.outgoing import root_tree
from minikern.kho.preserve import CHUNK_ADDRESSES
from minikern.kho.radix import RadixTree
from minikern.state import kho_abi as abi
from minikern.state.fdt import Tree, add_subnode, u64
from tests.support import CAPTURES

PAGE = 4096
RAM = sorted(CAPTURES.glob("**/kho-ram")) if CAPTURES.is_dir() else []

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not RAM, reason="no captures with Kexec HandOver beside the checkout"),
    pytest.mark.parametrize("ram", RAM, ids=lambda path: path.parent.name),
]


def blobs(ram: Path) -> dict[str, tuple[int, int]]:
    rows = re.findall(r"^blob (\S+) at 0x(\w+), (\d+) bytes$", (ram / "kho.txt").read_text(), re.MULTILINE)
    return {name: (int(phys, 16), int(size)) for name, phys, size in rows}


def test_the_root_tree_down_to_what_lies_behind_it(ram: Path) -> None:
    real = (ram / "fdt.bin").read_bytes()
    tree = Tree(real)
    map_phys = tree.getprop_u64(0, abi.MEMORY_MAP_PROP)
    assert map_phys is not None
    page = root_tree("kho-v4", map_phys)
    found = blobs(ram)
    for name in (abi.METADATA_NODE, abi.LUO_NODE, abi.MEMBLOCK_NODE):  # in the order of their initcalls
        if name in found:
            phys, size = found[name]
            add_subnode(page, name, [u64(abi.SUB_TREE_PROP, phys), u64(abi.SUB_TREE_SIZE_PROP, size)])
    assert bytes(page) == real


def test_the_pages_of_the_memory_map(ram: Path) -> None:
    rows = re.findall(r"^0x(\w+) (\d)$", (ram / "radix-pages.txt").read_text(), re.MULTILINE)
    addresses = [int(address, 16) for address, _ in rows]
    real = lzma.decompress((ram / "radix-pages.bin.xz").read_bytes())
    blocks = lzma.decompress((ram / "preserved-blocks.txt.xz").read_bytes()).decode()
    memory, places = PhysicalMemory(), iter(addresses[1:])
    # Walked in ascending order, a tree asks for its pages in the order of the walk.
    tree = RadixTree(memory, addresses[0], lambda: next(places))
    for line in blocks.splitlines():
        if not line.startswith("#"):
            _, phys, order = line.split()
            tree.add(int(phys, 16), int(order))
    assert [memory.read(address, PAGE) for address in addresses] == [
        real[PAGE * i : PAGE * (i + 1)] for i in range(len(addresses))
    ]


def test_who_handed_over(ram: Path) -> None:
    real = (ram / "blob-kexec-metadata.bin").read_bytes()
    version, release, count = abi.METADATA.unpack(real)
    assert abi.METADATA.pack(version, release.rstrip(b"\0"), count) == real
    assert (version, count) == (abi.METADATA_VERSION, 1)
    assert re.fullmatch(rb"7\.\d+\.\d+-kho\0+", release)


def test_sessions_files_and_folios(ram: Path) -> None:
    if not (ram / "blob-LUO.bin").is_file():
        pytest.skip("no live update was prepared")
    compatible, _, sessions, flbs = abi.LUO.unpack((ram / "blob-LUO.bin").read_bytes())
    assert compatible.rstrip(b"\0") == abi.LUO_COMPATIBLE.encode()
    assert (ram / "luo-flb.bin").is_file() == bool(flbs)
    page = (ram / f"luo-session-block-{sessions:x}.bin").read_bytes()
    assert abi.SERIALIZED_HEAD.unpack_from(page) == (0, 1)
    name, files, count = abi.SESSION.unpack_from(page, abi.SERIALIZED_HEAD.size)
    assert (name.rstrip(b"\0"), count) == (b"vm0", 1)
    page = (ram / f"luo-file-block-{files:x}.bin").read_bytes()
    kind, data, token = abi.FILE.unpack_from(page, abi.SERIALIZED_HEAD.size)
    assert (kind.rstrip(b"\0"), token) == (abi.MEMFD_COMPATIBLE.encode(), 7)
    memfd = (ram / f"memfd-{data:x}.bin").read_bytes()
    _, size, seals, _, folios = abi.MEMFD.unpack_from(memfd)
    _, pages, flags, order = abi.VMALLOC.unpack_from(memfd, abi.MEMFD.size)
    assert (size, seals, folios) == (64 << 20, 1, 16384)
    assert (pages, flags, order) == (folios * abi.FOLIO.size // PAGE, abi.VMALLOC_ALLOC, 0)
    assert pages <= CHUNK_ADDRESSES
