"""The phases of one boot by its own log: which lines they lie between, and how long that took.

A phase lies between two lines that kernels of all versions print. Where a version moved one of them, two boots are
measured by what both have, so that the same stretch stands against the same stretch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

from hw.units import NS_PER_MS
from minikern.describe.stamps import Stamped, StampedLog

GROUPS_APART = 40  # other lines between two of one run of IOMMU groups

LogPhase = Literal[
    "early", "memory", "setup", "smp", "core", "deferred", "aml", "interpreter", "acpi-scan", "pci-scan",
    "pci-assign", "iommu", "drivers", "initramfs", "console", "total",
]  # fmt: skip
LOG_PHASES: tuple[LogPhase, ...] = get_args(LogPhase)
INSIDE = ("initramfs", "console")  # these pass while other phases do

Mark = Literal[
    "start", "zonelists", "memory", "slub", "smp", "smp_done", "osi", "aml", "interpreter", "host", "scanned",
    "resource", "group", "groups_done", "unpack", "initrd", "console", "flushed", "run", "free",
]  # fmt: skip

_FIRST: dict[Mark, str] = {
    "zonelists": r"Built \d+ zonelists",
    "memory": r"Memory: \d+K/\d+K available",
    "slub": r"SLUB: HWalign",
    "smp": r"smp: Bringing up secondary CPUs|x86: Booting SMP configuration",
    "smp_done": r"(?:smp: |x86: )?Brought up \d+ (?:nodes?|CPUs?)",
    "osi": r"ACPI: Added _OSI\(Module Device\)",
    "aml": r"ACPI: \d+ ACPI AML tables? successfully acquired and loaded",
    "interpreter": r"ACPI: Interpreter enabled",
    "host": r"PCI host bridge to bus",
    "unpack": r"Trying to unpack rootfs image|Unpacking initramfs",
    "initrd": r"Freeing initrd memory",
    "console": r"(?:printk: )?(?:legacy )?console \[ttyS\d+\] enabled",
}
_RUN = re.compile(r"Run \S+ as init process")
_FREE = re.compile(r"Freeing unused kernel (?:image \(initmem\) )?(?:image )?memory")
_RESOURCE = re.compile(r"pci_bus [0-9a-f:]+: resource \d+ ")
_HOST = "PCI host bridge to bus"
_GROUP = "Adding to iommu group"
_PCI_LINE = re.compile(  # what the PCI scan and the ACPI code around it print
    r"pci(?:_bus|_root|eport)? |pci [0-9a-f]{4}:|PCI host bridge|acpi (?:PNP0A0[38]|ACPI0016|.*_OSC)"
    r"|ACPI: (?:PCI|\\_SB|Enabled|Power|PM)|\* |acpiphp|PCI: |iommu: |Low-power"
)
_DEFERRED = re.compile(r"node \d+ (?:deferred pages )?initiali[sz]ed(?:, \d+ pages)? in (\d+) ?ms")


@dataclass
class PhaseMarks:
    """The marks of one boot: when each was printed (log clock, ns; 0: before it ran), and as which of the lines."""

    at_ns: dict[Mark, int] = field(default_factory=dict)
    line: dict[Mark, int] = field(default_factory=dict)
    deferred_ns: int | None = None  # of the slowest node

    def put(self, mark: Mark, lines: list[Stamped], index: int) -> None:
        """Line ``index`` is the mark."""
        self.at_ns[mark], self.line[mark] = lines[index].at_ns or 0, index

    @property
    def memory_before_smp(self) -> bool:
        """True if the memory line stands where all of memory is free, as up to 6.10."""
        return "memory" in self.line and self.line["memory"] < self.line.get("smp", 0)


def phase_marks(log: StampedLog) -> PhaseMarks:
    """Where the phases of a boot begin and end. A log without stamps has no marks."""
    lines = log.lines
    found = PhaseMarks()
    start = next((index for index, line in enumerate(lines) if line.at_ns), None)
    if start is None:
        return found
    found.put("start", lines, start)
    end = _put_end(found, lines)
    head = lines[: end + 1]
    for mark, pattern in _FIRST.items():
        regex = re.compile(pattern)
        hits = (index for index, line in enumerate(head) if regex.match(line.text))
        if (at := next((index for index in hits if index < start or head[index].at_ns is not None), None)) is not None:
            found.put(mark, head, at)
    _put_pci(found, head)
    _put_flushed(found, head)
    osi = found.line.get("osi", end)
    spent = [int(hit[1]) for line in head[: osi + 1] if (hit := _DEFERRED.match(line.text))]
    found.deferred_ns = max(spent) * NS_PER_MS if spent else None
    return found


def _put_end(found: PhaseMarks, lines: list[Stamped]) -> int:
    ends: tuple[tuple[Mark, re.Pattern[str]], ...] = (("run", _RUN), ("free", _FREE))
    for mark, regex in ends:
        if (at := next((index for index, line in enumerate(lines) if regex.match(line.text)), None)) is not None:
            found.put(mark, lines, at)
    return max((found.line[mark] for mark, _ in ends if mark in found.line), default=len(lines) - 1)


def _put_pci(found: PhaseMarks, head: list[Stamped]) -> None:
    resources = [index for index, line in enumerate(head) if _RESOURCE.match(line.text)]
    if resources:
        found.put("resource", head, resources[-1])
    hosts = [index for index, line in enumerate(head) if _HOST in line.text]
    if not hosts:
        return
    last = hosts[-1]
    while last + 1 < len(head) and _PCI_LINE.match(head[last + 1].text):
        last += 1
    while head[last].at_ns is None and last > hosts[-1]:
        last -= 1
    found.put("scanned", head, last)
    if run := _longest_run([index for index in range(hosts[0] + 1, len(head)) if _GROUP in head[index].text]):
        found.put("group", head, run[0])
        found.put("groups_done", head, run[-1])


def _longest_run(places: list[int]) -> list[int]:
    """The run with the most lines; runs are torn where too many other lines lie between."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place - runs[-1][-1] <= GROUPS_APART + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return max((run for run in runs if len(run) > 1), key=len, default=[])


