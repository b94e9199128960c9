"""``isolcpus=``, ``nohz_full=`` and ``rcu_nocbs=``: CPUs that are to be left alone, as masks in boot-time memory.

Source: kernel/sched/isolation.c, kernel/time/tick-sched.c, kernel/rcu/tree_nocb.h @ v6.12
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from hw.units import SMP_CACHE_BYTES
from minikern.core.moduleparam import Parameter, early_param, setup_param
from minikern.core.printk import Level
from minikern.mm.early.early_allocs import bitmap_bytes
from minikern.state.isolation import Isolation

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

TICK, DOMAIN, MANAGED_IRQ = "tick", "domain", "managed_irq"
NOHZ_FULL = (TICK, "wq", "timer", "rcu", "misc", "kthread")
ISOLCPUS_FLAGS = {"nohz": TICK, "domain": DOMAIN, "managed_irq": MANAGED_IRQ}
_REGION = re.compile(r"(?:all|(\d+)(?:-(\d+|N))?)(?::(\d+)/(\d+))?|N")


def parse_list(text: str, bits: int) -> set[int] | None:
    """Numbers below ``bits`` of ``0-3,8,16-N:1/2``; None if it cannot be read or goes beyond.

    Source: lib/bitmap-str.c:bitmap_parselist() @ v6.12
    """
    found: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text)):
        match = _REGION.fullmatch(part)
        if match is None:
            return None
        low, high, used, group = match.groups()
        start = bits - 1 if part == "N" else int(low or 0)
        end = start if high is None else bits - 1 if high == "N" else int(high)
        if part.startswith("all"):
            end = bits - 1
        take, of = (int(used), int(group)) if group else (1, 1)
        if start > end or end >= bits or not of or take > of:
            return None
        found |= {number for number in range(start, end + 1) if (number - start) % of < take}
    return found


def format_list(numbers: Iterable[int]) -> str:
    """Numbers as the log lists them: ``0-3,8``. Source: lib/vsprintf.c:bitmap_list_string() @ v6.12"""
    parts = []
    for _, run in groupby(enumerate(sorted(numbers)), lambda item: item[1] - item[0]):
        members = [number for _, number in run]
        parts.append(f"{members[0]}" if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ",".join(parts)


def _alloc_cpumask(k: Kernel) -> int:
    place = k.memblock.alloc(_mask_bytes(k), SMP_CACHE_BYTES)
    if place is None:
        raise MachineStopped("no memory for a CPU mask of the command line")
    return place


def _mask_bytes(k: Kernel) -> int:
    return bitmap_bytes(k.cpus.nr_cpu_ids)


def housekeeping_nohz_full_setup(k: Kernel, text: str) -> bool:
    """``nohz_full=``. Source: kernel/sched/isolation.c:housekeeping_nohz_full_setup() @ v6.12"""
    return _housekeeping_setup(k, text, NOHZ_FULL)


def housekeeping_isolcpus_setup(k: Kernel, text: str) -> bool:
    """``isolcpus=``. Source: kernel/sched/isolation.c:housekeeping_isolcpus_setup() @ v6.12"""
    flags: list[str] = []
    while text[:1].isalpha():
        word, comma, rest = text.partition(",")
        if comma and word in ISOLCPUS_FLAGS:
            flags.append(ISOLCPUS_FLAGS[word])
        elif not re.fullmatch(r"[A-Za-z_]+", word):
            k.printk(f"isolcpus: Invalid flag {word}", Level.WARNING)
            return False
        else:
            k.printk(f"isolcpus: Skipped unknown flag {word}")
        text = rest
    return _housekeeping_setup(k, text, flags or [DOMAIN])


def _housekeeping_setup(k: Kernel, text: str, kinds: Iterable[str]) -> bool:
    """Source: kernel/sched/isolation.c:housekeeping_setup() @ v6.12"""
    masks = [_alloc_cpumask(k)]
    isolated = parse_list(text, k.cpus.nr_cpu_ids)
    if isolated is None:
        k.printk("Housekeeping: nohz_full= or isolcpus= incorrect CPU range", Level.WARNING)
    else:
        masks.append(_alloc_cpumask(k))
    taken = isolated is not None and _set_housekeeping(k, isolated, set(kinds))
    for mask in reversed(masks):
        k.memblock.phys_free(mask, _mask_bytes(k))
    return taken


def _set_housekeeping(k: Kernel, isolated: set[int], kinds: set[str]) -> bool:
    state: Isolation = k.isolation
    rest = set(k.cpus.possible) - isolated
    if not rest & set(k.cpus.present):
        rest.add(0)
        isolated.discard(0)
        if not state.housekeeping:
            text = "Housekeeping: must include one present CPU, using boot CPU:0"
            k.printk(text, Level.WARNING)
    if not isolated:
        return False
    if any(state.housekeeping[kind] != rest for kind in kinds & state.housekeeping.keys()):
        k.printk("Housekeeping: nohz_full= must match isolcpus=", Level.WARNING)
        return False
    had_tick = TICK in state.housekeeping
    for kind in sorted(kinds - state.housekeeping.keys()):
        _alloc_cpumask(k)
        state.housekeeping[kind] = rest
    if TICK in kinds and not had_tick:
        _alloc_cpumask(k)
        state.nohz_full = isolated
    return True


def rcu_nocb_setup(k: Kernel, text: str) -> bool:
    """``rcu_nocbs``, ``rcu_nocbs=``. Source: kernel/rcu/tree_nocb.h:rcu_nocb_setup() @ v6.12"""
    _alloc_cpumask(k)
    k.isolation.nocb = set()
    if text.startswith("="):
        bits = k.cpus.nr_cpu_ids
        found = parse_list(text[1:], bits)
        if found is None:
            k.printk("rcu_nocbs= bad CPU range, all CPUs set", Level.WARNING)
            found = set(range(bits))
        k.isolation.nocb = found
    return True


def tick_nohz_init(k: Kernel) -> None:
    """Say which CPUs run without a tick; the boot CPU keeps the time. Source: kernel/time/tick-sched.c @ v6.12"""
    cpus = k.isolation.nohz_full
    if cpus is None:
        return
    if 0 in cpus:
        k.printk("NO_HZ: Clearing 0 from nohz_full range for timekeeping", Level.WARNING)
        cpus.discard(0)
    k.printk(f"NO_HZ: Full dynticks CPUs: {format_list(cpus)}.")


def rcu_init_nohz(k: Kernel) -> None:
    """Say whose RCU callbacks others run. Source: kernel/rcu/tree_nocb.h:rcu_init_nohz() @ v6.12"""
    state: Isolation = k.isolation
    if state.nocb is None and not state.nohz_full:
        return
    cpus = (state.nocb or set()) | (state.nohz_full or set())
    if not cpus <= set(k.cpus.possible):
        k.printk("rcu: \tNote: kernel parameter 'rcu_nocbs=', 'nohz_full', or 'isolcpus=' contains nonexistent CPUs.")
        cpus &= set(k.cpus.possible)
    k.printk(f"rcu: \tOffload RCU callbacks from CPUs: {format_list(cpus) or '(none)'}.")
    if k.cmdline.has("rcu_nocb_poll"):
        k.printk("rcu: \tPoll for callbacks from no-CBs CPUs.")


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    setup_param("nohz_full=", housekeeping_nohz_full_setup),
    setup_param("isolcpus=", housekeeping_isolcpus_setup),
    setup_param("rcu_nocbs", rcu_nocb_setup),
    setup_param("rcu_nocb_poll", read_by=rcu_init_nohz),
    early_param("rcu_nocb_poll", read_by=rcu_init_nohz),
)
