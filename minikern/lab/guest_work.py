"""What is done for guests around a kexec, as pieces of work, and the processes that do it beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import simpy

from hw.units import MIB
from minikern.core.costs import Cost
from minikern.lab.vms import VmGroup

Way = Literal["kho", "dax", "file"]
Work = Counter[str]
"""Pieces of work by kind."""
Process = Generator[simpy.Event, Any, None]

DAX_PAGES_A_FOLIO = 128  # struct pages written for each; Source: mm/mm_init.c:compound_nr_pages() @ v6.12


def save_work(vm: VmGroup, way: Way) -> dict[str, Work]:
    """What is done for one guest before the kexec, by part."""
    kept = {"kho": Work(kho_preserve_block=vm.folios), "dax": Work(), "file": Work(vm_store_mib=_mib(vm))}[way]
    return {
        "pause": Work(vm_pause=1, vm_pause_vcpu=vm.vcpus),
        "snapshot": Work(vm_snapshot=1, vm_snapshot_vcpu=vm.vcpus) + kept,
    }


def restore_work(vm: VmGroup, way: Way) -> dict[str, Work]:
    """What is done for one guest after it, by part. A passed-through device is reset, its mappings are made anew."""
    found = {
        "kho": Work(kho_radix_key=vm.folios),
        "dax": Work(dax_page_init=vm.folios * DAX_PAGES_A_FOLIO if vm.pages != "4K" else vm.folios),
        "file": Work(vm_load_mib=_mib(vm)),
    }[way]
    devices = Work(vfio_device_reset=vm.vfio, iommu_map_folio=vm.vfio and vm.folios)
    return {
        "restore": Work(vm_restore=1, vm_restore_vcpu=vm.vcpus) + found,
        "devices": devices,
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
        self, groups: Sequence[VmGroup], way: Way, host_ns: int, costs: Mapping[str, Cost], at_once: int
    ) -> None:
        self.env = simpy.Environment()
        self.vms = [group for group in groups for _ in range(group.count)]
        self.way, self.host_ns, self.costs = way, host_ns, costs
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

    def _host(self) -> Process:
        yield self.env.all_of([self.env.process(self._save(index)) for index in range(len(self.vms))])
        yield self.env.timeout(self.host_ns)
        yield self.env.timeout(round(self.costs["vmm_start"].ns))
        yield self.env.all_of([self.env.process(self._restore(index)) for index in range(len(self.vms))])

    def _save(self, index: int) -> Process:
        vm = self.vms[index]
        with self.slots.request() as slot:
            yield slot
            self.paused[index] = int(self.env.now)
            for work in save_work(vm, self.way).values():
                yield from self._do(work)

    def _restore(self, index: int) -> Process:
        vm = self.vms[index]
        with self.slots.request() as slot:
            yield slot
            for work in restore_work(vm, self.way).values():
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
