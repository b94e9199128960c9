"""The console's display, from the bytes the loader left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hw import boot_params
from hw.bus import Bus
from minikern.tty.vgacon import COLOUR_VRAM, DUMMY, Display, vgacon_startup


class NoMemory:
    """Nobody answers: reads give ones, writes are lost."""

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return 0xFFFF

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        return


def display(bus: Bus | None = None, **fields: int) -> Display:
    page = bytearray(boot_params.SIZE)
    given = {"orig_video_mode": 3, "orig_video_cols": 80, "orig_video_lines": 25, "orig_video_isVGA": 1} | fields
    for name, value in given.items():
        boot_params.put(page, name, value)
    kernel = SimpleNamespace(boot_params=SimpleNamespace(page=bytes(page)), machine=SimpleNamespace(bus=bus or Bus()))
    return vgacon_startup(kernel)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Display(True, "VGA+", 80, 25)),
        ({"orig_video_cols": 132, "orig_video_lines": 43}, Display(True, "VGA+", 132, 43)),
        ({"orig_video_isVGA": 0}, Display(True, "EGA", 80, 25)),
        ({"orig_video_ega_bx": 0x10}, Display(True, "*CGA", 80, 25)),
        ({"orig_video_mode": 7}, Display(False, "EGA+", 80, 25)),
        ({"orig_video_mode": 7, "orig_video_ega_bx": 0x310}, Display(False, "*MDA", 80, 25)),
        ({"orig_video_mode": 0x12}, DUMMY),
        ({"orig_video_isVGA": 0x70}, DUMMY),
        ({"orig_video_isVGA": 0x23}, DUMMY),
        ({"orig_video_lines": 0}, DUMMY),
    ],
)
def test_display(fields: dict[str, int], expected: Display) -> None:
    assert display(**fields) == expected


def test_no_video_memory() -> None:
    bus = Bus()
    bus.map_mmio(COLOUR_VRAM, 0x8000, NoMemory())
    assert display(bus) == DUMMY


def test_video_memory_keeps_its_contents() -> None:
    bus = Bus()
    bus.write(COLOUR_VRAM, 4, 0x12345678)
    assert display(bus).description == "VGA+"
    assert bus.read(COLOUR_VRAM, 4) == 0x12345678
