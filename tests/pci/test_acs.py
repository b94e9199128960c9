"""Devices that keep their neighbours apart without saying so, and requests that carry another function's id."""

from __future__ import annotations

import pytest

from hw.acpi.layout import TableIds, sdt
from hw.bus import Bus
from hw.pci.spec import PciFunctionSpec, RegisterSpec
from minikern.core.experiment import Experiment
from minikern.core.variant import load_variant
from minikern.pci.acs import RULES
from minikern.pci.device_quirks import device_quirks
from tests.pci.small import SmallKernel
from tests.pci.test_iommu import ON, grouped, machine

HOST = PciFunctionSpec(bdf="00:00.0", id="8086:29c0", class_code=0x060000)
RCBA, MPC = 0xF0, 0xD8
CHIPSET = 0xFED1_C000


class Chipset:
    """The chipset's configuration registers as zeros, but for those in ``values``, by offset."""

    def __init__(self, values: dict[int, int]) -> None:
        self.values = values

    def mmio_read(self, offset: int, size: int, cpu: object) -> int:
        return self.values.get(offset, 0)

    def mmio_write(self, offset: int, size: int, value: int, cpu: object) -> None:
        self.values[offset] = value


def ports(device: str, rcba: int = CHIPSET | 1, mpc: int = 0, acs: bool = False) -> list[PciFunctionSpec]:
    """Two root ports in one slot with a device each, and the ISA bridge."""
    lpc = PciFunctionSpec(bdf="00:1f.0", id="8086:8c50", class_code=0x060100, registers=[RegisterSpec(RCBA, rcba)])
    found = [HOST, lpc]
    for number in (1, 2):
        found.append(
            PciFunctionSpec(bdf=f"00:1c.{number - 1}", id=device, class_code=0x060400, kind="root_port",
                            secondary=number, subordinate=number, registers=[RegisterSpec(MPC, mpc)] if mpc else [],
                            capabilities=["acs"] if acs else [])
        )
        found.append(PciFunctionSpec(bdf=f"0{number}:00.0", id="8086:1533", kind="endpoint"))
    return found


def apart(kernel: SmallKernel) -> int:
    """In how many groups the two ports and what is behind them are."""
    groups = grouped(kernel)
    return len({groups[name] for name in ("00:1c.0", "00:1c.1", "01:00.0", "02:00.0")})


def with_chipset(spec: list[PciFunctionSpec], **values: int) -> tuple[SmallKernel, Chipset]:
    kernel = SmallKernel(machine(spec), ON)
    chipset = Chipset({int(name.removeprefix("at_"), 16): value for name, value in values.items()})
    bus: Bus = kernel.bus
    bus.map_mmio(CHIPSET, 0x4000, chipset)
    return kernel.boot(), chipset


def test_ports_of_older_pchs_are_opened_by_the_chipsets_registers() -> None:
    kernel, chipset = with_chipset(ports("8086:8c10"), at_1104=0x300, at_1014=0x3F)
    assert kernel.class_lines("00:1c.0: .*(MPC|UPDCR|PCH)") == [
        "pci 0000:00:1c.0: Enabling MPC IRBNCE",
        "pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled",
    ]
    assert apart(kernel) == 4 and chipset.values[0x1014] == 0x3F
    kernel, chipset = with_chipset(ports("8086:8c10", mpc=1 << 26), at_1104=0x100, at_1014=0x7F)
    assert kernel.class_lines("00:1c.0: .*(MPC|UPDCR|PCH)") == [
        "pci 0000:00:1c.0: Disabling UPDCR peer decodes",
        "pci 0000:00:1c.0: Intel PCH root port ACS workaround enabled",
    ]
    assert not kernel.class_lines("00:1c.1: Disabling UPDCR")  # the register is one for all ports
    assert apart(kernel) == 4 and chipset.values[0x1014] == 0x40


def test_without_the_chipsets_registers_the_ports_stay_together() -> None:
    kernel = SmallKernel(machine(ports("8086:8c10", rcba=0)), ON).boot()
    assert kernel.class_lines("PCH ACS") == [
        f"pci 0000:00:1c.{n}: Failed to enable Intel PCH ACS quirk" for n in (0, 1)
    ]
    assert apart(kernel) == 1


def test_no_iommu_no_workaround() -> None:
    kernel = SmallKernel(machine(ports("8086:8c10")), "intel_iommu=off").boot()
    assert not kernel.class_lines(" PCH |MPC")


@pytest.mark.parametrize("device", ["8086:a110", "8086:a11f", "8086:a16a", "8086:a290", "8086:a2ee", "8086:9d14"])
def test_ports_with_the_control_register_elsewhere(device: str) -> None:
    kernel = SmallKernel(machine(ports(device, acs=True)), ON).boot()
    assert kernel.class_lines("SPT") == [
        f"pci 0000:00:1c.{n}: Intel SPT PCH root port ACS workaround enabled" for n in (0, 1)
    ]
    assert apart(kernel) == 4
    port = next(dev for dev in kernel.pci.devices if dev.name == "0000:00:1c.0")
    assert (port.read(port.acs_cap + 6, 2), port.read(port.acs_cap + 8, 2)) == (0, 0x1D)


