"""Kernel: everything one booted kernel knows, in named parts.

The rooms (mm, smp, acpi, pci) set their own part during boot and read the others'. Hardware is reached through
``machine.boot_cpu`` and ``machine.bus`` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from hw.uart import CLOCK_HZ
from minikern.core.cmdline import CommandLine
from minikern.core.config import Config
from minikern.core.conflicts import met, resolved
from minikern.core.console import Consoles
from minikern.core.experiment import Experiment
from minikern.core.forks import changed
from minikern.core.ledger import Ledger, Phase
from minikern.core.meter import Meter
from minikern.core.pacing import INITRAMFS_WAIT, Pacer
from minikern.core.parameters import InitWords
from minikern.core.part import Part
from minikern.core.printk import Level, Printk
from minikern.core.recorder import Recorder
from minikern.core.release import Release
from minikern.core.turns import Point, Turn, TurnKind
from minikern.core.variant import Variant
from minikern.mm.page.mmzone import Pglist, Zone
from minikern.mm.page.vmemmap import Vmemmap
from minikern.state.acpi import AcpiState
from minikern.state.acpi_options import AcpiOptions
from minikern.state.boot_params import BootParams
from minikern.state.cpus import CpuMaps
from minikern.state.direct_map import DirectMap
from minikern.state.e820 import E820State
from minikern.state.hugetlb import Cma, HugeTLB
from minikern.state.isolation import Isolation
from minikern.state.kho import KhoState
from minikern.state.memblock import Memblock
from minikern.state.numa import Numa
from minikern.state.page_alloc import PageAlloc
from minikern.state.pci import PciState
from minikern.state.swiotlb import Swiotlb
from minikern.state.totals import CrashKernel, EfiMemory, PageTotals

if TYPE_CHECKING:
    import simpy

    from hw.machine import Machine
    from minikern.core.costs import Cost, Residue
    from minikern.mm.page.page_kernels import Algorithm


@dataclass
class BootOptions:
    """How the host runs the boot; none of it may change what the kernel does or logs."""

    vmemmap: str = "auto"  # full, window, counted or auto
    kernel: str = ""  # struct-page kernel by name; empty means the fastest
    page_kernel: Algorithm | None = None  # instead of those: a function of the user's own, see lab.page_kernel
    record: bool = False  # keep every span of work and every mark, for traces and plots
    on_phase: Callable[[str], None] | None = None  # told of every phase that begins
    meter: bool = False  # keep the work done before each line, for holding the boot against real stamps
    looked_at: bool = False  # pages will be looked at: a window keeps as many as it can


class Kernel:
    """State of one kernel on one machine.

    ``costs`` are the machine's unit costs by kind of work, ``residue`` its named unmodelled time; both belong to the
    ledger, not to the emulated hardware. ``experiment`` stands in for the variant's.
    """

    e820 = Part[E820State]("e820__memory_setup()")
    memblock = Part[Memblock]("e820__memblock_setup()")
    direct_map = Part[DirectMap]("init_mem_mapping()")
    numa = Part[Numa]("initmem_init()")
    cpus = Part[CpuMaps]("early_cpu_init()")
    hugetlb = Part[HugeTLB]("hugetlb_early_reserve()")
    vmemmap = Part[Vmemmap]("vmemmap_init()")
    page_alloc = Part[PageAlloc]("memmap_init()")

    def __init__(
        self,
        machine: Machine,
        release: Release,
        variant: Variant | None,
        costs: Mapping[str, Cost],
        residue: list[Residue],
        options: BootOptions | None = None,
        experiment: Experiment | None = None,
    ) -> None:
        self.machine = machine
        self.release = release
        self.variant = variant
        self.behaviour = changed(release.behaviour, variant.behaviour if variant else {})
        asked = {**release.config, **(variant.config if variant else {})}
        self.conflicts = met(asked, self.behaviour)
        self.config = Config(resolved(asked, self.behaviour))
        self.experiment = experiment or (variant.experiment if variant else Experiment())
        self.options = options or BootOptions()
        self.cmdline = CommandLine("")
        self.log = Printk(lambda: self.machine.clock.now, lambda: self._phase)
        self.consoles = Consoles(
            lambda: self.machine.clock.beside,
            self.printk,
            self.behaviour.printk_prefix + self.behaviour.console_line,
            self.behaviour.console_flush_first,
            lambda: self.log.time,
            caller=self.config.enabled("CONFIG_PRINTK_CALLER"),
        )
        self.log.finished = self.consoles.log
        self.ledger = Ledger(lambda: self.log.clock_zero_ns is not None)
        self.recorder = Recorder() if self.options.record else None
        self.meter = Meter() if self.options.meter else None
        self.pacer = Pacer(residue) if any(item.before for item in residue) else None
        self._costs = costs
        self._residue = residue
        self._phase: Phase = "rest"
        self._phase_since = 0
        self._phase_spans: list[tuple[str, int, int]] = []  # (phase, from, to) on the machine's clock
        self._fraction: dict[tuple[int, str], float] = {}
        self.turns: list[Turn] = []
        self.real_mode_base = 0
        self.boot_params = BootParams()
        self.totals = PageTotals()
        self.crashk = CrashKernel()
        self.efi = EfiMemory()
        self.cma = Cma()
        self.fallback: dict[int, list[int]] = {}  # node -> nodes to try, in order
        self.nodes: list[Pglist] = []
        self.initramfs_done: simpy.Event | None = None
        self.initramfs_announced = False
        self.acpi_options = AcpiOptions()
        self.acpi = AcpiState()
        self.pci = PciState.empty()
        self.swiotlb = Swiotlb()
        self.isolation = Isolation()
        self.init_words = InitWords()
        self.kho = KhoState()

    def pgtable_l5_enabled(self) -> bool:
        """True with five page-table levels. Source: arch/x86/include/asm/pgtable_64_types.h"""
        if self.cmdline.has("no5lvl"):
            return False
        return self.config.enabled("CONFIG_X86_5LEVEL") and bool(self.machine.boot_cpu.cpuid(7).ecx >> 16 & 1)

    @property
    def zones(self) -> list[Zone]:
        """The populated zones of all nodes, by node and from low to high."""
        return [zone for node in self.nodes for zone in node.zones if zone.present_pages]

    def max_physmem_bits(self) -> int:
        """Physical address bits the kernel can use. Source: arch/x86/include/asm/sparsemem.h:MAX_PHYSMEM_BITS"""
        return 52 if self.pgtable_l5_enabled() else 46

    # log

    def printk(self, text: str, level: Level = Level.INFO) -> None:
        """Record a log line."""
        main = self._before_line(text.rpartition("\n")[2])
        self.log.printk(text, level)
        self._after_line(main)

    def open_line(self, text: str) -> None:
        """Record a line that may still grow; consoles get it with the next one."""
        main = self._before_line(text)
        self.log.open(text)
        self._after_line(main)

    def _before_line(self, text: str) -> bool:
        """True where the main thread writes the line; the unexplained time before it passes."""
        main = not self.machine.clock.beside
        if main and self.pacer is not None:
            self.pacer.before(self, text)
        return main

    def _after_line(self, main: bool) -> None:
        if self.meter is not None:
            self.meter.line(len(self.log.lines) - 1, main, self.consoles.serial_share(1) > 0)

    def pr_cont(self, text: str) -> None:
        """Continue the open log line."""
        self.log.cont(text)

    # time

    def unit_ns(self, kind: str) -> float:
        """Unit cost of ``kind`` in ns; KeyError names a kind nobody declared."""
        return self._costs[kind].ns

    def charge(self, kind: str, count: int = 1) -> None:
        """The boot CPU does ``count`` pieces of ``kind``: book them and let the machine's time pass."""
        total = self._cost_ns(0, kind, count)
        self._book(0, kind, count, total)
        if self.recorder is not None:
            self.recorder.span(0, kind, self._phase, self.machine.clock.now, total, count)
        self.machine.clock.advance(total)

    def wait(self, event: simpy.Event) -> object:
        """The boot CPU sleeps until ``event``; then it writes what others have printed meanwhile."""
        value = self.machine.clock.wait(event)
        self.consoles.flush()
        return value

    def charge_on(self, cpu: int, kind: str, count: int = 1) -> simpy.Timeout:
        """CPU ``cpu`` (a SimPy process) does ``count`` pieces of ``kind``: book them, return the event to wait for."""
        total = self._cost_ns(cpu, kind, count)
        self._book(cpu, kind, count, total)
        if self.recorder is not None:
            self.recorder.span(cpu, kind, self._phase, self.machine.clock.now, total, count)
        return self.machine.clock.timeout(total)

    def book_span(self, cpu: int, kind: str, count: int, start_ns: int, total_ns: int) -> None:
        """Book work whose time has passed already, for instance a wait that was simulated event by event."""
        self._book(cpu, kind, count, total_ns)
        if self.recorder is not None:
            self.recorder.span(cpu, kind, self._phase, start_ns, total_ns, count)

    def _book(self, cpu: int, kind: str, count: int, total_ns: int) -> None:
        self.ledger.book(self._phase, cpu, kind, count, total_ns)
        if self.meter is not None:
            self.meter.book(cpu, kind, count, total_ns)

    def mark(self, cpu: int, name: str, value: int = 0) -> None:
        """Something happened to CPU ``cpu`` now: a message, a state. Kept only where traces are asked for."""
        if self.recorder is not None:
            self.recorder.mark(self.machine.clock.now, cpu, name, value)

    def _cost_ns(self, cpu: int, kind: str, count: int) -> int:
        # Fractions of a nanosecond are carried over, so that many small charges cost what one large one does.
        if count < 0:
            raise ValueError(f"charge of {count} pieces of {kind}: expected a count of at least 0")
        who = cpu, kind
        carried = self._fraction.get(who, 0.0)
        exact = count * self._costs[kind].ns + carried
        whole = int(exact)
        if exact - whole != carried:  # costs of whole ns, which most are, never carry any
            self._fraction[who] = exact - whole
        return whole

    def release_memory(self) -> None:
        """Give the memory map's host memory back for the next boot; log and ledger stay."""
        if "vmemmap" in self.__dict__:
            self.vmemmap.close()

    def residue(self, at: str) -> None:
        """Let the machine's named unmodelled time of this point of the boot pass, and book it as residue."""
        for item in self._residue:
            if item.at == at:
                self._spend(item, item.phase)

    def spend_residue(self, item: Residue) -> None:
        """Let the unexplained time before a line pass; it belongs to the phase the boot is in.

        What a serial console took passes where one is on and listens, as fast as its line now is.
        """
        if item.serial_baud:
            item = msgspec.structs.replace(item, ms=item.ms * self._serial_share(item.serial_baud))
        self._spend(item, self._phase)

    def _serial_share(self, baud: int) -> float:
        clock_hz = self.variant.uart_clock_hz if self.variant else 0
        return self.consoles.serial_share(baud) * (CLOCK_HZ / clock_hz if clock_hz else 1.0)

    def _spend(self, item: Residue, phase: Phase) -> None:
        total = round(item.ms * 1_000_000)
        self.ledger.book_residue(phase, item.name, total)
        if self.meter is not None:
            self.meter.book_residue(total)
        if self.recorder is not None:
            self.recorder.span(0, f"residue: {item.name}", phase, self.machine.clock.now, total, 1)
        self.machine.clock.advance(total)

    def wait_for_initramfs(self) -> None:
        """Wait until the initramfs is unpacked; what stands before that wait passes first."""
        if self.pacer is not None:
            self.pacer.before_wait(self, INITRAMFS_WAIT)
        self.wait_for(INITRAMFS_WAIT)

    def finish_residue(self) -> None:
        """Before the boot's last line: no unexplained time is left behind."""
        if self.pacer is not None:
            self.pacer.finish(self)

    def point(self) -> Point:
        """Now, for a turn."""
        now, zero = self.machine.clock.now, self.log.clock_zero_ns
        spans = self._spans(zero, now) if zero is not None else ()
        return Point(now, self.ledger.summed(), _by_phase(spans))

    def turn(self, kind: TurnKind, since: Point, work: str = "") -> None:
        """Something that makes the boot's time more than a sum began at ``since`` and is over now."""
        self.turns.append(Turn(kind, self._phase, since, self.machine.clock.now - since.at_ns, work))

    def wait_for(self, what: str) -> None:
        """Sleep until ``what`` (the initramfs) is done, if that was begun; the time is booked as waiting."""
        done = self.initramfs_done if what == INITRAMFS_WAIT else None
        if done is None:
            return
        since = self.point()
        if not done.processed:
            self._sleep(done)
        self.turn("join", since, "initramfs_byte")

    def _sleep(self, done: simpy.Event) -> None:
        started = self.machine.clock.now
        self.wait(done)
        spent = self.machine.clock.now - started
        if len(self.cpus.online) > 1:  # else the boot CPU did the unpacking, and its time is booked as that
            self.book_span(0, "initramfs_wait_ns", spent, started, spent)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Work booked inside belongs to phase ``name``."""
        outer = self._phase
        self._enter(name)
        try:
            yield
        finally:
            self._enter(outer)

    def _enter(self, name: Phase) -> None:
        now = self.machine.clock.now
        if now > self._phase_since:
            self._phase_spans.append((self._phase, self._phase_since, now))
        self._phase, self._phase_since = name, now
        if self.options.on_phase is not None:
            self.options.on_phase(name)

    def phase_ns(self) -> dict[str, int]:
        """Simulated ns the boot CPU was in each phase, from the moment the log clock started."""
        return _by_phase(self.phase_stretches())

    def phase_stretches(self) -> list[tuple[str, int, int]]:
        """(phase, from, to) on the machine's clock, one after the other, from the moment the log clock started."""
        self._enter(self._phase)
        return self._spans(self.log.clock_zero_ns or 0, self._phase_since)

    def _spans(self, zero: int, now: int) -> list[tuple[str, int, int]]:
        spans = [*self._phase_spans, (self._phase, self._phase_since, now)]
        return [(name, max(start, zero), end) for name, start, end in spans if end > max(start, zero)]


def _by_phase(stretches: Iterable[tuple[str, int, int]]) -> dict[str, int]:
    spent: dict[str, int] = {}
    for name, start, end in stretches:
        spent[name] = spent.get(name, 0) + end - start
    return spent
