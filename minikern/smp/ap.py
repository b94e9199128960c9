"""What a started CPU does, from the C entry to the idle loop and its hotplug thread's last state.

Every function that takes time is a generator: these CPUs are SimPy processes that run beside the boot CPU.
Source: arch/x86/kernel/smpboot.c:start_secondary() @ v6.12 and v6.1; kernel/cpu.c @ v6.12
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import simpy

from minikern.core.printk import Level
from minikern.smp.apic import read_apic_id, setup_lint0, setup_local_apic, x2apic_enabled
from minikern.smp.calibrate import calibrate_delay_on
from minikern.smp.microcode import load_ucode_ap
from minikern.smp.siblings import set_cpu_sibling_map
from minikern.smp.states import StateTable, by_kind
from minikern.smp.topology import physical_die
from minikern.smp.tsc_sync import check_tsc_sync_target
from minikern.state.cpus import Cpuhp

if TYPE_CHECKING:
    from hw.clock import Clock
    from hw.cpu import CPU
    from minikern.core.kernel import Kernel

Steps = Generator[simpy.Event, None, None]


@dataclass
class ApSync:
    """How the control CPU and one starting CPU wait for each other: each event is one flag of the kernel's.

    ``alive`` and ``go_on`` are ALIVE and SHOULD_ONLINE of the new scheme's state word, or the initialized and callout
    masks of the old one.
    """

    alive: simpy.Event
    go_on: simpy.Event
    idle: simpy.Event  # AP_ONLINE_IDLE reached
    unpark: simpy.Event  # the hotplug thread may run the online states; value False: die instead
    done: simpy.Event
    state: str = "KICKED"

    @classmethod
    def new(cls, clock: Clock) -> ApSync:
        """All flags clear."""
        return cls(clock.event(), clock.event(), clock.event(), clock.event(), clock.event())


@dataclass
class ApRoom:
    """What the CPUs of one bring-up share."""

    table: StateTable
    scheme: str
    sync: dict[int, ApSync] = field(default_factory=dict)


def start_secondary(k: Kernel, room: ApRoom, nr: int, cpu: CPU) -> Steps:
    """The starting CPU number ``nr``, up to its death or its last online state."""
    sync = room.sync[nr]
    maps = k.cpus
    if sync.alive.triggered:
        # A CPU that comes so late that the control word already names another one: that one's state word never turns
        # to SHOULD_ONLINE again, and this CPU spins on it for good.
        k.mark(nr, "taken")
        yield k.machine.clock.event()
    maps.hardware[nr] = cpu
    if room.scheme == "serial-old":
        _report(k, nr, sync, sync.alive, "ALIVE")
        yield sync.go_on
        yield from load_ucode_ap(k, nr, cpu)
        yield from _smp_callin(k, room, nr, cpu)
        yield from calibrate_delay_on(k, nr, cpu)
        yield from _starting_states(k, room, nr)
        yield from check_tsc_sync_target(k, nr, cpu)
    else:
        yield from load_ucode_ap(k, nr, cpu)
        if sync.alive.triggered:
            k.mark(nr, "taken")
            yield k.machine.clock.event()
        _report(k, nr, sync, sync.alive, "ALIVE")
        yield sync.go_on
        yield from _smp_callin(k, room, nr, cpu)
        yield from _starting_states(k, room, nr)
        yield from check_tsc_sync_target(k, nr, cpu)
        yield from calibrate_delay_on(k, nr, cpu)
    insort(maps.online, nr)
    maps.state[nr] = Cpuhp.AP_ONLINE_IDLE
    _report(k, nr, sync, sync.idle, "AP_ONLINE_IDLE")
    keep = yield sync.unpark
    if keep:
        yield from _online_states(k, room, nr)
    else:
        _play_dead(k, nr)
    sync.done.succeed()


def _report(k: Kernel, nr: int, sync: ApSync, flag: simpy.Event, state: str) -> None:
    sync.state = state
    k.mark(nr, state)
    flag.succeed()


def _smp_callin(k: Kernel, room: ApRoom, nr: int, cpu: CPU) -> Steps:
    """APIC, CPU identification, sibling masks. Source: arch/x86/kernel/smpboot.c:ap_starting() @ v6.12"""
    maps = k.cpus
    setup_local_apic(cpu, x2apic_enabled(k.machine.boot_cpu))
    setup_lint0(k, nr, cpu)
    yield k.charge_on(nr, "local_apic_setup")
    yield k.charge_on(nr, "identify_cpu")
    _validate_ids(k, nr, cpu)
    set_cpu_sibling_map(k, nr, cpu)
    maps.booted_once.add(nr)


def _validate_ids(k: Kernel, nr: int, cpu: CPU) -> None:
    """Compare the APIC id with the firmware's, and give the CPU's package and die their logical numbers.

    Source: arch/x86/kernel/cpu/common.c:validate_apic_and_package_id() @ v6.1;
    arch/x86/kernel/cpu/topology_common.c:cpu_parse_topology() @ v6.12
    """
    maps = k.cpus
    actual, listed = read_apic_id(cpu), maps.apic_id[nr]
    if actual != listed:
        text = f"CPU{nr}: APIC id mismatch. Firmware: {listed:x} APIC: {actual:x}"
        if k.behaviour.apic_mismatch_line == "APIC ID":
            text = f"CPU{nr:4}: APIC ID mismatch. Firmware: 0x{listed:04x} APIC: 0x{actual:04x}"
        k.printk(f"[Firmware Bug]: {text}", Level.ERR)
    assign_logical_ids(k, nr)


def assign_logical_ids(k: Kernel, nr: int) -> None:
    """Number packages and dies as they are first seen; older kernels say so where the number changes.

    Source: arch/x86/kernel/smpboot.c:topology_update_package_map(), topology_update_die_map() @ v6.1
    """
    maps = k.cpus
    place = maps.ids[nr]
    if place.package not in maps.topo.logical_packages:
        new = maps.topo.logical_packages[place.package] = len(maps.topo.logical_packages)
        _say_converted(k, nr, place.package, "package", new)
    if (place.package, place.die) not in maps.topo.logical_dies:
        new = maps.topo.logical_dies[(place.package, place.die)] = len(maps.topo.logical_dies)
        _say_converted(k, nr, physical_die(k, nr), "die", new)


def _say_converted(k: Kernel, nr: int, physical: int, what: str, logical: int) -> None:
    if physical != logical and k.behaviour.logical_id_lines:
        k.printk(f"smpboot: CPU {nr} Converting physical {physical} to logical {what} {logical}")


def _starting_states(k: Kernel, room: ApRoom, nr: int) -> Steps:
    """notify_cpu_starting(): the STARTING section, interrupts off."""
    for kind, count in by_kind(room.table.starting):
        yield k.charge_on(nr, kind, count)


def _online_states(k: Kernel, room: ApRoom, nr: int) -> Steps:
    """The CPU's hotplug thread runs the ONLINE section. Source: kernel/cpu.c:cpuhp_thread_fun() @ v6.12"""
    maps = k.cpus
    yield k.charge_on(nr, "cpuhp_thread_wakeup")
    for kind, count in by_kind(room.table.online):
        yield k.charge_on(nr, kind, count)
    if not maps.smt.present and _siblings_online(k, nr) > 1:
        # The first sibling turns on the scheduler's SMT code paths. Source: kernel/sched/core.c:sched_cpu_activate()
        maps.smt.present = True
        yield k.charge_on(nr, "first_sibling_static_key")
    maps.state[nr] = Cpuhp.ONLINE
    k.mark(nr, "ONLINE")


def _siblings_online(k: Kernel, nr: int) -> int:
    maps = k.cpus
    place = maps.ids[nr]
    return len(maps.topo.smt_mask[(place.package, place.die, place.core)])


def _play_dead(k: Kernel, nr: int) -> None:
    """Take a CPU down again that may not stay (a sibling under ``nosmt``). Source: kernel/cpu.c:_cpu_up() @ v6.12"""
    maps = k.cpus
    maps.online.remove(nr)
    maps.remove_siblinginfo(nr)
    maps.state[nr] = Cpuhp.OFFLINE
    k.mark(nr, "OFFLINE")
