from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from hw.acpi.layout import TableIds, sdt
from hw.pci.spec import DeviceScope, DrhdSpec, HostBridgeSpec, PciFunctionSpec, PciSpec
from tests.naive_pci import Node, iommu_groups
from tests.pci.small import SmallKernel

BASES = (0xFED9_0000, 0xFED9_1000, 0xFED9_2000)
ON = "intel_iommu=on"


def machine(functions: list[PciFunctionSpec], drhd: list[DrhdSpec] | None = None) -> PciSpec:
    units = [DrhdSpec(base=BASES[0], include_all=True)] if drhd is None else drhd
    host = HostBridgeSpec(first_bus=0, last_bus=0xFF)
    return PciSpec(ecam_base=0xE000_0000, host_bridges=[host], functions=functions, drhd=units)


def grouped(kernel: SmallKernel) -> dict[str, int]:
    found = {}
    for line in kernel.class_lines("Adding to iommu group"):
        words = line.split()
        found[words[1].rstrip(":").removeprefix("0000:")] = int(words[-1])
    return found


def test_explicit_units_come_last_to_first_and_the_catch_all_at_the_end() -> None:
    functions = [PciFunctionSpec(bdf=f"00:0{i}.0", id="8086:0001", kind="rciep") for i in range(4)]
    drhd = [
        DrhdSpec(base=BASES[0], include_all=True),
        DrhdSpec(base=BASES[1], scopes=[DeviceScope(1, 0, [(1, 0)])]),
        DrhdSpec(base=BASES[2], scopes=[DeviceScope(1, 0, [(3, 0)])]),
    ]
    kernel = SmallKernel(machine(functions, drhd), ON).boot()
    assert grouped(kernel) == {"00:03.0": 0, "00:01.0": 1, "00:00.0": 2, "00:02.0": 3}
    assert list(grouped(kernel)) == ["00:03.0", "00:01.0", "00:00.0", "00:02.0"]


def test_bridge_scope_covers_what_is_below_and_paths_are_followed() -> None:
    functions = [
        PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000),
        PciFunctionSpec(bdf="00:01.0", id="8086:347a", kind="root_port", secondary=1, subordinate=3,
                        capabilities=["acs"]),
        PciFunctionSpec(bdf="01:00.0", id="104c:8232", kind="upstream", secondary=2, subordinate=3),
        PciFunctionSpec(bdf="02:00.0", id="104c:8233", kind="downstream", secondary=3, subordinate=3,
                        capabilities=["acs"]),
        PciFunctionSpec(bdf="03:00.0", id="8086:0001", kind="endpoint"),
    ]
    drhd = [DrhdSpec(base=BASES[1], scopes=[DeviceScope(2, 0, [(1, 0), (0, 0)])])]
    assert list(grouped(SmallKernel(machine(functions, drhd), ON).boot())) == ["01:00.0", "02:00.0", "03:00.0"]
    drhd = [DrhdSpec(base=BASES[1], scopes=[DeviceScope(1, 0, [(1, 0), (0, 0), (0, 0), (0, 0)])])]
    assert list(grouped(SmallKernel(machine(functions, drhd), ON).boot())) == ["03:00.0"]
    drhd = [DrhdSpec(base=BASES[1], segment=1, include_all=True)]
    assert grouped(SmallKernel(machine(functions, drhd), ON).boot()) == {}


def test_off_means_no_groups() -> None:
    functions = [PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)]
    for append in ("", "intel_iommu=off", "intel_iommu=on,off", "intel_iommu=on iommu=off"):
        kernel = SmallKernel(machine(functions), append).boot()
        assert grouped(kernel) == {} and not kernel.class_lines("Virtualization Technology")


def test_default_domain_lines() -> None:
    spec = machine([PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)])
    assert SmallKernel(spec).boot().class_lines("^iommu:") == [
        "iommu: Default domain type: Translated",
        "iommu: DMA domain TLB invalidation policy: lazy mode",
    ]
    assert SmallKernel(spec, "iommu=pt").boot().class_lines("^iommu:") == [
        "iommu: Default domain type: Passthrough (set via kernel command line)"
    ]
    assert SmallKernel(spec, "iommu.strict=1").boot().class_lines("^iommu: DMA") == [
        "iommu: DMA domain TLB invalidation policy: strict mode (set via kernel command line)"
    ]