def _put_flushed(found: PhaseMarks, head: list[Stamped]) -> None:
    begin = found.line.get("console")
    if begin is None:
        return
    later = (index for index in range(begin, len(head)) if (head[index].at_ns or 0) > found.at_ns["console"])
    found.put("flushed", head, next(later, begin))


def phase_times(first: PhaseMarks, second: PhaseMarks) -> tuple[dict[LogPhase, int], dict[LogPhase, int]]:
    """ns of each phase in two boots, between marks that both have; a phase whose marks one lost is not in its dict."""
    stretches = _stretches(first, second)
    return _times(first, stretches), _times(second, stretches)


def _stretches(first: PhaseMarks, second: PhaseMarks) -> dict[LogPhase, tuple[Mark, Mark]]:
    both = first.at_ns.keys() & second.at_ns.keys()
    memory: Mark = "memory" if first.memory_before_smp and second.memory_before_smp else "slub"
    end: Mark = "run" if "run" in both else "free"
    grouped = {"group", "groups_done"} <= both and all(_groups_last(one) for one in (first, second))
    return {
        "early": ("start", "zonelists"),
        "memory": ("zonelists", memory),
        "setup": (memory, "smp"),
        "smp": ("smp", "smp_done"),
        "core": ("smp_done", "osi"),
        "aml": ("osi", "aml"),
        "interpreter": ("aml", "interpreter"),
        "acpi-scan": ("interpreter", "host"),
        "pci-scan": ("host", "scanned"),
        "pci-assign": ("scanned", "resource"),
        "iommu": ("group", "groups_done"),
        "drivers": ("groups_done" if grouped else "resource", end),
        "initramfs": ("unpack", "initrd"),
        "console": ("console", "flushed"),
        "total": ("start", end),
    }


def _groups_last(marks: PhaseMarks) -> bool:
    return marks.at_ns["groups_done"] >= marks.at_ns.get("resource", 0)


def _times(marks: PhaseMarks, stretches: dict[LogPhase, tuple[Mark, Mark]]) -> dict[LogPhase, int]:
    out: dict[LogPhase, int] = {}
    for name, (begin, end) in stretches.items():
        if {begin, end} <= marks.at_ns.keys() and _in_order(marks, begin, end):
            out[name] = marks.at_ns[end] - marks.at_ns[begin]
    if marks.line.get("aml", 0) < marks.line.get("osi", 0):  # before 4.16 the tables came first
        out.pop("interpreter", None)
    if marks.deferred_ns is not None:
        out["deferred"] = marks.deferred_ns
        if "core" in out:
            out["core"] = max(0, out["core"] - marks.deferred_ns)
    return {name: out[name] for name in LOG_PHASES if name in out}


def _in_order(marks: PhaseMarks, begin: Mark, end: Mark) -> bool:
    lines = marks.line
    return marks.at_ns[end] >= marks.at_ns[begin] > 0 and lines[end] >= lines[begin] >= lines["start"]
