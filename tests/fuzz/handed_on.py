"""What one program, kernel or owner hands another: archives, kernels, what KHO keeps, plans of sweeps; all damaged."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import tomli_w
from hypothesis import strategies as st

from hw.bus import Bus
from hw.errors import InputError
from hw.microcode_update import early_cpio, intel_update
from hw.toml_file import decode_toml
from minikern.core.release import load_release
from minikern.kexec.vmlinux import Vmlinux
from minikern.lab.sweep.plan import Plan, grid
from minikern.smp.microcode_cpio import find_cpio_data
from minikern.smp.microcode_intel import parse_updates
from tests.fuzz import mutations
from tests.kexec.images import make_vmlinux
from tests.kho.test_flips import REFUSALS, outcome, written_down
from tests.kho.test_handover import PAGE

ARCHIVE_AT = 0x100_0000
MICROCODE = "kernel/x86/microcode/GenuineIntel.bin"


# the archive before the initrd


@cache
def archive() -> bytes:
    """Three files, padding between them, and the beginning of something packed."""
    update = intel_update(0x606A6, 1, 0x2B, "2023-11-21")
    files = early_cpio("kernel/x86", b"") + early_cpio(MICROCODE, update) + bytes(512) + early_cpio("init", b"#!")
    return files + b"\x1f\x8b\x08" + bytes(64)


def read_archive(place: Path, data: bytes) -> None:
    bus = Bus()
    bus.memory.write(ARCHIVE_AT, data)
    kernel: Any = SimpleNamespace(machine=SimpleNamespace(bus=bus))
    found = find_cpio_data(kernel, MICROCODE, ARCHIVE_AT, len(data))
    if found is None:
        raise InputError("no such file in the archive")
    assert found.address >= ARCHIVE_AT and found.address + found.size <= ARCHIVE_AT + len(data)
    parse_updates(bus.read_bytes(found.address, found.size))


# an unpacked kernel

PARTS = {".text": (0, 0x5000), ".rodata": (0x6000, 0x1000), ".init.text": (0x8000, 0x900), ".bss": (0x9000, 0x2000)}


@cache
def _elf() -> tuple[bytes, bytes, bytes]:
    whole = make_vmlinux(config="CONFIG_HZ=100\nCONFIG_NR_CPUS=31\n", parts=PARTS)
    return whole[:0x1000], whole[0x1000:-0x3000], whole[-0x3000:]


@st.composite
def kernels(draw: st.DrawFn) -> bytes:
    """An ELF file with damage where its headers and its section table are."""
    head, body, tail = _elf()
    return draw(mutations.damaged(head[:0x80])).ljust(0x1000, b"\0") + body + draw(mutations.damaged(tail))


def read_kernel(place: Path, data: bytes) -> None:
    kernel = Vmlinux(data)
    assert len(kernel.banner) < 2000
    list(kernel.config)
    kernel.image_sizes(load_release("debian-6.12").image)


# Kexec HandOver


@cache
def _handed() -> tuple[Any, tuple[tuple[int, int], ...]]:
    """A kernel that has written everything down, and the places [start, end) of what a successor reads."""
    done = written_down()
    return done.kernel, tuple((start, start + size) for start, size in [*done.parts, *((at, PAGE) for at in done.tree)])


@st.composite
def handovers(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """What to write where, in one or two of the tree, the list of areas, the map's pages, the sessions, the files."""
    memory = _handed()[0].machine.bus.memory
    written = []
    for start, end in draw(st.lists(st.sampled_from(_handed()[1]), min_size=1, max_size=2)):
        data = bytes(memory.read(start, end - start))
        written.append((start, draw(mutations.damaged(data))[: end - start].ljust(end - start, b"\0")))
    return written


@cache
def _usual() -> frozenset[str]:
    return frozenset(outcome(_handed()[0])[1])


def take_over(place: Path, written: list[tuple[int, bytes]]) -> None:
    k, usual = _handed()[0], _usual()
    memory = k.machine.bus.memory
    before = [(start, bytes(memory.read(start, len(data)))) for start, data in written]
    try:
        for start, data in written:
            memory.write(start, data)
        _, said, file = outcome(k)
    finally:
        for start, data in reversed(before):
            memory.write(start, data)
    if file is None or any(line.startswith(REFUSALS) for line in said if line not in usual):
        raise InputError(said[-1] if said else "nothing was found")


# sweeps

PLAN: dict[str, Any] = {
    "machines": ["tiny", "laptop"], "variants": ["as-is", "deferred"], "kernels": ["debian-6.12"],
    "words": ["", "nosmp"], "vary": {"memory": ["256M", "1G"], "costs.struct_page_init": "1..100:lin:5"},
    "draws": 3, "seed": 1, "metrics": ["total"],
}  # fmt: skip
RANGES = ("1..5:lin:3", "1..0:lin:4", "0..1e308:log:9", "..", "1..999:log:1000000", "*", "/proc/*", "~", "/dev/zero")


@st.composite
def plans(draw: st.DrawFn) -> bytes:
    """A sweep's plan with fields set to what they should not be; at times damaged as text."""
    tree = copy.deepcopy(PLAN)
    values = st.one_of(
        st.sampled_from(mutations.WORDS), st.sampled_from(mutations.SIZES), mutations.edge_numbers(),
        st.sampled_from(RANGES),
        st.sampled_from(mutations.REALS),
    )  # fmt: skip
    for _ in range(draw(st.integers(1, 3))):
        name, value = draw(st.sampled_from(sorted(tree))), draw(values)
        if isinstance(tree[name], list):
            tree[name] = draw(st.sampled_from(([value], [*tree[name], value], value)))
        elif isinstance(tree[name], dict):
            key = draw(st.sampled_from((*tree[name], "cpus", "nodes", "x", "costs.struct_page_free", "costs.")))
            tree[name][key] = draw(st.sampled_from((value, [value], [value, value])))
        else:
            tree[name] = value
    data = tomli_w.dumps(tree).encode("utf-8", "replace")
    return draw(mutations.damaged(data)) if not draw(st.integers(0, 5)) else data


def read_plan(place: Path, data: bytes) -> None:
    table = grid(decode_toml(data, Plan, "plan.toml"), place)
    for row in {0, len(table) // 2, len(table) - 1}:
        msgspec.json.encode(table.point(row))
    assert table.digest()
