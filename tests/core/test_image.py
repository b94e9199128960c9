"""An image that was loaded elsewhere lies there with all of its parts."""

from __future__ import annotations

import msgspec

from minikern.core.release import load_release

MIB = 1 << 20


def test_the_end_is_the_logged_one_or_that_of_the_early_heap() -> None:
    image = load_release("debian-6.12").image
    assert image.kernel_end and image.end == image.kernel_end
    unknown = msgspec.structs.replace(image, kernel_end=0)
    assert unknown.end == image.brk_start + image.brk_bytes


def test_a_moved_image_keeps_its_shape() -> None:
    image = load_release("debian-6.12").image
    moved = image.moved(32 * MIB)
    assert moved.text_start == image.text_start + 32 * MIB and moved.end == image.end + 32 * MIB
    assert moved.moved(-32 * MIB) == image
    unknown = msgspec.structs.replace(image, kernel_end=0)
    assert unknown.moved(MIB).kernel_end == 0 and unknown.moved(MIB).end == unknown.end + MIB
