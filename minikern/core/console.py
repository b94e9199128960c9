"""Consoles: who gets which records of the log, and when.

Every console has its place in the log; whoever prints writes out all that is behind, console by console, before it goes
on. What is printed beside the boot CPU waits for the boot CPU, as it does for the owner of the console lock.

Source: kernel/printk/printk.c:register_console(), console_flush_all(), console_unlock() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from minikern.core.printk import Level, LogLine

LOGLEVEL_DEFAULT, LOGLEVEL_QUIET, LOGLEVEL_DEBUG = 7, 4, 10
"""Source: lib/Kconfig.debug:CONSOLE_LOGLEVEL_DEFAULT, CONSOLE_LOGLEVEL_QUIET; include/linux/printk.h @ v6.12"""
NS_PER_S = 1_000_000_000
SERIAL_NAMES = ("ttyS", "earlyser", "uart")


class Record(NamedTuple):
    """One line as consoles get it: without prefix and newline."""

    level: int
    ts_ns: int
    text: str


@dataclass(eq=False)
class Console:
    """One console; ``write`` puts out text that ends with a newline and lets its time pass.

    ``boot``: stands in until a real one comes (CON_BOOT). ``replay``: wants all that was printed before it
    (CON_PRINTBUFFER). ``preferred``: what /dev/console becomes (CON_CONSDEV). ``seq``: its next record.
    """

    name: str
    write: Callable[[str], None]
    boot: bool = False
    replay: bool = True
    preferred: bool = False
    seq: int = 0


@dataclass
class Consoles:
    """The registered consoles of one kernel, and every record they may still want.

    ``busy`` tells whether somebody else than the boot CPU runs; ``printk`` logs a line; ``line`` is how lines about
    consoles begin; ``flush_first``: kernels before 6.2 write the backlog before they say that a console is enabled;
    ``stamped`` tells whether lines begin with their times.
    """

    busy: Callable[[], bool]
    printk: Callable[[str], None]
    line: str = "printk: console"
    flush_first: bool = False
    stamped: Callable[[], bool] = lambda: True
    caller: bool = False  # CONFIG_PRINTK_CALLER: each line names its task
    loglevel: int = LOGLEVEL_DEFAULT
    ignore_loglevel: bool = False
    keep_bootcon: bool = False
    baud: int = 0  # of the serial line that was set up last
    registered: list[Console] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    _locked: bool = False

    def log(self, line: LogLine) -> None:
        """Take a finished line of the log and bring the consoles up to date."""
        self.records.append(Record(line.level, line.ts_ns, line.text))
        self.flush()

    def write_foreign(self, text: str, ts_ns: int, level: Level = Level.INFO) -> None:
        """Take a line that is not in this kernel's log, for instance one of a real log that nobody emulates.

        Consoles put it out like any other, now or when they are registered; its time passes.
        """
        self.records.append(Record(level, ts_ns, text))
        self.flush()

    def flush(self) -> None:
        """Write what is behind, a record to each console in turn; nothing if another has the lock, who will do it."""
        if self._locked or self.busy():
            return
        self._locked = True
        try:
            while sum(self._emit_next(console) for console in self.registered):
                pass
        finally:
            self._locked = False

    def _emit_next(self, console: Console) -> bool:
        if console.seq >= len(self.records):
            return False
        record = self.records[console.seq]
        console.seq += 1
        if self.shows(record.level):
            console.write(self.prefix(record.ts_ns) + record.text + "\n")
        return True

    def shows(self, level: int) -> bool:
        """True if consoles get lines of this level. Source: suppress_message_printing()"""
        return self.ignore_loglevel or level < self.loglevel

    def serial_share(self, baud: int) -> float:
        """How long serial consoles take now for what one of ``baud`` takes 1 for: 0 where none is on and listens."""
        serial = any(console.name.startswith(SERIAL_NAMES) for console in self.registered)
        return baud / self.baud if serial and self.baud and self.shows(Level.INFO) else 0.0

    def prefix(self, ts_ns: int) -> str:
        """What stands before a line. Source: kernel/printk/printk.c:info_print_prefix() @ v6.12"""
        if not self.stamped():
            return ""
        seconds, rest = divmod(ts_ns, NS_PER_S)
        return f"[{seconds:5d}.{rest // 1000:06d}]{'[    T0]' if self.caller else ''} "

    def register(self, console: Console) -> None:
        """Add a console, let it catch up, and send boot consoles home if it is the preferred one."""
        boot_consoles = [each for each in self.registered if each.boot]
        if console.boot and len(boot_consoles) < len(self.registered):
            self.printk(f"printk: Too late to register bootconsole {console.name}")
            return
        takes_over = bool(boot_consoles) and console.preferred and not console.boot
        console.seq = 0 if console.replay and not takes_over else len(self.records)
        self.registered.insert(0 if console.preferred else min(1, len(self.registered)), console)
        if self.flush_first:
            self.flush()
        self._say(console, "enabled")
        if takes_over and not self.keep_bootcon:
            for each in boot_consoles:
                self._say(each, "disabled")
                self.registered.remove(each)

    def _say(self, console: Console, what: str) -> None:
        head = self.line.removesuffix("console")
        self.printk(f"{head}{'boot' if console.boot else ''}console [{console.name}] {what}")
