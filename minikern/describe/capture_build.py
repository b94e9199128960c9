"""A captured folder's kernel build: its own configuration, and sizes from the resource tree and the log."""

from __future__ import annotations

import re

from hw.units import PAGE_SIZE
from minikern.core.captured_build import CapturedBuild
from minikern.core.config import ConfigValue

_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$|^# (CONFIG_\w+) is not set$", re.MULTILINE)
_PART = re.compile(r"^ *([0-9a-f]{1,16})-([0-9a-f]{1,16}) : Kernel (code|rodata|data|bss)$", re.MULTILINE)
_PREEMPT = {"CONFIG_PREEMPT_LAZY": "lazy", "CONFIG_PREEMPT_VOLUNTARY": "voluntary", "CONFIG_PREEMPT_NONE": "none"}
# What the kernel logs of its build, by the name of the figure; a line that is missing says 0.
_LOGGED = {
    "init_kib": r"^Freeing unused kernel image \(initmem\) memory: (\d{1,9})K",
    "write_protect_kib": r"^Write protecting the kernel read-only data: (\d{1,9})k",
    "text_rodata_gap_kib": r"^Freeing unused kernel image \(text/rodata gap\) memory: (\d{1,9})K",
    "rodata_data_gap_kib": r"^Freeing unused kernel image \(rodata/data gap\) memory: (\d{1,9})K",
    "smp_locks_kib": r"^Freeing SMP alternatives memory: (\d{1,9})K",
    "decrypted_kib": r"^Freeing unused decrypted memory: (\d{1,9})K",
}
_FIELDS = {"code": "code", "rodata": "rodata", "rwdata": "data", "bss": "bss"}
_PERCPU = re.compile(r"^percpu: Embedded \d+ pages/cpu s(\d{1,9}) ", re.MULTILINE)
_NODE_DATA = re.compile(r"^NODE_DATA\(\d+\) allocated \[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]", re.MULTILINE)


def captured_build(fragment: str, iomem: str, log: str) -> CapturedBuild:
    """What ``config-fragment.txt``, ``iomem.txt`` and the log without time stamps say, each empty where absent."""
    parts = {name: (int(start, 16), int(end, 16) + 1) for start, end, name in _PART.findall(iomem)}
    if parts.keys() < {"code", "rodata", "data", "bss"} or "initmem" not in log:
        return CapturedBuild(kconfig(fragment))
    sizes = {f"{field}_kib": parts[name][1] - parts[name][0] >> 10 for field, name in _FIELDS.items()}
    length = -(-(parts["bss"][1] - parts["code"][0]) // PAGE_SIZE) * PAGE_SIZE
    return CapturedBuild(kconfig(fragment), sizes | _logged(log), length)


def _logged(log: str) -> dict[str, int]:
    found = {name: re.search(pattern, log, re.MULTILINE) for name, pattern in _LOGGED.items()}
    sizes = {name: int(match[1]) if match else 0 for name, match in found.items()}
    if percpu := _PERCPU.search(log):
        sizes["percpu_static_bytes"] = int(percpu[1])
    if node := _NODE_DATA.search(log):
        sizes["node_data_bytes"] = int(node[2], 16) + 1 - int(node[1], 16)
    return sizes


LOADED_LATER = {"CONFIG_VMD"}
"""Drivers with lines that come after the kernel's own where they are modules."""


def kconfig(text: str) -> dict[str, ConfigValue]:
    """The options of a configuration, or of a part of one, as releases spell them."""
    found: dict[str, ConfigValue] = {}
    for name, value, unset in _OPTION.findall(text):
        if unset:
            found[unset] = False
        elif value.strip() == "m" and name in LOADED_LATER:
            found[name] = False
        elif (read := _value(value.strip())) is not None:
            found[name] = read
    if found.pop("CONFIG_PREEMPT_DYNAMIC", False):
        mode = next((mode for name, mode in _PREEMPT.items() if found.get(name)), "full")
        found["CONFIG_PREEMPT_DYNAMIC"] = mode
    return found


def _value(text: str) -> ConfigValue | None:
    if text in ("y", "m"):
        return True
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1]
    try:
        return int(text, 0)
    except ValueError:
        return None
