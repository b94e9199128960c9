"""What no Linux release does, but a variant, a test or the command line may ask of a boot."""

from __future__ import annotations

from typing import Literal

import msgspec

PurgatoryDigest = Literal["generic", "accelerated", "file-bytes", "parallel", "none"]

AcsOverride = Literal["", "downstream", "multifunction", "downstream,multifunction"]


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Patches and faults of one boot; the defaults are Linux as it is."""

    acs_override: AcsOverride = ""  # ports or functions taken to isolate, though nothing says so
    purgatory_digest: PurgatoryDigest = "generic"  # how the purgatory checks the loaded kernel
    device_shutdown: Literal["serial", "async"] = "serial"  # one device after the other, or each when it can
    trampoline_lock: bool = True  # one CPU at a time uses the trampoline's stack
