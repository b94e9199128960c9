"""Bringing up the secondary CPUs: the boot CPU's side, in the old order and the split one.

Source: kernel/smp.c:smp_init(), kernel/cpu.c, arch/x86/kernel/smpboot.c @ v6.1 and v6.12
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import simpy

from hw.units import NS_PER_MS
from minikern.core.moduleparam import Parameter, early_param, needs_bool
from minikern.core.printk import Level
from minikern.smp.announce import Announcer
from minikern.smp.ap import ApRoom, ApSync, assign_logical_ids, start_secondary
from minikern.smp.apic import apic_id_valid
from minikern.smp.bugs import smt_lines
from minikern.smp.calibrate import bogomips, next_tick, tick_ns
from minikern.smp.cpuinfo import cpu_info_text
from minikern.smp.madt_wakeup import acpi_wakeup_cpu, wakes_by_mailbox
from minikern.smp.siblings import set_cpu_sibling_map
from minikern.smp.states import TABLES, by_kind
from minikern.smp.trampoline import Trampoline, install_trampoline, set_smpboot_control
from minikern.smp.wakeup import wakeup_secondary_cpu_via_init
from minikern.state.cpus import Cpuhp, CpuMaps, IntrMode

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

ALIVE_TIMEOUT_NS = 10_000 * NS_PER_MS  # Source: cpuhp_wait_for_sync_state() @ v6.12, do_boot_cpu() @ v6.1
POLL_NS = NS_PER_MS  # polled without sleeping for that long. Source: cpuhp_wait_for_sync_state() @ v6.12
EIO, ECANCELED, EINVAL = 5, 125, 22


@dataclass
class Bringup:
    """One run of smp_init()."""

    k: Kernel
    maps: CpuMaps
    room: ApRoom
    trampoline: Trampoline
    parallel: bool
    announcer: Announcer = field(default_factory=Announcer)


def smp_prepare_cpus(k: Kernel) -> None:
    """Get the boot CPU ready to start others: its line, its places in the masks, the APIC timer's calibration.

    Source: arch/x86/kernel/smpboot.c:native_smp_prepare_cpus() @ v6.12
    """
    maps = k.cpus
    with k.phase("smp"):
        assign_logical_ids(k, 0)
        set_cpu_sibling_map(k, 0, k.machine.boot_cpu)
        if not maps.boot_listed:
            apic_id = maps.apic_id[0]
            k.printk(f"smpboot: weird, boot CPU (#{apic_id}) not listed by the BIOS", Level.WARNING)
        without = (IntrMode.PIC, IntrMode.VIRTUAL_WIRE_NO_CONFIG, IntrMode.SYMMETRIC_IO_NO_ROUTING)
        up = maps.apic.intr_mode in without or maps.setup_max_cpus == 0
        if up:
            k.printk("smpboot: SMP disabled")
            maps.possible, maps.present = [0], [0]
        if maps.apic.intr_mode not in (IntrMode.PIC, IntrMode.VIRTUAL_WIRE_NO_CONFIG):
            _setup_boot_apic_clock(k)
        if not up:
            k.printk(f"smpboot: CPU0: {cpu_info_text(maps.boot)}")


def _setup_boot_apic_clock(k: Kernel) -> None:
    """Measure the APIC timer over HZ/10 ticks unless its rate is known.

    Source: arch/x86/kernel/apic/apic.c:calibrate_APIC_clock() @ v6.12
    """
    maps = k.cpus
    if maps.boot.has("tsc_deadline_timer") or maps.tsc.lapic_timer_period:
        return
    clock = k.machine.clock
    loops = k.config.number("CONFIG_HZ") // 10
    started, since = clock.now, k.point()
    spent = next_tick(k, started) + loops * tick_ns(k) - started
    clock.advance(spent)
    k.book_span(0, "lapic_calibration_ns", spent, started, spent)
    k.turn("tick", since)


def smp_init(k: Kernel) -> None:
    """Bring up the secondary CPUs and report. CPUs that fail are reported and left out.

    Source: kernel/smp.c:smp_init() @ v6.12
    """
    maps = k.cpus
    with k.phase("smp"):
        k.printk("smp: Bringing up secondary CPUs ...")
        if maps.setup_max_cpus and len(maps.present) > 1:
            _bringup_nonboot_cpus(_new_bringup(k))
        nodes, cpus = max(1, len(_online_nodes(k))), len(maps.online)
        k.printk(f"smp: Brought up {nodes} node{_plural(nodes)}, {cpus} CPU{_plural(cpus)}")
        _smp_cpus_done(k)


def _online_nodes(k: Kernel) -> list[int]:
    """Nodes with memory, or with a CPU there may be. Source: arch/x86/mm/numa.c:init_cpu_to_node() @ v6.12"""
    with_cpus = {k.numa.apic_to_node(apic_id) for apic_id in k.cpus.apic_id.values()}
    return [node.nid for node in k.nodes if node.present_pages or node.nid in with_cpus]


def _plural(count: int) -> str:
    return "s" if count > 1 else ""


def _new_bringup(k: Kernel) -> Bringup:
    scheme = k.behaviour.smp_scheme
    room = ApRoom(TABLES[scheme], scheme)
    parallel = scheme == "split" and k.cmdline.get_bool("cpuhp.parallel", True)
    trampoline = install_trampoline(k, partial(start_secondary, k, room))
    return Bringup(k, k.cpus, room, trampoline, parallel)


def _smp_cpus_done(k: Kernel) -> None:
    """Source: arch/x86/kernel/smpboot.c:native_smp_cpus_done() @ v6.1, v6.12"""
    maps = k.cpus
    if k.behaviour.max_logical_packages:
        k.printk(f"smpboot: Max logical packages: {_max_logical_packages(maps)}")
    total = sum(maps.lpj.get(cpu, 0) for cpu in maps.online)
    hz = k.config.number("CONFIG_HZ")
    k.printk(f"smpboot: Total of {len(maps.online)} processors activated ({bogomips(total, hz)} BogoMIPS)")


def _max_logical_packages(maps: CpuMaps) -> int:
    # Source: arch/x86/kernel/smpboot.c:calculate_max_logical_packages() @ v6.1
    package = maps.ids[0].package
    booted_cores = sum(1 for core, threads in maps.topo.smt_mask.items() if core[0] == package and threads)
    threads = max(len(threads) for threads in maps.topo.smt_mask.values())
    maps.topo.max_logical_packages = -(-maps.total_cpus // (booted_cores * threads))
    return maps.topo.max_logical_packages


def _bringup_nonboot_cpus(run: Bringup) -> None:
    """Source: kernel/cpu.c:bringup_nonboot_cpus(), cpuhp_bringup_cpus_parallel() @ v6.12"""
    maps = run.maps
    left = maps.setup_max_cpus
    if run.room.scheme == "serial-old":
        for cpu in maps.present[1:]:
            if len(maps.online) >= left:
                break
            _cpu_up(run, cpu, Cpuhp.ONLINE)
        return
    mask = maps.present
    if not run.parallel:
        _bringup_mask(run, mask, left, Cpuhp.ONLINE)
        return
    if maps.topo.threads_per_core > 1 and any(not maps.is_primary_thread(cpu) for cpu in mask):
        primaries = [cpu for cpu in mask if maps.is_primary_thread(cpu)]
        _bringup_mask(run, primaries, left, Cpuhp.BP_KICK_AP)
        _bringup_mask(run, primaries, left, Cpuhp.ONLINE)
        left -= len(maps.online)
        if left <= 0:
            return
        mask = [cpu for cpu in mask if not maps.is_primary_thread(cpu)]
    _bringup_mask(run, mask, left, Cpuhp.BP_KICK_AP)
    _bringup_mask(run, mask, left, Cpuhp.ONLINE)


def _bringup_mask(run: Bringup, mask: list[int], count: int, target: Cpuhp) -> None:
    """Take the first ``count`` CPUs of ``mask`` to ``target``; CPU 0 counts though it is up already."""
    for cpu in mask[:count]:
        if _cpu_up(run, cpu, target):
            run.maps.state[cpu] = Cpuhp.OFFLINE
            run.k.mark(cpu, "OFFLINE")


def _cpu_up(run: Bringup, cpu: int, target: Cpuhp) -> int:
    """Take one CPU up to ``target``; 0 or a negative error number. Source: kernel/cpu.c:cpu_up(), _cpu_up()"""
    maps, table = run.maps, run.room.table
    if table.position(maps.state[cpu]) >= table.position(target):
        return 0
    if not _cpu_bootable(maps, cpu):
        return -ECANCELED
    if maps.state[cpu] == Cpuhp.OFFLINE:
        error = _prepare_and_kick(run, cpu)
        if error or target == "BP_KICK_AP":
            return error
    error = _bringup_cpu(run, cpu)
    if not error:
        _arch_smt_update(run.k)
    return error


def _cpu_bootable(maps: CpuMaps, cpu: int) -> bool:
    """Under ``nosmt`` a sibling is booted once, so that it can be told to behave, and not kept.

    Source: kernel/cpu.c:cpu_bootable() @ v6.12
    """
    return not maps.smt.disabled or maps.is_primary_thread(cpu) or cpu not in maps.booted_once


def _prepare_and_kick(run: Bringup, cpu: int) -> int:
    """The PREPARE section on the control CPU, and the wake-up."""
    for kind, count in by_kind(run.room.table.prepare):
        run.k.charge(kind, count)
    return native_kick_ap(run, cpu)


def native_kick_ap(run: Bringup, cpu: int) -> int:
    """Start ``cpu`` on its way through the trampoline; a negative errno if it cannot be.

    Source: arch/x86/kernel/smpboot.c:native_kick_ap(), do_boot_cpu() @ v6.12
    """
    k, maps = run.k, run.maps
    apic_id = maps.apic_id[cpu]
    if not apic_id_valid(k.machine.boot_cpu, apic_id):
        text = f"CPU {cpu} has invalid APIC ID {apic_id:x}. Aborting bringup"
        if run.room.scheme == "serial-old":
            text = f"native_cpu_up: bad cpu {cpu}"
        k.printk(f"smpboot: {text}", Level.ERR)
        return -EINVAL
    run.announcer.announce_cpu(k, cpu)
    run.room.sync[cpu] = ApSync.new(k.machine.clock)
    set_smpboot_control(k, run.trampoline, None if run.parallel else cpu)
    if wakes_by_mailbox(k):
        error = acpi_wakeup_cpu(k, cpu, apic_id, run.trampoline.start64)
    else:
        error = wakeup_secondary_cpu_via_init(k, cpu, apic_id, run.trampoline.vector)
    if error:
        return _boot_failed(k, cpu, error)
    maps.state[cpu] = Cpuhp.BRINGUP_CPU if run.room.scheme == "serial-old" else Cpuhp.BP_KICK_AP
    return 0


def _boot_failed(k: Kernel, cpu: int, error: int) -> int:
    k.printk(f"smpboot: do_boot_cpu failed({error}) to wakeup CPU#{cpu}", Level.ERR)
    return -EIO


def _bringup_cpu(run: Bringup, cpu: int) -> int:
    """Meet the started CPU and see it through to ONLINE. Source: kernel/cpu.c:bringup_cpu() @ v6.12"""
    k, maps, sync = run.k, run.maps, run.room.sync[cpu]
    if not _wait_alive(run, sync):
        maps.state[cpu] = Cpuhp.OFFLINE
        if run.room.scheme == "serial-old":
            return _boot_failed(k, cpu, -1)
        k.printk(f"CPU{cpu} failed to report alive state", Level.ERR)
        return -EIO
    k.mark(cpu, "SHOULD_ONLINE")
    sync.go_on.succeed()
    _wait(k, sync.idle)
    keep = _cpu_bootable(maps, cpu)
    sync.unpark.succeed(keep)
    if keep:
        k.charge("cpuhp_thread_wakeup")
    _wait(k, sync.done)
    return 0 if keep else -ECANCELED


def _wait_alive(run: Bringup, sync: ApSync) -> bool:
    """Wait for the CPU's first sign of life; False after 10 s.

    The old code counts ticks, yields between looks and sees it at once. The new one looks all the time for 1 ms and
    then sleeps 1 to 2 ms between looks, which without high-resolution timers ends at a tick.
    Source: arch/x86/kernel/smpboot.c:do_boot_cpu() @ v6.1; kernel/cpu.c:cpuhp_wait_for_sync_state() @ v6.12
    """
    k = run.k
    clock = k.machine.clock
    if sync.alive.triggered:
        return True
    started = clock.now
    patience = ALIVE_TIMEOUT_NS
    if run.room.scheme == "serial-old":
        patience -= started % tick_ns(k)
    k.wait(simpy.AnyOf(clock.env, [sync.alive, clock.timeout(patience)]))
    if run.room.scheme != "serial-old" and clock.now - started > POLL_NS:
        woken = next_tick(k, started + 2 * POLL_NS - 1)
        while woken < clock.now:
            woken = next_tick(k, woken)
        clock.advance(woken - clock.now)
    _book_wait(k, started)
    return sync.alive.triggered and clock.now - started < patience


def _wait(k: Kernel, event: simpy.Event) -> None:
    started = k.machine.clock.now
    k.wait(event)
    _book_wait(k, started)


def _book_wait(k: Kernel, started: int) -> None:
    spent = k.machine.clock.now - started
    k.book_span(0, "smp_wait_ns", spent, started, spent)


def _arch_smt_update(k: Kernel) -> None:
    """Once SMT is in use, say what that leaves open. Source: arch/x86/kernel/cpu/bugs.c:cpu_bugs_smt_update()"""
    maps = k.cpus
    if maps.smt.present and not maps.smt.messages_done:
        maps.smt.messages_done = True
        for line in smt_lines(k, maps.boot):
            k.printk(line, Level.WARNING)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("cpuhp.parallel", needs_bool, read_by=smp_init),
)
