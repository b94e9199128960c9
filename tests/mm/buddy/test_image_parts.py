"""What the kernel image gives back: where its parts lie, figure by figure, and every line about them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from minikern.core.cmdline import CommandLine
from minikern.describe.presets import load_preset
from minikern.lab.run import boot
from minikern.mm.buddy import free_reserved
from minikern.state.memblock import Memblock

MIB, PAGE = 1 << 20, 4096
SIZES = {"text_start": 0x1000000, "code_kib": 1000, "text_rodata_gap_kib": 1044, "rodata_kib": 2000,
         "rodata_data_gap_kib": 48, "init_kib": 512, "smp_locks_kib": 8, "bss_kib": 1024, "brk_start": 0x1C00000,
         "decrypted_kib": 64, "write_protect_kib": 6144}  # fmt: skip


def kernel(append: str = "", cpus: tuple[int, int] = (2, 2), most: int = 8, named: bool = True, **sizes: int) -> Any:
    """An image at 16 MiB in 64 MiB of memory whose pages are given back to whoever asks."""
    k: Any = SimpleNamespace(lines=[], freed=[], cmdline=CommandLine(append), memblock=Memblock())
    k.memblock.add(PAGE, 64 * MIB - PAGE)
    k.release = SimpleNamespace(image=SimpleNamespace(**(SIZES | sizes)))
    k.behaviour = SimpleNamespace(freed_image_parts=named, lowmem_reserve_follows=False)
    k.cpus = SimpleNamespace(present=range(cpus[0]), possible=range(cpus[1]), setup_max_cpus=most)
    k.boot_params = SimpleNamespace(ramdisk=(0, 0))
    k.printk = lambda text, level=6: k.lines.append(text)

    def free_reserved_range(low: int, high: int) -> int:
        if low < high:
            k.freed.append((low, high))
        return max(0, high - low)

    k.page_alloc = SimpleNamespace(free_reserved_range=free_reserved_range)
    return k


def test_where_the_parts_lie() -> None:
    assert free_reserved.image_layout(kernel())._asdict() == {
        "text_rodata_gap": (0x10FB000, 0x1200000),  # the page of the last byte of code is code
        "rodata_data_gap": (0x13F4000, 0x1400000),
        "init": (0x1A7D000, 0x1AFD000),
        "smp_locks": (0x1AFD000, 0x1AFF000),  # one page that is not saved lies between them and bss
        "decrypted": (0x1BF0000, 0x1C00000),
    }


def test_where_there_is_no_gap_rodata_follows_the_code() -> None:
    layout = free_reserved.image_layout(kernel(text_rodata_gap_kib=0))
    assert layout.text_rodata_gap == (0x10FA000, 0x10FA000)
    assert layout.rodata_data_gap == (0x12EE000, 0x12FA000)


def test_decrypted_memory_lies_in_bss() -> None:
    assert free_reserved.image_layout(kernel(decrypted_kib=2000)).decrypted == (0x1B00000, 0x1C00000)


def test_sizes_that_do_not_fit_are_cut_at_the_part_before() -> None:
    layout = free_reserved.image_layout(kernel(init_kib=9000, rodata_kib=20000, rodata_data_gap_kib=0))
    assert layout.rodata_data_gap == (0x1C00000, 0x1C00000)
    assert layout.init == layout.smp_locks == layout.decrypted == (0x1C00000, 0x1C00000)
    layout = free_reserved.image_layout(kernel(init_kib=9000))
    assert layout.init == (0x1400000, 0x1AFD000)


@pytest.mark.parametrize("named", [True, False])
def test_lines_of_the_parts(named: bool) -> None:
    k = kernel(named=named)
    free_reserved.free_initmem(k)
    initmem, text, rodata = (f" ({name})" * named for name in ("initmem", "text/rodata gap", "rodata/data gap"))
    assert k.lines == [
        "Freeing unused decrypted memory: 64K",
        f"Freeing unused kernel image{initmem} memory: 512K",
        "Write protecting the kernel read-only data: 6144k",
        f"Freeing unused kernel image{text} memory: 1044K",
        f"Freeing unused kernel image{rodata} memory: 48K",
    ]
    assert k.freed == [(0x1BF0, 0x1C00), (0x1A7D, 0x1AFD), (0x10FB, 0x1200), (0x13F4, 0x1400)]


@pytest.mark.parametrize(
    ("append", "cpus", "most", "freed"),
    [
        ("", (2, 2), 8, True),
        ("", (1, 1), 8, True),
        ("", (1, 2), 8, False),  # one more may be plugged in
        ("", (2, 2), 2, True),
        ("", (2, 2), 1, False),
        ("", (2, 2), 0, False),
        ("", (1, 1), 0, True),
        ("noreplace-smp", (2, 2), 1, True),
        ("noreplace-smp", (1, 2), 8, True),
    ],
)
def test_lock_prefixes_stay_while_a_cpu_may_come(append: str, cpus: tuple[int, int], most: int, freed: bool) -> None:
    k = kernel(append, cpus, most)
    free_reserved.free_smp_locks(k)
    assert k.lines == ["Freeing SMP alternatives memory: 8K"] * freed
    assert k.freed == [(0x1AFD, 0x1AFF)] * freed


@pytest.mark.parametrize(
    ("start", "size", "pages"), [(0x2000000, 8192, 2), (0x2000000, 8193, 3), (0x2000010, 8192, 2), (0x2000000, 0, 0)]
)
def test_an_initrd_is_freed_up_to_its_last_page(start: int, size: int, pages: int) -> None:
    k = kernel()
    k.boot_params.ramdisk = (start, size)
    free_reserved.free_initrd_mem(k)
    assert k.lines == [f"Freeing initrd memory: {pages * 4}K"] * bool(pages)


def test_what_has_no_name_has_no_line() -> None:
    k = kernel()
    assert free_reserved.free_reserved_area(k, 0x2000000, 0x2003000, "") == 3
    assert free_reserved.free_reserved_area(k, 63 * MIB, 66 * MIB, "the end") == 256
    assert free_reserved.free_reserved_area(k, 64 * MIB, 66 * MIB, "nothing") == 0
    assert k.lines == ["Freeing the end memory: 1024K"]


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12", "linux-5.10", "kho-7.2"])
def test_a_boot_gives_all_parts_back(release: str) -> None:
    k = boot(load_preset("tiny"), release=release).kernel
    image = k.release.image
    parts = {"SMP alternatives": image.smp_locks_kib, "unused decrypted": image.decrypted_kib,
             "unused kernel image (initmem)": image.init_kib,
             "unused kernel image (text/rodata gap)": image.text_rodata_gap_kib,
             "unused kernel image (rodata/data gap)": image.rodata_data_gap_kib}  # fmt: skip
    lines = [line.text for line in k.log.lines if line.text.startswith("Freeing ")]
    assert lines == [f"Freeing {name} memory: {kib}K" for name, kib in parts.items() if kib]