KINDS = ("endpoint", "rciep", "conventional", "root_port", "pcie_pci_bridge")
SLOTS = st.lists(
    st.tuples(
        st.sampled_from(KINDS), st.booleans(), st.integers(1, 3), st.sampled_from(["8086", "1af4"]), st.integers(0, 2)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(slots=SLOTS)
def test_groups_are_the_slow_ones(slots: list[tuple[str, bool, int, str, int]]) -> None:
    functions = [PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)]
    nodes = [Node("00:00.0", "host", isolates=False)]
    behind: list[tuple[PciFunctionSpec, Node]] = []
    bus = 1
    for slot, (kind, acs, count, vendor, below) in enumerate(slots, 1):
        for fn in range(count):
            bridge = kind in ("root_port", "pcie_pci_bridge")
            spec = PciFunctionSpec(bdf=f"00:{slot:02x}.{fn}", id=f"{vendor}:0001", kind=kind,  # type: ignore[arg-type]
                                   capabilities=["acs"] if acs and kind != "conventional" else [],
                                   secondary=bus if bridge else None, subordinate=bus if bridge else None)
            node = Node(spec.bdf, slot, multifunction=count > 1, takes_over=kind == "pcie_pci_bridge")
            integrated = kind == "rciep" and vendor == "8086"
            alone = kind in ("endpoint", "rciep") and count == 1
            node.isolates = integrated or alone or (acs and kind in ("endpoint", "rciep", "root_port"))
            functions.append(spec)
            nodes.append(node)
            if bridge:
                devices = range(below) if kind == "pcie_pci_bridge" else range(min(below, 1))
                for device in devices:
                    child_kind = "conventional" if kind == "pcie_pci_bridge" else "endpoint"
                    child = PciFunctionSpec(bdf=f"{bus:02x}:{device:02x}.0", id="1af4:0002",
                                            kind=child_kind)  # type: ignore[arg-type]
                    behind.append((child, Node(child.bdf, child.bdf, node, isolates=child_kind == "endpoint")))
                bus += 1
    functions += [spec for spec, _ in behind]
    nodes += [node for _, node in behind]
    kernel = SmallKernel(machine(functions), ON).boot()
    assert grouped(kernel) == iommu_groups(nodes)


@given(body=st.binary(max_size=200))
@settings(max_examples=20, deadline=None)
def test_damaged_table_is_survived(body: bytes) -> None:
    damaged(body)


def damaged(body: bytes) -> SmallKernel:
    """A boot with a remapping table of these structures."""
    table = {"DMAR": sdt("DMAR", 1, b"\x26\x01" + bytes(10) + body, TableIds())}
    host = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
    return SmallKernel(machine([host], []), ON, tables=table).boot()


def test_loop_and_truncation_in_the_table() -> None:
    for body in (bytes(64), b"\x00\x00\x10", b"\x00\x00\xff\xff" + bytes(20), b"\x00\x00\x10\x00" + bytes(12)):
        assert grouped(damaged(body)) == {}


def two_units(first: list[DeviceScope]) -> list[DrhdSpec]:
    return [DrhdSpec(base=BASES[1], scopes=first), DrhdSpec(base=BASES[0], include_all=True)]


def test_a_unit_whose_devices_are_not_there_stays_off() -> None:
    functions = [PciFunctionSpec(bdf="00:00.0", id="8086:0001", kind="rciep")]
    kernel = SmallKernel(machine(functions, two_units([DeviceScope(1, 0, [(9, 0)])])), ON).boot()
    assert kernel.class_lines("Using Queued") == ["DMAR: dmar1: Using Queued invalidation"]


def test_graphics_are_left_alone_when_asked_or_known_to_fail() -> None:
    def boot(display: str, append: str = ON) -> SmallKernel:
        functions = [
            PciFunctionSpec(bdf="00:00.0", id="8086:0001", class_code=0x060000),
            PciFunctionSpec(bdf="00:02.0", id=display, class_code=0x030000),
        ]
        return SmallKernel(machine(functions, two_units([DeviceScope(1, 0, [(2, 0)])])), append).boot()

    assert grouped(boot("8086:5916")) == {"00:02.0": 0, "00:00.0": 1}
    assert grouped(boot("8086:5916", "intel_iommu=on,igfx_off")) == {"00:00.0": 0}
    broadwell = boot("8086:1616")
    assert grouped(broadwell) == {"00:00.0": 0}
    assert broadwell.class_lines("chipset") == [
        "pci 0000:00:02.0: DMAR: Disabling IOMMU for graphics on this chipset"
    ]


def test_older_kernels_walk_the_bus_once() -> None:
    functions = [PciFunctionSpec(bdf=f"00:0{i}.0", id="8086:0001", kind="rciep") for i in range(3)]
    spec = machine(functions, two_units([DeviceScope(1, 0, [(1, 0)])]))
    assert list(grouped(SmallKernel(spec, ON).boot())) == ["00:01.0", "00:00.0", "00:02.0"]
    once = SmallKernel(spec, ON, iommu_probe_by_unit=False).boot()
    assert list(grouped(once)) == ["00:00.0", "00:01.0", "00:02.0"]


def test_groups_are_in_order_of_buses_where_the_firmware_wants_it() -> None:
    functions = [
        PciFunctionSpec(bdf="00:01.0", id="8086:0001", kind="root_port", secondary=2, subordinate=2),
        PciFunctionSpec(bdf="00:02.0", id="8086:0001", kind="root_port", secondary=1, subordinate=1),
        PciFunctionSpec(bdf="01:00.0", id="8086:0002", kind="endpoint"),
        PciFunctionSpec(bdf="02:00.0", id="8086:0002", kind="endpoint"),
    ]
    assert list(grouped(SmallKernel(machine(functions), ON).boot()))[2:] == ["02:00.0", "01:00.0"]
    assert list(grouped(SmallKernel(machine(functions), f"{ON} pci=bfsort").boot()))[2:] == ["01:00.0", "02:00.0"]
    spec = machine(functions)
    spec.breadth_first = True
    sorting = SmallKernel(spec, ON, dmi=["DMI: Dell Inc. PowerEdge R640"])
    assert list(grouped(sorting.boot()))[2:] == ["01:00.0", "02:00.0"]
    assert sorting.class_lines("bfsort") == ["PCI: Dell System detected, enabling pci=bfsort."]
    sorting = SmallKernel(spec, f"{ON} pci=nobfsort", dmi=["DMI: Dell Inc. PowerEdge R640"])
    assert list(grouped(sorting.boot()))[2:] == ["02:00.0", "01:00.0"]


def amd(release: str, features: int) -> list[str]:
    functions = [
        PciFunctionSpec(bdf="00:00.0", id="1022:1480", class_code=0x060000),
        PciFunctionSpec(bdf="00:00.2", id="1022:1481", class_code=0x080600),
        PciFunctionSpec(bdf="00:01.0", id="1022:1483", kind="root_port", secondary=1, subordinate=1),
    ]
    block = struct.pack("<BBHHHQHHIQQ", 0x11, 0, 44, 2, 0x40, 0xFD00_0000, 0, 0, 0, features, 0x10)
    table = {"IVRS": sdt("IVRS", 2, bytes(12) + block + bytes([1, 0, 0, 0]), TableIds())}
    return SmallKernel(machine(functions, []), "", release, tables=table).boot().class_lines("AMD-Vi|iommu group")


def test_features_of_amds_iommus() -> None:
    assert amd("debian-6.12", 1 << 63 | 1 << 21 | 1 << 9 | 0x82 | 4) == [
        "AMD-Vi: Using global IVHD EFR:0x8000000000200286, EFR2:0x10",
        "pci 0000:00:00.2: AMD-Vi: IOMMU performance counters supported",
        "pci 0000:00:00.0: Adding to iommu group 0",
        "pci 0000:00:01.0: Adding to iommu group 1",
        "AMD-Vi: Extended features (0x8000000000200286, 0x10): PPR X2APIC GA PC GA_vAPIC SNP",
        "AMD-Vi: Interrupt remapping enabled",
        "AMD-Vi: X2APIC enabled",
    ]
    assert amd("debian-6.1", 0x82) == [
        "AMD-Vi: Using global IVHD EFR:0x82, EFR2:0x10",
        "pci 0000:00:00.0: Adding to iommu group 0",
        "pci 0000:00:01.0: Adding to iommu group 1",
        "pci 0000:00:00.2: AMD-Vi: Found IOMMU cap 0x40",
        "AMD-Vi: Extended features (0x82, 0x10): PPR GA",
        "AMD-Vi: Interrupt remapping enabled",
    ]
