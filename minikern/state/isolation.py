"""CPUs that are left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass



@dataclass
class Isolation:
    """CPUs that do the kernel's chores, by the kind of chore; CPUs without a tick; CPUs without RCU callbacks."""

    housekeeping: dict[str, set[int]] = field(default_factory=dict)
    nohz_full: set[int] | None = None
    nocb: set[int] | None = None

