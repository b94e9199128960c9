"""Downtime of virtual machines while their host's kernel is replaced under them.

Every guest sends packets to a peer outside the machine. The host pauses and saves its guests, some at a time, hands
over to a new kernel, starts its VMM and brings the guests back. What counts is the longest silence the peer hears.
Source: the talk's sequence (pause, snapshot, kexec, restore, resume)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import resources
from math import inf
from typing import Any

import msgspec
import simpy

from hw.errors import InputError
from hw.toml_file import decode_toml
from hw.units import GIB, NS_PER_MS, PAGE_SIZE
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost
from minikern.core.kernel import BootOptions
from minikern.core.ledger import Phase
from minikern.core.variant import Variant
from minikern.describe.case import Case
from minikern.kexec.purgatory import LOSES, check_successor, started_by_kexec
from minikern.kexec.reboot import shutdown
from minikern.lab.run import Boot, boot
from minikern.lab.stand_in import init_size
from minikern.lab.vms import ROOM, check_fit, guest_room
from minikern.mm.buddy.cma_alloc import dma_alloc_from_contiguous

WARM_UP_NS = 20 * NS_PER_MS  # the guests talk for a while before the update begins
MAX_ROUNDS = 30  # of pre-copy, as QEMU's and Cloud Hypervisor's users set it
MAX_GUESTS = 4096
HOST_PARTS = ("shutdown", "relocation", "purgatory", "decompression", "boot")
PARTS = ("pause", "snapshot", *HOST_PARTS, "vmm start", "restore", "resume")

Process = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Guests:
    """The guests: how many, how large, how often they send, and how many the host handles at once."""

    count: int = 8
    vcpus: int = 4
    memory_bytes: int = 16 * GIB
    packet_ns: int = NS_PER_MS
    at_once: int = 8

    def check(self) -> None:
        """InputError for guests that cannot be."""
        if not 1 <= self.count <= MAX_GUESTS:
            raise InputError(f"--vms {self.count}: expected 1 to {MAX_GUESTS}")
        if min(self.vcpus, self.memory_bytes, self.at_once) < 1 or self.packet_ns < 10_000:
            raise InputError("guests need a vCPU, memory, a place at the host, and packets at least 10 us apart")


@dataclass(frozen=True)
class Link:
    """The network a migration would use: bytes a second, how fast a guest dirties memory, and the silence allowed."""

    bytes_per_s: float = 3.125e9  # 25 Gbit/s
    dirty_bytes_per_s: float = 0.5e9
    max_downtime_ns: int = 300 * NS_PER_MS  # QEMU's default

    def check(self) -> None:
        """InputError for a link that carries nothing, or no number of bytes."""
        if not 0 < self.bytes_per_s < inf:
            raise InputError(f"--bandwidth {self.bytes_per_s * 8 / 1e9:g}: expected a number of Gbit/s above 0")
        if self.dirty_bytes_per_s < 0 or self.max_downtime_ns < 0:
            raise InputError("a migration needs a dirty rate and a downtime of at least 0")


class Downtime(msgspec.Struct):
    """One way to update: longest silence over the guests, and its parts. Simulated ms."""

    variant: str
    p50_ms: float
    p99_ms: float
    worst_ms: float
    parts_ms: dict[str, float]
    boot_share: float
    gaps_ms: list[float]
    purgatory: str  # how the image is checked
    digested_bytes: int
    gives_up: str  # what that check no longer finds


class Migration(msgspec.Struct):
    """The alternative: guests moved away one by one. Simulated ms."""

    downtime_ms: float
    total_ms: float
    rounds: int
    converged: bool


class Published(msgspec.Struct, forbid_unknown_fields=True):
    """Published downtime of a machine: range of the total, and the boot's share of it."""

    variant: str
    total_ms: tuple[float, float]
    boot_share: float
    boot_share_tolerance: float


