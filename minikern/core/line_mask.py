"""What a log line says, apart from its numbers: two boots' lines are the same when their masks are."""

from __future__ import annotations

import re
from functools import lru_cache

MASK_LENGTH = 96  # characters kept; what follows in longer lines are lists

_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+")
_DEVICE = re.compile(r"\b(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-9a-fA-F]\b")
_HEX = re.compile(r"0x[0-9a-fA-F]+|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{4,}\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_MODEL = re.compile(r"(?<=CPU#: ).*(?= \(family: )")  # the processor's name
_SPACE = re.compile(r"\s+")


@lru_cache(maxsize=1 << 16)
def mask(text: str) -> str:
    """``text`` with addresses, devices and numbers replaced by ``#``, runs of blanks by one."""
    for pattern in (_OFFSET, _DEVICE, _HEX, _NUMBER):
        text = pattern.sub("" if pattern is _OFFSET else "#", text)
    text = _MODEL.sub("#", text)
    return _SPACE.sub(" ", text).strip()[:MASK_LENGTH]
