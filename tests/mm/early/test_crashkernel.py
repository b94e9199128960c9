"""crashkernel=: the parameter's forms, the place, the lines of both wordings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikern.core.cmdline import CommandLine
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_preset
from minikern.lab.run import boot as run
from minikern.mm.early.crashkernel import reserve_crashkernel
from minikern.mm.early.swiotlb import parse_swiotlb
from minikern.state.memblock import Memblock
from minikern.state.swiotlb import Swiotlb
from minikern.state.totals import CrashKernel
from tests.support import behaviour_of

MIB, GIB = 1 << 20, 1 << 30


def kernel(append: str, wording: str = "reserved", low: int = 2 * GIB, high: int = 6 * GIB) -> Any:
    memblock = Memblock()
    memblock.add(0x1000, 0x9E000)
    memblock.add(MIB, low - MIB)
    if high:
        memblock.add(4 * GIB, high)
    memblock.reserve(0, MIB)
    lines: list[str] = []
    k = SimpleNamespace(
        memblock=memblock,
        cmdline=CommandLine(append),
        behaviour=behaviour_of("debian-6.12" if wording == "reserved" else "debian-6.1"),
        lines=lines,
        printk=lambda text, level=6: lines.append(text),
        swiotlb=Swiotlb(),
        crashk=CrashKernel(),
    )
    for value in k.cmdline.getall("swiotlb"):
        parse_swiotlb(k, value)  # type: ignore[arg-type]
    return k


@pytest.mark.parametrize(
    ("append", "lines"),
    [
        ("crashkernel=256M", ["crashkernel reserved: 0x0000000070000000 - 0x0000000080000000 (256 MB)"]),
        ("crashkernel=128M@16M", ["crashkernel reserved: 0x0000000001000000 - 0x0000000009000000 (128 MB)"]),
        ("crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M", [
            "crashkernel reserved: 0x0000000070000000 - 0x0000000080000000 (256 MB)"]),
        ("crashkernel=64G-:512M", ["crashkernel size resulted in zero bytes"]),
        ("crashkernel=512M,high", [
            "crashkernel low memory reserved: 0x70000000 - 0x80000000 (256 MB)",
            "crashkernel reserved: 0x0000000260000000 - 0x0000000280000000 (512 MB)"]),
        ("crashkernel=512M,high crashkernel=0,low", [
            "crashkernel reserved: 0x0000000260000000 - 0x0000000280000000 (512 MB)"]),
        ("crashkernel=3G", [
            "crashkernel low memory reserved: 0x70000000 - 0x80000000 (256 MB)",
            "crashkernel reserved: 0x00000001c0000000 - 0x0000000280000000 (3072 MB)"]),
        ("crashkernel=1G,high swiotlb=131072", [
            "crashkernel low memory reserved: 0x6f000000 - 0x7f800000 (264 MB)",
            "crashkernel reserved: 0x0000000240000000 - 0x0000000280000000 (1024 MB)"]),
        ("crashkernel=1T", []),
        ("crashkernel=7G", ["cannot allocate crashkernel (size:0x1c0000000)"]),
        ("crashkernel=64M@3G", ["crashkernel reservation failed - memory is in use."]),
        ("crashkernel=auto", ["crashkernel: memory value expected"]),
        ("crashkernel=64M;", ["crashkernel: unrecognized char: ;"]),
        ("crashkernel=2G-1G:64M", ["crashkernel: end <= start"]),
        ("crashkernel=1G:64M", ["crashkernel: '-' expected"]),
        ("crashkernel=1G-:64G", ["crashkernel: invalid size"]),
        ("quiet", []),
    ],
)  # fmt: skip
def test_lines_since_6_7(append: str, lines: list[str]) -> None:
    k = kernel(append)
    reserve_crashkernel(k)
    assert k.lines == lines
    k.memblock.check()


@pytest.mark.parametrize(
    ("append", "lines"),
    [
        ("crashkernel=256M", ["Reserving 256MB of memory at 1792MB for crashkernel (System RAM: 8191MB)"]),
        ("crashkernel=512M,high", [
            "Reserving 256MB of low memory at 1792MB for crashkernel (low RAM limit: 4096MB)",
            "Reserving 512MB of memory at 9728MB for crashkernel (System RAM: 8191MB)"]),
        ("crashkernel=64M@64M", ["Reserving 64MB of memory at 64MB for crashkernel (System RAM: 8191MB)"]),
        ("crashkernel=64M@3G", ["crashkernel reservation failed - memory is in use."]),
        ("crashkernel=1T", ["crashkernel reservation failed - No suitable area found."]),
        ("crashkernel=1G,high crashkernel=4G,low", [
            "Cannot reserve 4096MB crashkernel low memory, please try smaller size."]),
    ],
)  # fmt: skip
def test_lines_before(append: str, lines: list[str]) -> None:
    k = kernel(append, "reserving")
    reserve_crashkernel(k)
    assert k.lines == lines
    k.memblock.check()


@given(
    st.text("0123456789MGK@:-,highlow", max_size=24),
    st.sampled_from(["reserved", "reserving"]),
    st.integers(0, 64).map(lambda count: count * GIB),
)
def test_any_text_leaves_memblock_sound(text: str, wording: str, high: int) -> None:
    k = kernel(f"crashkernel={text}", wording, high=high)
    before = k.memblock.reserved.total()
    reserve_crashkernel(k)
    k.memblock.check()
    success = any(line.startswith(("Reserving", "crashkernel reserved")) for line in k.lines)
    assert success == (k.memblock.reserved.total() > before)
    for region in k.memblock.reserved_regions():
        assert region.base % MIB == 0 or region.base < MIB


@pytest.mark.parametrize(
    ("release", "reserved"),
    [
        *((release, False) for release in ("linux-5.4", "linux-5.8", "linux-5.10", "linux-5.19")),
        *((release, True) for release in ("debian-6.1", "linux-6.4", "lpc2023")),
    ],
)
def test_memory_is_rounded_up_since_6_0(release: str, reserved: bool) -> None:
    """4094 MiB are no 4 GiB to a kernel that compares what it was given."""
    spec = load_preset("tiny")
    adjust(spec, Adjustments(memory="4G"))
    lines = [line.text for line in run(spec, None, release, "crashkernel=4G-64G:256M").kernel.log.lines]
    assert any(line.startswith("Reserving 256MB of memory") for line in lines) == reserved
    assert ("crashkernel size resulted in zero bytes" in lines) != reserved
