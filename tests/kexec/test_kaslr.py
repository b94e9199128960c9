"""Places among which the decompressor draws when memory was handed over."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.units import GIB, MIB
from minikern.cli import main
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_preset
from minikern.kexec.kaslr import PHYSICAL_ALIGN, Places, places_of, read_words, slots_in
from minikern.kexec.load import Image, Kexec
from minikern.lab.kexec import reboot
from minikern.lab.run import Boot, boot
from tests.kexec.images import make_bzimage

VERSION = b"7.2.13-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"
ROOM = 16 * MIB


def loaded(words: str = "", scratch: str = "kho_scratch=32M,32M,64M", kho: str = "kho=on") -> tuple[Boot, Image]:
    spec = load_preset("tiny")
    adjust(spec, Adjustments(memory="1G"))
    first = boot(spec, release="kho-7.2", append=f"{kho} {scratch}")
    kernel = bytes(make_bzimage(init_size=ROOM, version=VERSION))
    line = f"{first.kernel.cmdline.text} {words}".strip()
    return first, Kexec(first.kernel).kexec_file_load(kernel, b"initrd" * 999, line)


def every_place(places: Places) -> list[int]:
    return [slots.first + at * PHYSICAL_ALIGN for slots in places.slots for at in range(slots.places)]


def test_every_place_lies_in_scratch_and_touches_nothing_that_is_needed() -> None:
    first, image = loaded()
    places = places_of(image)
    assert places is not None and places.count > 10
    needed = [image.segment(name) for name in ("initrd", "boot_params")]
    for place in every_place(places):
        inside = [area for area in first.kernel.kho.scratch if area.addr <= place and place + ROOM <= sum(area)]
        assert inside, f"{place:#x} is outside of scratch"
        assert not any(place < one.mem + one.bufsz and one.mem < place + ROOM for one in needed)
    assert f"one of {places.count} places" in places.told()
    done = reboot(first, image)
    assert done.places == places and not done.lost
    image_now = done.boot.kernel.release.image
    assert any(area.addr <= image_now.text_start < sum(area) for area in done.boot.kernel.kho.scratch)


def test_nothing_is_drawn_without_a_handover_or_with_nokaslr() -> None:
    assert places_of(loaded("nokaslr")[1]) is None
    assert places_of(loaded(kho="kho=off")[1]) is None


def test_scratch_without_a_second_place_leaves_the_kernel_where_it_is() -> None:
    """memmap= words of the next kernel's line take all of memory from the choice; five of them end it."""
    _, image = loaded("memmap=1008M$16M")
    places = places_of(image)
    assert places is not None and places.count == 0
    assert f"stays where it was put, at {image.segment('kernel').mem:#x}" in places.told()
    five = " ".join(f"memmap=4K${index}M" for index in range(1, 6))
    places = places_of(loaded(five)[1])
    assert places is not None and places.count == 0


def test_words() -> None:
    line = "mem=3G memmap=1G memmap=64K$1M,4K!2M,1M@5M,exactmap hugepages=7 hugepagesz=1G hugepages=3 -- mem=1"
    words = read_words(line)
    assert (words.limit, words.gigantic, words.too_many) == (GIB, 3, False)
    assert words.avoid == [(MIB, MIB + 65536), (2 * MIB, 2 * MIB + 4096)]


spans = st.tuples(st.integers(0, 200), st.integers(1, 60)).map(lambda one: (one[0] * MIB, (one[0] + one[1]) * MIB))


@settings(max_examples=300, deadline=None)
@given(st.lists(spans, max_size=4), st.integers(0, 100), st.integers(1, 40), st.lists(spans, max_size=4))
def test_places_against_a_search_of_all(
    areas: list[tuple[int, int]], minimum: int, size: int, avoid: list[tuple[int, int]]
) -> None:
    apart: list[tuple[int, int]] = []
    for area in sorted(areas):
        if not apart or area[0] >= apart[-1][1]:
            apart.append(area)
    found = Places(0, slots_in(apart, minimum * MIB, size * MIB, avoid))
    naive = [
        place
        for low, high in apart
        for place in range(0, 300 * MIB, PHYSICAL_ALIGN)
        if place >= max(low, minimum * MIB) and place + size * MIB <= high
        and not any(place < end and start < place + size * MIB for start, end in avoid)
    ]  # fmt: skip
    assert sorted(every_place(found)) == naive


def test_gigantic_pages_keep_their_gigabytes() -> None:
    found = slots_in([(GIB // 2, 4 * GIB)], 0, ROOM, [], gigantic=2)
    assert [slots.first for slots in found] == [GIB // 2, 3 * GIB]
    assert found[0].first + (found[0].places - 1) * PHYSICAL_ALIGN + ROOM == GIB


def test_the_command_says_what_cannot_be_told(tmp_path: Path) -> None:
    path = tmp_path / "bzImage"
    path.write_bytes(bytes(make_bzimage(init_size=ROOM, version=VERSION)))
    words = ["kexec", "tiny", "--memory", "1G", "--kernel", str(path), "--variant", "kho-7.2", "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0 and "minikern: KASLR draws one of " in done.stderr
    (row,) = json.loads(done.stdout)["kexec"]
    assert row["kaslr"]["places"] == sum(area["places"] for area in row["kaslr"]["areas"]) > 0
