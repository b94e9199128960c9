"""Described machines for the tests."""

from __future__ import annotations

from typing import Any

from hw.acpi.spec import AcpiSpec
from hw.pci.spec import DeviceScope, DrhdSpec, HostBridgeSpec, PciSpec, WindowSpec
from hw.spec import CpuSpec, NodeMemory

GIB = 1 << 30


def server() -> tuple[AcpiSpec, dict[str, Any]]:
    """A two-socket server with 16 CPUs, three PCI roots and a remapping unit."""
    cpus = CpuSpec(count=16, sockets=2, cores=4, threads=2, enumeration="threads-last").topology()
    nodes = [
        (0, [0, 1, 2, 3, 8, 9, 10, 11], [NodeMemory(0, 2 * GIB), NodeMemory(4 * GIB, 6 * GIB)]),
        (1, [4, 5, 6, 7, 12, 13, 14, 15], [NodeMemory(10 * GIB, 8 * GIB, hotplug=True)]),
    ]
    roots = [
        HostBridgeSpec(
            first_bus=16 * number,
            last_bus=16 * number + 15,
            name=f"PC{number:02X}",
            uid=number,
            windows=[
                WindowSpec("io", 0x1000 * number, 0x1000 * number + 0xFFF),
                WindowSpec("mem", 0x9000_0000 + (number << 24), 0x90FF_FFFF + (number << 24)),
                WindowSpec("mem", (number + 1) << 40, ((number + 2) << 40) - 1, prefetch=True),
            ],
        )
        for number in range(3)
    ]
    drhd = [
        DrhdSpec(base=0xFB00_0000, scopes=[DeviceScope(2, 0x10, [(1, 0)])]),
        DrhdSpec(base=0xFC00_0000, include_all=True, scopes=[DeviceScope(3, 0, [(0x1F, 0)], 2)]),
    ]
    pci = PciSpec(ecam_base=0x8000_0000, ecam_end_bus=0x2F, host_bridges=roots, drhd=drhd)
    spec = AcpiSpec(base=0x6A00_0000, size=1 << 20, aml="server", oem_loads=2, oem_id="INTEL", boot_arch=0x13)
    return spec, {"cpus": cpus, "nodes": nodes, "distances": [[10, 21], [21, 10]], "pci": pci}
