"""Processors parked at a mailbox: the hand-shake on the hardware's side, and whole boots through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.acpi.static import madt
from hw.cpu import CPU, RunState
from hw.cpu_listed import madt_entries
from hw.errors import InputError, MachineStopped
from hw.faults import add_fault
from hw.machine import Machine
from hw.wakeup_mailbox import APIC_ID, COMMAND, MADT_WAKEUP, POLL_NS, VECTOR, WAKEUP
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

MAILBOX = 0xFEF0_0000
MACHINE = """
name = "mailbox"
release = "{release}"
memory = "2G"
[cpus]
count = 4
sockets = 1
cores = 2
threads = 2
[acpi]
wakeup_mailbox = {mailbox:#x}
"""


@pytest.fixture
def described(tmp_path: Path):
    def make(mailbox: int = MAILBOX, release: str = "debian-6.12") -> Case:
        path = tmp_path / "mailbox.toml"
        path.write_text(MACHINE.format(mailbox=mailbox, release=release))
        return load_machine(str(path))

    return make


def call(machine: Machine, apic_id: int, vector: int) -> None:
    cpu = machine.boot_cpu
    cpu.write(MAILBOX + APIC_ID, 4, apic_id)
    cpu.write(MAILBOX + VECTOR, 8, vector)
    cpu.write(MAILBOX + COMMAND, 2, WAKEUP)


def test_only_the_called_processor_goes_and_says_so(described) -> None:
    machine = Machine.power_on(described())
    arrived = []

    def code(cpu: CPU):
        arrived.append((cpu.apic.apic_id, machine.clock.now))
        yield machine.clock.timeout(5)

    machine.install_code(0x9A123, code)  # no page boundary: a SIPI could not go there
    machine.clock.advance(1000)
    call(machine, 2, 0x9A123)
    assert machine.boot_cpu.read(MAILBOX + COMMAND, 2) == WAKEUP
    machine.clock.advance(POLL_NS + 50)
    assert machine.boot_cpu.read(MAILBOX + COMMAND, 2) == 0 and arrived == [(2, 1000 + POLL_NS)]
    running, halted = RunState.RUNNING, RunState.HALTED
    assert [cpu.state for cpu in machine.cpus] == [running, running, halted, running]


def test_a_call_nobody_answers_stays(described) -> None:
    machine = Machine.power_on(described())
    call(machine, 77, 0x9A000)
    machine.clock.advance(10_000_000)
    assert machine.boot_cpu.read(MAILBOX + COMMAND, 2) == WAKEUP


def test_a_vector_without_code_shuts_the_processor_down(described) -> None:
    machine = Machine.power_on(described())
    machine.clock.advance(1000)
    call(machine, 1, 0x1234)
    machine.clock.advance(1000)
    assert machine.cpus[1].state is RunState.SHUTDOWN


@pytest.mark.parametrize(
    ("mailbox", "message"),
    [(0xFEF0_0008, "start of a 4 KiB page"), (0x10_0000, "usable memory"), (0xFED0_0000, "MMIO window overlaps")],
)
def test_places_a_mailbox_cannot_be(described, mailbox: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Machine.power_on(described(mailbox))


def test_the_madt_names_it(described) -> None:
    spec = described()
    table = madt(spec.acpi, spec.cpus.topology())
    entry = next(data for kind, data in madt_entries(table) if kind == MADT_WAKEUP)
    assert len(entry) == 16 and int.from_bytes(entry[8:], "little") == MAILBOX


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_boot_without_a_single_init(described, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_init(self: CPU) -> None:
        raise AssertionError("INIT was sent")

    monkeypatch.setattr(CPU, "init_reset", no_init)
    kernel = boot(described(release=release)).kernel
    assert kernel.log.find("smp: Brought up 1 node, 4 CPUs") and kernel.cpus.online == [0, 1, 2, 3]
    assert kernel.machine.boot_cpu.read(MAILBOX + COMMAND, 2) == 0


def test_slow_processor_comes_late(described) -> None:
    spec = described()
    add_fault(spec.faults, "slow=2:30")
    assert boot(spec).kernel.cpus.online == [0, 1, 2, 3]


def test_dead_processor_stops_the_kernel_with_its_number(described) -> None:
    spec = described()
    add_fault(spec.faults, "dead=3")
    with pytest.raises(MachineStopped, match=r"CPU 3 \(APIC id 0x3\) does not take its wake-up command"):
        boot(spec)
