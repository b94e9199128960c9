"""What a captured machine's folder tells of the kernel build that ran on it, put over the nearest release file."""

from __future__ import annotations

import msgspec

from minikern.core.config import ConfigValue
from minikern.core.release import Release


class CapturedBuild(msgspec.Struct, forbid_unknown_fields=True):
    """Kconfig values, and sizes by their names in :class:`minikern.core.image.ImageSizes`; only what is known.

    ``image_bytes`` are from the beginning of the image to its early heap: an image of the release's own length is the
    release's own image, and is left alone.
    """

    config: dict[str, ConfigValue] = {}
    image: dict[str, int] = {}
    image_bytes: int = 0


def built_as(release: Release, build: CapturedBuild | None) -> Release:
    """``release`` as that machine's kernel was built; the given release is left as it is."""
    if build is None:
        return release
    image = release.image
    if build.image_bytes and build.image_bytes != image.brk_start - image.text_start:
        brk = image.text_start + build.image_bytes
        image = msgspec.structs.replace(image, **build.image, brk_start=brk, kernel_end=0)
    return msgspec.structs.replace(release, config={**release.config, **build.config}, image=image)
