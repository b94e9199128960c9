"""Unit costs of kinds of work, and named time that no work explains."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class Cost(msgspec.Struct, forbid_unknown_fields=True):
    """Unit cost of one kind of work, with the place the figure comes from."""

    ns: Annotated[float, Meta(ge=0)]
    source: Annotated[str, Meta(min_length=1)]


class Residue(msgspec.Struct, forbid_unknown_fields=True):
    """Named time that no mechanism explains, spent at the point ``at`` of the boot."""

    name: str
    at: str
    ms: Annotated[float, Meta(ge=0)]
    source: Annotated[str, Meta(min_length=1)]
    phase: str = "rest"
