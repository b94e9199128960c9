"""What a guest is besides memory: against the compiler's sizes, and against tables walked entry by entry."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec import CpuidDump
from hw.units import GIB, MIB, PAGE_SIZE
from minikern.core.cost_table import default_costs
from minikern.describe.presets import load_machine
from minikern.lab import guest_iommu
from minikern.lab.guest_costs import guest_costs
from minikern.lab.guest_iommu import domain_pages, table_pages
from minikern.lab.guest_state import (
    MSR_BYTES,
    VCPU_PARTS,
    VM_PARTS,
    XSAVE_BYTES,
    guest_state,
    xsave_bytes,
)
from minikern.lab.guest_work import Update, cost_ns
from minikern.lab.vms import VmGroup


def test_state_grows_with_what_a_guest_has() -> None:
    plain = guest_state(VmGroup("1G", vcpus=2, nics=0, disks=0))
    assert plain.vcpu_bytes == 2 * guest_state(VmGroup("1G", vcpus=1)).vcpu_bytes
    nic, disk = (guest_state(VmGroup("1G", vcpus=2, nics=n, disks=d)) for n, d in ((1, 0), (0, 1)))
    assert nic.device_bytes > disk.device_bytes > plain.device_bytes and nic.devices == plain.devices + 1
    assert nic.calls - plain.calls == 3 * 5  # two queues a vCPU and one for control
    assert plain.work() == Counter(vm_state_call=plain.calls, vm_state_msr=300, vm_state_byte=plain.bytes)


def test_memory_changes_nothing_of_it() -> None:
    assert guest_state(VmGroup("1G")) == guest_state(VmGroup("1024G"))


def test_a_processor_with_more_state_hands_more_of_it_on() -> None:
    spec = load_machine("tiny")
    assert xsave_bytes(spec) == XSAVE_BYTES
    spec.cpus = msgspec.structs.replace(spec.cpus, cpuid=[CpuidDump(rows=[(0xD, 0, 7, 11008, 11008, 0)])])
    assert xsave_bytes(spec) == 11008


@pytest.mark.oracle
def test_sizes_are_the_compilers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    names = [*VCPU_PARTS, "kvm_xsave", "kvm_msr_entry", "kvm_irqchip", "kvm_pit_state2", "kvm_clock_data"]
    lines = "".join(f'printf("%zu\\n", sizeof(struct {name}));' for name in names)
    (tmp_path / "sizes.c").write_text(f"#include <stdio.h>\n#include <linux/kvm.h>\nint main(void){{{lines}}}\n")
    if compiler is None:
        pytest.skip("no gcc")
    built = subprocess.run([compiler, tmp_path / "sizes.c", "-o", tmp_path / "sizes"], capture_output=True, check=False)
    if built.returncode:
        pytest.skip("no linux/kvm.h")
    told = map(int, subprocess.run([tmp_path / "sizes"], capture_output=True, check=True, text=True).stdout.split())
    ours = {**VCPU_PARTS, **VM_PARTS, "kvm_xsave": XSAVE_BYTES, "kvm_msr_entry": MSR_BYTES,
            "kvm_irqchip": VM_PARTS["kvm_irqchip"] // 3}  # fmt: skip
    assert [ours[name] for name in names] == list(told)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.sampled_from([PAGE_SIZE, 2 * MIB, GIB]))
def test_table_pages_against_a_walk(folios: int, folio: int) -> None:
    """Every leaf entry lies in one table, which lies in one table, up to the root."""
    tables = set()
    for number in range(folios):
        address = number * folio
        for level in range(4):
            if folio < 1 << 21 + 9 * level:
                tables.add((level, address >> 21 + 9 * level))
    assert table_pages(folios * folio, folio) == len(tables)


def test_sixteen_gib() -> None:
    assert table_pages(16 * GIB, 2 * MIB) == 16 + 1 + 1
    assert table_pages(16 * GIB, PAGE_SIZE) == 8192 + 16 + 1 + 1
    assert domain_pages(VmGroup("16G")) == 0 and domain_pages(VmGroup("16G", vfio=3)) == 18


def test_kept_domains_need_neither_reset_nor_mapping() -> None:
    vm = VmGroup("16G", vfio=2, pages="4K")
    rebuilt, kept = (guest_iommu.restore_work(vm, how) for how in ("rebuilt", "kept"))  # type: ignore[arg-type]
    assert rebuilt["iommu_map_folio"] == 4 * GIB // 1024 and rebuilt["vfio_device_reset"] == 2
    assert kept["kho_radix_key"] == guest_iommu.save_work(vm, "kept")["kho_preserve_block"] == domain_pages(vm)
    assert not kept["vfio_device_reset"] and not guest_iommu.save_work(vm, "rebuilt").total()
    silent = [Update([vm], "kho", 0, default_costs(), 8, how).run()[0] for how in ("rebuilt", "kept")]  # type: ignore[arg-type]
    saved = sum(cost_ns(rebuilt, default_costs()).values()) - sum(cost_ns(kept, default_costs()).values())
    assert silent[0] - silent[1] == pytest.approx(saved - 41 * domain_pages(vm), abs=9)


def test_every_figure_has_its_interval() -> None:
    (one,) = guest_costs(load_machine("lpc2023"), [VmGroup("16G", vcpus=8, vfio=1)])
    for figure in (one.state, one.iommu_rebuilt, one.device_reset):
        assert figure is not None and figure.band is not None
        assert figure.band.low_ms < figure.ms < figure.band.high_ms
    assert one.iommu_kept is not None and one.iommu_rebuilt is not None and one.iommu_kept.ms < one.iommu_rebuilt.ms
    (plain,) = guest_costs(load_machine("lpc2023"), [VmGroup("16G")])
    assert plain.iommu_rebuilt is None and plain.iommu_table_pages == 0
