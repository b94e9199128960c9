"""The file that the boot-time SIG's grab-boot-data.sh writes: a machine's dmesg and what stands around it.

Source: grab-boot-data.sh 1.0 to 1.5 (https://birdcloud.org/boot-time/Boot-time_Tools)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from minikern.core.captured_build import CapturedBuild
from minikern.describe.capture_build import kconfig
from minikern.describe.case import Case
from minikern.describe.startup import parse_startup

_HEAD = re.compile(r"^=== Machine Info =+\s*$")
_SECTION = re.compile(r"^== ([A-Z][A-Za-z -]*) ==\s*$")


def sections(lines: Sequence[str]) -> dict[str, list[str]]:
    """The file's sections by name; empty if it is no such file."""
    if not any(_HEAD.match(line) for line in lines[:5]):
        return {}
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if match := _SECTION.match(line):
            name = match[1]
        elif name:
            found.setdefault(name, []).append(line)
    return found


def lay_sections(spec: Case, found: dict[str, list[str]]) -> None:
    """Put the kernel's configuration and systemd's times over a machine made from the file's log."""
    options = kconfig("\n".join(found.get("CONFIG", ())))
    if options:
        before = spec.build or CapturedBuild()
        spec.build = CapturedBuild({**before.config, **options}, before.image, before.image_bytes)
        spec.notes.append(f"read: {len(options)} options of the kernel's configuration")
    startup = parse_startup("\n".join(found.get("SYSTEMD INFO", ())))
    if startup is not None:
        spec.startup = startup
        spec.notes.append(f"read: systemd's times: {startup.text()}")
