"""``minikern.boot()``: a machine in, its log, phases, ledger, timeline and kernel out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from html import escape
from os import PathLike, fspath
from typing import Any

import msgspec

from hw.units import NS_PER_MS
from minikern.api.drawings import Drawing, draw
from minikern.api.machines import Machine, MachineLike, machine
from minikern.api.records import Records, html_table, make_frame
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.variant import load_variant
from minikern.lab import run
from minikern.lab.own import on_machine
from minikern.report.dmesg import format_dmesg
from minikern.report.trace import recorder_of


class LogLine(msgspec.Struct, frozen=True):
    """A line of the log: its time stamp and the phase it was written in."""

    ts_ns: int
    phase: str
    text: str


class LedgerRow(msgspec.Struct, frozen=True):
    """Work of one kind by one CPU in one phase. ``critical`` work is on the way to /init."""

    phase: str
    cpu: int
    kind: str
    pieces: int
    unit_ns: float
    total_ns: int
    modelled: bool
    critical: bool


class Stretch(msgspec.Struct, frozen=True):
    """One piece of work on one CPU; ``start_ns`` on the log's clock, negative before it runs."""

    cpu: int
    kind: str
    phase: str
    start_ns: int
    total_ns: int
    pieces: int


class Log(Records[LogLine]):
    """The lines of a boot; ``str()`` is the text dmesg prints."""

    def __init__(self, kernel: Kernel, title: str) -> None:
        lines = (LogLine(line.ts_ns, line.phase, line.text) for line in kernel.log.lines)
        super().__init__(LogLine, lines, title)
        self._text = format_dmesg(kernel)

    def find(self, needle: str) -> LogLine | None:
        """The first line with ``needle`` in it, or None."""
        return next((line for line in self if needle in line.text), None)

    def __str__(self) -> str:
        return self._text

    def _repr_html_(self) -> str:
        return f'<pre style="max-height:30em;overflow:auto">{escape(self._text)}</pre>'


class Phases(Mapping[str, float]):
    """Simulated ms the boot CPU was in each phase, from the first line with a running clock to /init."""

    def __init__(self, spent_ns: Mapping[str, int], title: str) -> None:
        self._ms = {name: ns / NS_PER_MS for name, ns in spent_ns.items()}
        self._title = title

    def __getitem__(self, name: str) -> float:
        return self._ms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ms)

    def __len__(self) -> int:
        return len(self._ms)

    def __repr__(self) -> str:
        return ", ".join(f"{name} {ms:.3f} ms" for name, ms in self._ms.items())

    def to_frame(self, library: str = "") -> Any:
        """Columns ``phase`` and ``simulated_ms``, in a frame as :meth:`Records.to_frame` makes them."""
        return make_frame({"phase": list(self._ms), "simulated_ms": list(self._ms.values())}, library)

    def _repr_html_(self) -> str:
        return html_table(("phase", "simulated ms"), list(self._ms.items()), self._title)


class Boot:
    """A finished boot. All times are simulated, but ``host_ms``, which this computer took to emulate it.

    ``kernel`` is the kernel itself, with everything it knows: ``kernel.zones``, ``kernel.memblock``, ``kernel.acpi``.
    """

    def __init__(self, of: Machine, done: run.Boot) -> None:
        self.machine = of
        self.done = done
        self.kernel = done.kernel
        self.title = f"{of.name}, {done.name}"

    @property
    def total_ms(self) -> float:
        """From the first line with a running clock to ``Run /init``."""
        return self.done.total_ns / NS_PER_MS

    @property
    def host_ms(self) -> float:
        """How long this computer took, measured."""
        return self.done.host_ns / NS_PER_MS

    @cached_property
    def log(self) -> Log:
        """The log, a row a line."""
        return Log(self.kernel, self.title)

    @cached_property
    def phases(self) -> Phases:
        """Phases with their times, in the order in which they were first entered."""
        return Phases(self.kernel.phase_ns(), self.title)

    @cached_property
    def ledger(self) -> Records[LedgerRow]:
        """Every simulated ns, by phase, CPU and kind of work."""
        rows = (
            LedgerRow(e.phase, e.cpu, e.kind, e.pieces, e.unit_ns, e.total_ns, e.modelled, e.critical)
            for e in self.kernel.ledger.entries()
        )
        return Records(LedgerRow, rows, f"{self.title}: the ledger")

    @cached_property
    def timeline(self) -> Records[Stretch]:
        """Every piece of work of every CPU, in the order of its beginning."""
        zero = self.kernel.log.clock_zero_ns or 0
        spans = sorted(recorder_of(self.done).spans, key=lambda span: (span.start_ns, span.cpu))
        rows = (Stretch(s.cpu, s.kind, s.phase, s.start_ns - zero, s.total_ns, s.pieces) for s in spans)
        return Records(Stretch, rows, f"{self.title}: the time line")

    def picture(self, kind: str = "memory", dark: bool = False) -> Drawing:
        """A picture of it: memory, memory-map, free-lists, bringup, acpi or pci; shown by notebooks, saved by ``save``.

        InputError: there is no such kind. What cannot be drawn of this boot is told when it is to be shown.
        """
        return draw(kind, self.done, dark)

    def __repr__(self) -> str:
        return f"<boot of {self.title}: {self.total_ms:.3f} simulated ms to /init, {len(self.log)} lines>"

    def _repr_html_(self) -> str:
        total = f"<p><b>{escape(self.title)}</b>: {self.total_ms:,.3f} simulated ms to /init</p>"
        return total + self.phases._repr_html_()


def boot(
    on: MachineLike = "lpc2023",
    *,
    variant: str | PathLike[str] = "",
    append: str = "",
    kernel: str = "",
    cpus: str | int = "",
    memory: str = "",
    numa: Sequence[str] = (),
    numa_distance: Sequence[str] = (),
    fit: bool = True,
) -> Boot:
    """Boot a machine: a preset, a TOML file, a captured folder or archive, a boot log, or a :class:`Machine`.

    ``variant`` boots it as a rung of the ladder, a log's machine with what that rung changes over the one before;
    ``append`` adds words to the kernel's command line, ``kernel`` takes another release; the rest changes the machine
    as :func:`machine` does. InputError: something asked for is not there. BootStopped: the machine cannot go on; its
    ``kernel`` has the log so far.

    >>> b = boot("tiny", append="hugepages=4")
    >>> b.log[-1].text
    'Run /init as init process'
    >>> b.log.find("HugeTLB: registered 2.00 MiB").text
    'HugeTLB: registered 2.00 MiB page size, pre-allocated 4 pages'
    >>> [zone.name for zone in b.kernel.zones]
    ['DMA', 'DMA32']
    >>> round(sum(b.phases.values()), 6) == round(b.total_ms, 6)
    True
    >>> b.ledger.where(kind="struct_page_init", cpu=0)[0].pieces
    65536
    >>> b.timeline.to_frame("polars").height == len(b.timeline)
    True
    """
    of = machine(on, cpus=cpus, memory=memory, numa=numa, numa_distance=numa_distance, fit=fit)
    rung = on_machine(of.spec, kernel, load_variant(fspath(variant))) if variant else None
    return Boot(of, run.boot(of.spec, rung, kernel, append, BootOptions(record=True)))
