"""The boot logs with time stamps that lie beside the checkout, and which of them are one machine's."""

from __future__ import annotations

import json
import re
from pathlib import Path

CORPORA = Path(__file__).parents[2] / "../shared/corpora"
CAPTURES = CORPORA.parent / "captures"
SAME_PC = re.compile(r"-(?:debug|\d+)$")  # the end of a capture's name that names no other machine
SLOW_KERNELS = ("kasan", "kmsan", "debug")  # in a name: built to find bugs, not to calibrate from
KERNEL_WORD = re.compile(r"[-.](?:\d+\.\d+(?:rc\d+)?|kexec|kdump|lkp|kvmhost|sme|\d+boots).*$")


def captured_logs(folder: Path = CAPTURES) -> dict[str, list[Path]]:
    """Logs of captured machines, by machine."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/dmesg.txt")):
        found.setdefault(SAME_PC.sub("", path.parent.name), []).append(path)
    return found


def machine_logs(folders: list[Path] | None = None) -> dict[str, list[Path]]:
    """Logs by machine. A folder's ``groups.json`` says which are one machine's, else the name without its kernel."""
    found: dict[str, list[Path]] = {}
    for folder in folders or [CORPORA / "timed", CORPORA / "dmesg"]:
        groups = folder / "groups.json"
        known = json.loads(groups.read_text()) if groups.is_file() else {}
        for path in sorted(folder.glob("*.log*")):
            name = path.name.removesuffix(".gz")
            if not any(word in name for word in SLOW_KERNELS):
                found.setdefault(known.get(name, KERNEL_WORD.sub("", name)), []).append(path)
    return found