def test_later_ports_are_believed() -> None:
    assert apart(SmallKernel(machine(ports("8086:a338", acs=True)), ON).boot()) == 4
    assert apart(SmallKernel(machine(ports("8086:a338")), ON).boot()) == 1


def functions(device: str, kind: str = "endpoint") -> list[PciFunctionSpec]:
    port = PciFunctionSpec(bdf="00:01.0", id="8086:0c01", class_code=0x060400, kind="root_port", secondary=1,
                           subordinate=1, capabilities=["acs"])
    both = [PciFunctionSpec(bdf=f"01:00.{n}", id=device, kind=kind) for n in (0, 1)]  # type: ignore[arg-type]
    return [HOST, port, *both]


@pytest.mark.parametrize(
    ("device", "groups"),
    [
        ("8086:10fb", 2), ("8086:1521", 2), ("8086:105e", 2), ("8086:10a4", 1), ("14e4:16d7", 2), ("14e4:1657", 1),
        ("1924:0a03", 2), ("19a2:0710", 2), ("1d17:9083", 2), ("8088:1001", 2), ("8088:5040", 2), ("8088:0200", 1),
    ],
)  # fmt: skip
def test_functions_that_do_not_talk_to_each_other(device: str, groups: int) -> None:
    found = grouped(SmallKernel(machine(functions(device)), ON).boot())
    assert len({found["01:00.0"], found["01:00.1"]}) == groups


@pytest.mark.parametrize(("device", "count"), [("1d17:0717", 4), ("1d17:0720", 1), ("1c36:0031", 4), ("177d:a100", 4)])
def test_ports_known_by_their_ids(device: str, count: int) -> None:
    assert apart(SmallKernel(machine(ports(device)), ON).boot()) == count


def test_unlisted_zhaoxin_ports_are_not_believed() -> None:
    assert apart(SmallKernel(machine(ports("1d17:0760", acs=True)), ON).boot()) == 1


def test_southbridge_functions_are_apart_under_an_amd_iommu_only() -> None:
    slot = [PciFunctionSpec(bdf=f"00:14.{n}", id=f"1002:{device}") for n, device in ((0, "4385"), (2, "4383"))]
    kernel = SmallKernel(machine([HOST, *slot]), ON)
    assert len(set(grouped(kernel.boot()).values())) == 2  # the host bridge, and both together
    ivrs = {"IVRS": sdt("IVRS", 2, bytes(12), TableIds())}
    kernel = SmallKernel(machine([HOST, *slot]), f"{ON} amd_iommu=off", tables=ivrs)
    assert len(set(grouped(kernel.boot()).values())) == 3


def test_integrated_endpoints_share_groups_in_older_kernels() -> None:
    slot = [PciFunctionSpec(bdf=f"00:14.{n}", id="8086:9df0", kind="rciep") for n in (0, 2)]
    assert len(set(grouped(SmallKernel(machine([HOST, *slot]), ON).boot()).values())) == 3
    older = SmallKernel(machine([HOST, *slot]), ON, acs_integrated_endpoints=False).boot()
    assert len(set(grouped(older).values())) == 2


def test_requests_under_another_id_join_the_groups() -> None:
    disk = [PciFunctionSpec(bdf=f"00:05.{n}", id="1b4b:9123", kind="endpoint", capabilities=["acs"]) for n in (0, 1)]
    kernel = SmallKernel(machine([HOST, *disk]), ON).boot()
    assert kernel.class_lines("DMA alias") == ["pci 0000:00:05.0: Enabling fixed DMA alias to 05.1"]
    found = grouped(kernel)
    assert found["00:05.0"] == found["00:05.1"]
    raid = PciFunctionSpec(bdf="00:06.0", id="9005:0285", subsystem="9005:02bb", kind="endpoint")
    assert SmallKernel(machine([HOST, raid]), ON).boot().class_lines("DMA alias") == [
        "pci 0000:00:06.0: Enabling fixed DMA alias to 01.0"
    ]
    vca = PciFunctionSpec(bdf="00:06.0", id="8086:2954", kind="endpoint")
    lines = SmallKernel(machine([HOST, vca]), ON).boot().class_lines("DMA alias")
    assert len(lines) == 32
    assert lines[-1] == "pci 0000:00:06.0: Enabling fixed DMA alias for devfn range from 1f.0 to 1f.4"


def test_the_table_is_sound() -> None:
    table = device_quirks()
    assert {row.rule for row in table.acs} == RULES.keys()
    for row in (*table.acs, *table.alias):
        for span in row.devices:
            first, _, last = span.partition("-")
            assert int(first, 16) < int(last or "ffff1", 16), span


def test_the_patch_that_is_not_upstream_splits_what_has_no_capability() -> None:
    spec = machine(ports("10de:0001"))
    assert apart(SmallKernel(spec, ON).boot()) == 1
    patched = SmallKernel(spec, ON, experiment=Experiment(acs_override="downstream"))
    assert apart(patched.boot()) == 4
    both = machine(functions("14e4:1657"))
    patched = SmallKernel(both, ON, experiment=Experiment(acs_override="multifunction"))
    found = grouped(patched.boot())
    assert found["01:00.0"] != found["01:00.1"]
    assert load_variant("acs-override").experiment.acs_override == "downstream,multifunction"
