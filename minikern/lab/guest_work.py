"""What is done for guests around a kexec, as pieces of work, and the processes that do it beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import simpy

from hw.units import MIB
from minikern.core.costs import Cost
from minikern.lab import guest_iommu
from minikern.lab.guest_iommu import Domains
from minikern.lab.guest_state import XSAVE_BYTES, guest_state
from minikern.lab.vms import VmGroup

Way = Literal["kho", "dax", "file"]
Work = Counter[str]
"""Pieces of work by kind."""
Process = Generator[simpy.Event, Any, None]

DAX_PAGES_A_FOLIO = 128  # struct pages written for each; Source: mm/mm_init.c:compound_nr_pages() @ v6.12


def save_work(vm: VmGroup, way: Way, domains: Domains = "rebuilt", xsave: int = XSAVE_BYTES) -> dict[str, Work]:
    """What is done for one guest before the kexec, by part."""
    state = guest_state(vm, xsave)
    kept = {"kho": Work(kho_preserve_block=vm.folios), "dax": Work(), "file": Work(vm_store_mib=_mib(vm))}[way]
    return {
        "pause": Work(vm_pause=1, vm_pause_vcpu=vm.vcpus, vm_device_stop=state.devices),
        "snapshot": Work(vm_describe=1) + state.work() + kept,
        "devices off": guest_iommu.save_work(vm, domains),
    }


def restore_work(vm: VmGroup, way: Way, domains: Domains = "rebuilt", xsave: int = XSAVE_BYTES) -> dict[str, Work]:
    """What is done for one guest after it, by part."""
    state = guest_state(vm, xsave)
    found = {
        "kho": Work(kho_radix_key=vm.folios),
        "dax": Work(dax_page_init=vm.folios * DAX_PAGES_A_FOLIO if vm.pages != "4K" else vm.folios),
        "file": Work(vm_load_mib=_mib(vm)),
    }[way]
    return {
        "restore": Work(vm_restore=1, vm_create_vcpu=vm.vcpus, vm_device_start=state.devices) + state.work() + found,
        "devices on": guest_iommu.restore_work(vm, domains),
        "resume": Work(vm_resume=1),
    }


def _mib(vm: VmGroup) -> int:
    return -(-vm.memory_bytes // MIB)


def cost_ns(work: Mapping[str, int], costs: Mapping[str, Cost]) -> dict[str, float]:
    """Simulated ns by kind."""
    return {kind: count * costs[kind].ns for kind, count in work.items() if count}


class Update:
    """Processes of one update; ``run()`` gives each guest's silence in ns, group by group."""

    def __init__(
        self, groups: Sequence[VmGroup], way: Way, host_ns: int, costs: Mapping[str, Cost], at_once: int,
        domains: Domains = "rebuilt", xsave: int = XSAVE_BYTES,
    ) -> None:  # fmt: skip
        self.env = simpy.Environment()
        self.vms = [group for group in groups for _ in range(group.count)]
        self._group = [number for number, group in enumerate(groups) for _ in range(group.count)]
        self.host_ns, self.costs = host_ns, costs
        self._how = way, domains, xsave
        self.slots = simpy.Resource(self.env, at_once)
        self.disk = simpy.Resource(self.env, 1)  # a disk's rate is shared by all who use it
        self.paused = [0] * len(self.vms)
        self.silent = [0] * len(self.vms)
        self.saved_ns = [0] * len(self.vms)
        self.total_ns = 0

    def run(self) -> list[int]:
        """Run it to its end."""
        self.env.run(until=self.env.process(self._host()))
        self.total_ns = int(self.env.now)
        return self.silent

    def members(self, group: int) -> list[int]:
        """Which guests are of that group."""
        return [index for index, number in enumerate(self._group) if number == group]

    def saving(self, index: int) -> dict[str, Work]:
        """What is done for a guest before the kexec, by part."""
        return save_work(self.vms[index], *self._how)

    def restoring(self, index: int) -> dict[str, Work]:
        """What is done for it afterwards."""
        return restore_work(self.vms[index], *self._how)

    def _host(self) -> Process:
        yield self.env.all_of([self.env.process(self._save(index)) for index in range(len(self.vms))])
        yield self.env.timeout(self.host_ns)
        yield self.env.timeout(round(self.costs["vmm_start"].ns))
        yield self.env.all_of([self.env.process(self._restore(index)) for index in range(len(self.vms))])

    def _save(self, index: int) -> Process:
        with self.slots.request() as slot:
            yield slot
            self.paused[index] = int(self.env.now)
            for work in self.saving(index).values():
                yield from self._do(work)

    def _restore(self, index: int) -> Process:
        vm = self.vms[index]
        with self.slots.request() as slot:
            yield slot
            for work in self.restoring(index).values():
                yield from self._do(work)
        # The last packet before the pause was up to one interval old, here half of one.
        self.silent[index] = int(self.env.now) - self.paused[index] + 500 * vm.packet_us

    def _do(self, work: Work) -> Process:
        for kind, ns in cost_ns(work, self.costs).items():
            if kind in ("vm_store_mib", "vm_load_mib"):
                with self.disk.request() as turn:
                    yield turn
                    yield self.env.timeout(round(ns))
            else:
                yield self.env.timeout(round(ns))
