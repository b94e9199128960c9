"""What a boot log says of microcode: what the firmware left, and the update in front of the initial RAM disk."""

from __future__ import annotations

from hw.msr import IA32_PLATFORM_ID
from minikern.describe.case import Case
from minikern.describe.dmesg_log import Log

ROOM = 1 << 14  # bytes of an initial RAM disk that holds an update
MAX_PLATFORM = 7


def microcode(log: Log, spec: Case) -> None:
    """Set the CPUs' revision and Intel's update. Real patches of AMD cannot be made up: their digests are checked."""
    now = log.first(
        r"^microcode: (?:Current revision: 0x|sig=0x\w+, pf=0x\w+, revision=0x|CPU0: patch_level=0x)([0-9a-f]{1,8})$"
    )
    if now is None:
        return
    spec.cpus.microcode = int(now[1], 16)
    log.read.append(f"microcode revision {spec.cpus.microcode:#x}")
    _platform(log, spec)
    early = log.first(r"^microcode: microcode updated early to revision 0x\w+, date = (\d{4}-\d\d-\d\d)")
    before = log.first(r"^microcode: Updated early from: 0x([0-9a-f]{1,8})$")
    if spec.cpus.vendor != "GenuineIntel" or spec.boot.ramdisk_bytes < ROOM or not (early or before):
        return
    old = int(before[1], 16) if before else spec.cpus.microcode - 1
    if 0 <= old < spec.cpus.microcode:
        spec.boot.microcode, spec.cpus.microcode = spec.cpus.microcode, old
        spec.boot.microcode_date = early[1] if early else spec.boot.microcode_date
        log.read.append("the microcode update of the initial RAM disk")


def _platform(log: Log, spec: Case) -> None:
    flags = log.first(r"^microcode: sig=0x\w+, pf=0x([0-9a-f]{1,2}),")
    platform = int(flags[1], 16).bit_length() - 1 if flags else -1
    if 0 <= platform <= MAX_PLATFORM:
        rows = spec.cpus.msrs or [{} for _ in range(spec.cpus.count)]
        spec.cpus.msrs = [row | {f"{IA32_PLATFORM_ID:x}": platform << 50} for row in rows]
