"""Which display the console starts on, by what the loader left in the zero page and whether there is video memory.

Source: drivers/video/console/vgacon.c:vgacon_startup() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hw import boot_params

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

VIDEO_TYPE_VLFB, VIDEO_TYPE_EFI = 0x23, 0x70  # Source: include/uapi/linux/screen_info.h @ v6.12
MONOCHROME_TEXT = 7
GRAPHICS_MODES = frozenset({0x0D, 0x0E, 0x10, 0x12, 0x6A})  # of 16 colours, which the text console cannot use
NO_EGA = 0x10  # what BIOS function 12h leaves in BL when there is no EGA or better
MONO_VRAM, COLOUR_VRAM = 0xB0000, 0xB8000
TEST_WORDS = ((0xAA55, 0x55AA), (0x55AA, 0xAA55))


class Display(NamedTuple):
    """What the console's first line says of it."""

    colour: bool
    description: str
    columns: int
    lines: int


DUMMY = Display(True, "dummy device", 80, 25)


def vgacon_startup(k: Kernel) -> Display:
    """The display of the text console; the dummy one where firmware set up a frame buffer or nothing."""
    info = {name: boot_params.get(k.boot_params.page, name) for name in boot_params.SCREEN_INFO}
    mode, columns, lines = info["orig_video_mode"], info["orig_video_cols"], info["orig_video_lines"]
    if info["orig_video_isVGA"] in (VIDEO_TYPE_VLFB, VIDEO_TYPE_EFI) or not lines or not columns:
        return DUMMY
    colour, no_ega = mode != MONOCHROME_TEXT, info["orig_video_ega_bx"] & 0xFF == NO_EGA
    if mode in GRAPHICS_MODES or not _has_vram(k, COLOUR_VRAM if colour else MONO_VRAM):
        return DUMMY
    if not colour:
        return Display(False, "*MDA" if no_ega else "EGA+", columns, lines)
    description = "*CGA" if no_ega else "VGA+" if info["orig_video_isVGA"] else "EGA"
    return Display(True, description, columns, lines)


def _has_vram(k: Kernel, base: int) -> bool:
    # Memory keeps what is written to it; what was there is put back.
    bus = k.machine.bus
    saved = bus.read(base, 2), bus.read(base + 2, 2)
    kept = True
    for words in TEST_WORDS:
        for at, word in enumerate(words):
            bus.write(base + 2 * at, 2, word)
        kept = kept and all(bus.read(base + 2 * at, 2) == word for at, word in enumerate(words))
    for at, word in enumerate(saved):
        bus.write(base + 2 * at, 2, word)
    return kept
