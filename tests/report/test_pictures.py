"""Pictures: what they draw is the boot's state, in either look, the same bytes each time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.kexec.load import Kexec
from minikern.learn.images import tiny_image
from minikern.report.pictures.handover import moves
from minikern.report.pictures.kinds import KINDS
from minikern.report.pictures.memory import Ruler, holders, joined, ribbons
from tests.support import run

pytest.importorskip("matplotlib")
WORDS = {
    "memory": ["tiny"],
    "memory-map": ["tiny", "--append", "hugetlb_free_vmemmap=on hugepages=2"],
    "free-lists": ["tiny"],
    "bringup": ["tiny", "--cpus", "4,threads=2"],
    "acpi": ["tiny"],
    "pci": ["laptop"],
    "kexec": ["tiny"],
    "ladder": ["tiny", "--variants", "baseline,deferred"],
}


def draw(kind: str, path: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["picture", kind, *WORDS[kind], "-o", str(path), *words])


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_sound_and_repeatable(kind: str, tmp_path: Path) -> None:
    one, two, dark = (tmp_path / f"{name}.svg" for name in ("one", "two", "dark"))
    for path, words in ((one, ()), (two, ()), (dark, ("--dark",))):
        result = draw(kind, path, *words)
        assert result.exit_code == 0, result.output
    assert one.read_bytes() == two.read_bytes() != dark.read_bytes()
    root = ElementTree.fromstring(one.read_text())
    assert root.tag.endswith("svg") and len(list(root.iter())) > 60


def test_what_cannot_be_drawn_is_one_line(tmp_path: Path) -> None:
    for words, status in (
        (["nothing", "tiny", "-o", "x.svg"], 2),
        (["memory", "tiny", "-o", "x.txt"], 2),
        (["memory-map", "tiny", "-o", "x.svg"], 2),
        (["bringup", "tiny", "--cpus", "1", "-o", "x.svg"], 2),
        (["acpi", "tiny", "--append", "acpi=off", "-o", "x.svg"], 2),
        (["pci", "tiny", "--append", "pci=off", "-o", "x.svg"], 2),
    ):
        result = CliRunner().invoke(main, ["picture", *words[:-1], str(tmp_path / words[-1])])
        assert result.exit_code == status and result.stderr.count("\n") == 1, (words, result.output)


def test_ranges_keep_their_length_and_holes_do_not() -> None:
    ruler = Ruler([(0x1000, 0x2000), (0x10_0000, 0x10_8000)])
    assert ruler.place(0x2000) - ruler.place(0x1000) == 0x1000
    assert ruler.place(0x10_8000) - ruler.place(0x10_0000) == 0x8000
    assert ruler.place(0x10_0000) - ruler.place(0x2000) < 0x1000 and len(ruler.cuts) == 2
    places = [ruler.place(address) for address in range(0, 0x11_0000, 0x800)]
    assert all(a <= b for a, b in pairwise(places))


def test_holders_say_how_much_is_free_and_huge() -> None:
    k = run("tiny", append="hugepages=4").kernel
    sizes: dict[str, int] = {}
    for stretch in holders(k):
        sizes[stretch.colour] = sizes.get(stretch.colour, 0) + stretch.end - stretch.start
    assert k.page_alloc.nr_free_pages() * 4096 in sizes.values() and 4 * (2 << 20) in sizes.values()
    assert len(joined(holders(k))) < len(holders(k))
    assert sum(r.end - r.start for r in joined(holders(k))) == sum(r.end - r.start for r in holders(k))
    assert ribbons(k)[0][0].startswith("firmware")


def test_every_page_of_an_image_is_in_one_run() -> None:
    done = run("tiny")
    image = Kexec(done.kernel).kexec_file_load(tiny_image(), None, "", 0)
    pages = [
        (move.source + at, move.destination + at) for move in moves(image) for at in range(0, move.size, 4096)
    ]
    assert len({there for _, there in pages}) == len(pages) == sum(s.memsz for s in image.kimage.segments) // 4096
    assert all(image.kimage.source_of(there) == here for here, there in pages)
