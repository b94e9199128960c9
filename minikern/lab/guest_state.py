"""What a guest is besides its memory: state of vCPUs and of emulated devices, in bytes and in calls that fetch it.

Sizes are those of the interfaces it goes through. Source: Linux include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/
kvm.h, Documentation/virt/kvm/api.rst @ v6.12; Virtual I/O Device 1.2, 4.1; PCI Local Bus Specification 3.0, 6.8.2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from hw.machine import cpuid_tables
from minikern.describe.case import Case
from minikern.lab.vms import VmGroup

XSAVE_BYTES = 4096  # struct kvm_xsave, unless the processor's state is larger (AMX)
XSAVE_LEAF = 0xD
MSRS = 150  # that a VMM saves: of about 230 in KVM's list, without those no guest was told of
MSR_BYTES = 16  # struct kvm_msr_entry

VCPU_PARTS = {
    "kvm_regs": 144, "kvm_sregs": 312, "kvm_xcrs": 392, "kvm_lapic_state": 1024, "kvm_debugregs": 128,
    "kvm_vcpu_events": 64, "kvm_mp_state": 4,
}  # fmt: skip
"""One structure and one call each, beside XSAVE state and MSRs."""
VM_PARTS = {"kvm_irqchip": 3 * 520, "kvm_pit_state2": 112, "kvm_clock_data": 48}
VM_CALLS = 5  # three interrupt chips, timer, clock

PCI_CONFIG_BYTES = 4096
VECTOR_BYTES = 16  # of an MSI-X table; one vector a queue and one for changes of configuration
COMMON_CONFIG_BYTES = 64  # struct virtio_pci_common_cfg
QUEUE_BYTES = 40  # three addresses, size, features, both indices
QUEUE_CALLS = 3  # its base, its eventfds for either direction


class Device(NamedTuple):
    """An emulated device: queues a vCPU, queues beside, and bytes of its own configuration."""

    queues_a_vcpu: int
    queues: int
    config_bytes: int


NIC = Device(2, 1, 24)  # receive and transmit, control; Source: Virtual I/O Device 1.2, 5.1.4
DISK = Device(1, 0, 96)  # Source: Virtual I/O Device 1.2, 5.2.4
OTHERS = {"console": Device(0, 4, 12), "entropy": Device(0, 1, 0), "balloon": Device(0, 3, 16)}
SERIAL_BYTES = 8


class State(NamedTuple):
    """Bytes, calls and MSRs of one guest, and how many devices it has."""

    vcpu_bytes: int
    device_bytes: int
    calls: int
    msrs: int
    devices: int

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.vcpu_bytes + self.device_bytes

    def work(self) -> Counter[str]:
        """What fetching it, or giving it back, takes."""
        return Counter(vm_state_call=self.calls, vm_state_msr=self.msrs, vm_state_byte=self.bytes)


def xsave_bytes(spec: Case) -> int:
    """Of one vCPU, if the host passes all its features on. Source: api.rst 4.42, 4.134; SDM volume 1, 13.2"""
    tables = cpuid_tables(spec.cpus)
    row = tables[0][1].get((XSAVE_LEAF, 0)) if tables else None
    return max(XSAVE_BYTES, row[1] if row else 0)


def guest_state(vm: VmGroup, xsave: int = XSAVE_BYTES) -> State:
    """The state of one guest."""
    one = sum(VCPU_PARTS.values()) + xsave + MSRS * MSR_BYTES
    devices = devices_of(vm)
    queues = [queues_of(device, vm.vcpus) for device in devices]
    held = [device_bytes(device, count) for device, count in zip(devices, queues, strict=True)]
    calls = vm.vcpus * (len(VCPU_PARTS) + 2) + VM_CALLS + QUEUE_CALLS * sum(queues)
    others = sum(VM_PARTS.values()) + SERIAL_BYTES
    return State(vm.vcpus * one, sum(held) + others, calls, vm.vcpus * MSRS, len(devices) + 1)


def devices_of(vm: VmGroup) -> Sequence[Device]:
    """Virtio devices of one guest."""
    return [NIC] * vm.nics + [DISK] * vm.disks + list(OTHERS.values())


def queues_of(device: Device, vcpus: int) -> int:
    """How many queues a device has."""
    return device.queues_a_vcpu * vcpus + device.queues


def device_bytes(device: Device, queues: int) -> int:
    """PCI configuration, MSI-X table, virtio's common and own configuration, and every queue."""
    vectors = queues + 1
    return PCI_CONFIG_BYTES + VECTOR_BYTES * vectors + COMMON_CONFIG_BYTES + device.config_bytes + QUEUE_BYTES * queues
