"""Shutdown of devices: one after the other is the sum, side by side the longest way up the tree."""

from __future__ import annotations

import pytest

from minikern.core.experiment import Experiment
from minikern.core.kernel import Kernel
from minikern.describe.presets import load_machine
from minikern.kexec.device_shutdown import dependents, device_shutdown, longest_way, shutdown_kind
from minikern.lab.run import boot
from minikern.state.pci import PciDev


def naive(k: Kernel, device: PciDev) -> int:
    """By recursion over buses: the device after the slowest of what is behind it."""
    behind = device.subordinate.devices if device.subordinate else []
    return round(k.unit_ns(shutdown_kind(device.class_code))) + max((naive(k, one) for one in behind), default=0)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return boot(load_machine("laptop")).kernel


@pytest.mark.parametrize(
    ("code", "kind"),
    [(0x010802, "nvme"), (0x010601, "hba"), (0x0C0400, "hba"), (0x020000, "nic"), (0x030000, "gpu"),
     (0x120000, "gpu"), (0x060400, "bridge"), (0x060000, "other"), (0x088000, "other")],
)  # fmt: skip
def test_classes(code: int, kind: str) -> None:
    assert shutdown_kind(code) == f"device_shutdown_{kind}"


@pytest.mark.parametrize("how", ["serial", "async"])
def test_both_ways_do_the_same_work_in_their_own_time(kernel: Kernel, how: str) -> None:
    k = kernel
    k.experiment = Experiment(device_shutdown=how)  # type: ignore[arg-type]
    cost = {device: round(k.unit_ns(shutdown_kind(device.class_code))) for device in k.pci.devices}
    assert any(device.bus.self_dev for device in k.pci.devices), "a tree with something behind a bridge"
    start = k.machine.clock.now
    done = {kind: k.ledger.count(kind) for kind in set(map(shutdown_kind, (d.class_code for d in cost)))}
    device_shutdown(k)
    spent = k.machine.clock.now - start
    assert sum(k.ledger.count(kind) - before for kind, before in done.items()) == len(k.pci.devices)
    roots = [device for device in cost if device.bus.self_dev is None]
    longest = longest_way(dependents(k.pci.devices), cost)
    assert longest == max(naive(k, device) for device in roots)
    assert spent == (sum(cost.values()) if how == "serial" else longest)
    assert longest < sum(cost.values())


def test_a_host_full_of_slow_drives() -> None:
    """As it was published: minutes become the slowest drive's seconds."""
    k = boot(load_machine("tiny")).kernel
    template = k.pci.devices[-1]
    cost = dict.fromkeys(k.pci.devices, 1000000)
    assert template in cost
    many = {object(): seconds * 10**9 for seconds in (11, *([4] * 17))}
    below = {**{device: [] for device in cost}, **{one: [] for one in many}}
    assert longest_way(below, {**cost, **many}) == 11 * 10**9  # type: ignore[dict-item, arg-type]
    assert sum(many.values()) == 79 * 10**9
