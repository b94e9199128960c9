"""Serial and parallel bring-up of a whole machine: other times, other orders, the same kernel at the end."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import numpy as np
import pytest

from hw.cpu import CPU
from minikern.core.kernel import Kernel
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_preset
from minikern.lab.cpu_board import cpu_state
from minikern.lab.run import Boot, boot

TIMES_AND_HOST = {
    "machine", "log", "consoles", "ledger", "recorder", "options", "cmdline", "initramfs_done", "release", "variant",
    "config", "behaviour", "_costs", "_residue", "_fraction", "_phase", "_phase_since", "_phase_spans", "turns",
}  # fmt: skip


KEPT_SEARCHES = {"_by_apic"}


def plain(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """Numbers, texts and containers of them, whatever classes hold them; a CPU is its index."""
    if value is None or isinstance(value, (int, float, str, bytes, enum.Enum)):
        return value
    if isinstance(value, CPU):
        return value.index
    if id(value) in seen:
        return "above"
    seen |= {id(value)}
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return sorted((repr(plain(key, seen)), plain(item, seen)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return sorted(repr(plain(item, seen)) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item, seen) for item in value]
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.name not in KEPT_SEARCHES]
        return {name: plain(getattr(value, name), seen) for name in names}
    if callable(value) or not hasattr(value, "__dict__"):
        return type(value).__name__
    skip = TIMES_AND_HOST if isinstance(value, Kernel) else {"kernel", "k", "machine", "clock"}
    return {name: plain(item, seen) for name, item in vars(value).items() if name not in skip}


def booted(append: str) -> Boot:
    spec = load_preset("laptop")
    adjust(spec, Adjustments(memory="256M", cpus="8,sockets=2,cores=2,threads=2"))
    return boot(spec, append=append)


def test_the_whole_kernel_is_the_same() -> None:
    parallel, serial, other = booted("cpuhp.parallel=1"), booted("cpuhp.parallel=0"), booted("maxcpus=7")
    states = [plain(done.kernel) for done in (parallel, serial, other)]
    assert set(states[0]) >= {"cpus", "memblock", "nodes", "pci", "acpi", "e820", "page_alloc", "vmemmap"}
    for name in states[0]:
        assert states[0][name] == states[1][name], name
    assert states[0] != states[2]
    assert cpu_state(parallel.kernel)["cpus"] == cpu_state(serial.kernel)["cpus"]
    assert parallel.kernel.log.lines[-1].at_ns < serial.kernel.log.lines[-1].at_ns
    for done in (parallel, serial, other):
        done.kernel.release_memory()


@pytest.mark.parametrize("append", ["", "cpuhp.parallel=0"])
def test_the_same_boot_is_the_same_log(append: str) -> None:
    logs = []
    for _ in range(2):
        done = booted(append)
        logs.append([(line.at_ns, line.text) for line in done.kernel.log.lines])
        done.kernel.release_memory()
    assert logs[0] == logs[1]