def published(spec: Case) -> Published | None:
    """The figures published for this machine, None if there are none."""
    path = resources.files("minikern.lab").joinpath("figures").joinpath(f"{spec.figures}-downtime.toml")
    if not spec.figures or not path.is_file():
        return None
    return decode_toml(path.read_bytes(), Published, f"figures {spec.figures}-downtime")


def host_parts(done: Boot, packer: str) -> dict[str, int]:
    """Simulated ns of the hand-over, taken from a boot of the same machine: what one kernel does for the next.

    The new kernel is as large as the one that booted; ``packer`` names how it is compressed.
    """
    k = done.kernel
    clock, params, image = k.machine.clock, k.boot_params, k.release.image
    preserve = k.behaviour.kexec_swap_copy
    plain = 1024 * (image.code_kib + image.rwdata_kib + image.rodata_kib + image.init_kib)
    segments = [size for size in (init_size(k), params.ramdisk[1]) if size]
    sizes = [-(-size // PAGE_SIZE) for size in segments]
    pages = sum(sizes)
    in_cma = sum(size for size in sizes if k.behaviour.kexec_cma and dma_alloc_from_contiguous(k, size) is not None)
    booted = sum(e.total_ns for e in k.ledger.entries() if e.phase == "purgatory" and e.cpu == 0)
    safe = k.kho.outgoing is not None or in_cma == pages
    skipped = safe and k.behaviour.kexec_digest_skipped
    parts = {"purgatory": 0 if skipped else booted, "boot": done.total_ns}
    steps: dict[Phase, Callable[[], None]] = {
        "purgatory": lambda: None if skipped or started_by_kexec(k) else check_successor(k, segments),
        "shutdown": lambda: shutdown(k),
        "relocation": lambda: k.charge("relocate_page" if preserve else "relocate_page_direct", pages - in_cma),
        "decompression": lambda: k.charge(f"decompress_byte_{packer}", plain),
    }
    for name, work in steps.items():
        start = clock.now
        with k.phase(name):
            work()
        parts[name] = parts.get(name, 0) + clock.now - start
    return {name: parts[name] for name in HOST_PARTS}


class Update:
    """One update of the host, guests and their peer; ``run()`` gives each guest's longest silence."""

    def __init__(self, guests: Guests, host: dict[str, int], costs: dict[str, Cost]) -> None:
        self.env = simpy.Environment()
        self.guests = guests
        self.host = host
        self._costs = costs
        self.paused = [0] * guests.count
        self.resumed = [0] * guests.count
        self.gaps = [0] * guests.count
        self.spent: list[dict[str, int]] = [{} for _ in range(guests.count)]

    def run(self) -> list[int]:
        """Longest silence the peer hears from each guest, ns."""
        self.env.run(until=self.env.process(self._host()))
        self.gaps = [self._gap(guest) for guest in range(self.guests.count)]
        return self.gaps

    def _ns(self, kind: str, count: int = 1) -> int:
        return round(count * self._costs[kind].ns)

    def _gap(self, guest: int) -> int:
        # Guests do not send in step with each other. A packet that is due when the guest is paused is sent before;
        # packets that were due meanwhile make one, when it is resumed.
        every = self.guests.packet_ns
        first = every * guest // self.guests.count
        last = first + (self.paused[guest] - first) // every * every
        return max(every, self.resumed[guest] - last)

    def _host(self) -> Process:
        yield self.env.timeout(max(WARM_UP_NS, 2 * self.guests.packet_ns))
        yield from self._for_all(self._save)
        for name in HOST_PARTS:
            yield self.env.timeout(self.host[name])
        yield self.env.timeout(self._ns("vmm_start"))
        yield from self._for_all(self._restore)

    def _for_all(self, work: Any) -> Process:
        places = simpy.Resource(self.env, self.guests.at_once)

        def one(guest: int) -> Process:
            with places.request() as place:
                yield place
                yield from work(guest)

        yield self.env.all_of([self.env.process(one(guest)) for guest in range(self.guests.count)])

    def _save(self, guest: int) -> Process:
        vcpus, gib = self.guests.vcpus, -(-self.guests.memory_bytes // GIB)
        self.paused[guest] = int(self.env.now)
        yield from self._part(guest, "pause", self._ns("vm_pause") + self._ns("vm_pause_vcpu", vcpus))
        state = self._ns("vm_snapshot") + self._ns("vm_snapshot_vcpu", vcpus)
        yield from self._part(guest, "snapshot", state + self._ns("vm_preserve_gib", gib))

    def _restore(self, guest: int) -> Process:
        work = self._ns("vm_restore") + self._ns("vm_restore_vcpu", self.guests.vcpus)
        yield from self._part(guest, "restore", work)
        yield from self._part(guest, "resume", self._ns("vm_resume"))
        self.resumed[guest] = int(self.env.now)

    def _part(self, guest: int, name: str, ns: int) -> Process:
        yield self.env.timeout(ns)
        self.spent[guest][name] = ns


def measure(spec: Case, variant: Variant | None, guests: Guests, packer: str, release: str = "",
            append: str = "", options: BootOptions | None = None) -> Downtime:  # fmt: skip
    """Boot the machine under a variant and update it with guests on it. InputError, MachineStopped as boot()."""
    guests.check()
    done = boot(spec, variant, release, append, options)
    check_fit(guests.count * guests.memory_bytes, guest_room(done.kernel), ROOM)
    host = host_parts(done, packer)
    name, mode = done.name, done.kernel.experiment.purgatory_digest
    digested = sum(done.kernel.ledger.count(kind) for kind in ("sha256_generic_byte", "sha256_accelerated_byte"))
    done.kernel.release_memory()
    costs = machine_costs(spec.name, spec.costs)
    update = Update(guests, host, costs)
    gaps = sorted(update.run())
    mean = {part: sum(spent[part] for spent in update.spent) / guests.count for part in update.spent[0]}
    parts = {**mean, **host, "vmm start": costs["vmm_start"].ns}
    return Downtime(
        variant=name,
        p50_ms=percentile(gaps, 50) / NS_PER_MS,
        p99_ms=percentile(gaps, 99) / NS_PER_MS,
        worst_ms=gaps[-1] / NS_PER_MS,
        parts_ms={part: round(parts[part] / NS_PER_MS, 3) for part in PARTS},
        boot_share=round(host["boot"] / percentile(gaps, 50), 4),
        gaps_ms=[gap / NS_PER_MS for gap in gaps],
        purgatory=mode,
        digested_bytes=digested,
        gives_up=LOSES[mode],
    )


def percentile(ordered: Sequence[int], percent: int) -> int:
    """Smallest value that at least ``percent`` per cent of the values do not exceed; values in ascending order."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def migrate(spec: Case, guests: Guests, link: Link) -> Migration:
    """Pre-copy migration of every guest in turn: rounds until what is left can be sent within the silence allowed.

    A guest that dirties memory as fast as the link carries it never gets there; it is stopped after MAX_ROUNDS.
    """
    link.check()
    left, spent_s, rounds = float(guests.memory_bytes), 0.0, 0
    while left / link.bytes_per_s > link.max_downtime_ns / 1e9 and rounds < MAX_ROUNDS:
        seconds = left / link.bytes_per_s
        spent_s += seconds
        left = min(float(guests.memory_bytes), link.dirty_bytes_per_s * seconds)
        rounds += 1
    stopped_s = left / link.bytes_per_s
    downtime_ms = stopped_s * 1e3 + machine_costs(spec.name, spec.costs)["migration_switchover"].ns / NS_PER_MS
    converged = stopped_s <= link.max_downtime_ns / 1e9
    return Migration(downtime_ms, guests.count * (spent_s * 1e3 + downtime_ms), rounds, converged)
