"""What each kind of guest takes by itself: state saved and given back, and IOMMU tables rebuilt or kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hw.units import NS_PER_MS
from minikern.core.cost_table import machine_costs
from minikern.describe.case import Case
from minikern.lab import guest_iommu
from minikern.lab.bands import Band, doubts_of, time_band
from minikern.lab.guest_iommu import Domains, domain_pages
from minikern.lab.guest_state import guest_state, xsave_bytes
from minikern.lab.guest_work import Work, cost_ns
from minikern.lab.spent import Spent
from minikern.lab.vms import VmGroup


class Figure(msgspec.Struct, frozen=True):
    """Simulated ms, and where 80 % of what is believed lies."""

    ms: float
    band: Band | None


class GuestCosts(msgspec.Struct, frozen=True):
    """One guest of a group. ``state`` is once through its state, out or in; the IOMMU's are null without a device."""

    count: int
    memory: str
    vcpus: int
    vfio: int
    vcpu_state_bytes: int
    device_state_bytes: int
    state_calls: int
    state: Figure
    iommu_table_pages: int
    iommu_mapped_folios: int
    iommu_rebuilt: Figure | None
    iommu_kept: Figure | None
    device_reset: Figure | None  # part of what is rebuilt


def guest_costs(spec: Case, groups: Sequence[VmGroup]) -> list[GuestCosts]:
    """Of every group, in their order."""
    xsave = xsave_bytes(spec)
    found = []
    for vm in groups:
        state = guest_state(vm, xsave)
        rebuilt, kept = (_iommu(vm, domains) for domains in ("rebuilt", "kept"))
        found.append(
            GuestCosts(
                vm.count, vm.memory, vm.vcpus, vm.vfio, state.vcpu_bytes, state.device_bytes, state.calls,
                figure_of(spec, state.work()), domain_pages(vm), vm.folios if vm.vfio else 0,
                figure_of(spec, rebuilt) if vm.vfio else None, figure_of(spec, kept) if vm.vfio else None,
                figure_of(spec, Work(vfio_device_reset=vm.vfio)) if vm.vfio else None,
            )
        )  # fmt: skip
    return found


def _iommu(vm: VmGroup, domains: Domains) -> Work:
    return guest_iommu.save_work(vm, domains) + guest_iommu.restore_work(vm, domains)


def figure_of(spec: Case, work: Mapping[str, int]) -> Figure:
    """What that work takes on a machine."""
    spent = Spent(cost_ns(work, machine_costs(spec.name, spec.costs)))
    return Figure(round(spent.ns / NS_PER_MS, 3), time_band(spent.ns, spent, doubts_of(spec)))
