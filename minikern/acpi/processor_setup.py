"""What the kernel asks of each processor object: that it hears what the kernel can do, and its idle states.

Linux asks one after the other. An experiment asks from all CPUs: ACPICA runs methods under one lock, which it gives up
only while a method sleeps, so what gains is what the kernel does around them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import simpy

from minikern.acpi.device_walk import get_devices
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.processor import PROCESSOR_ID, processor_physically_present
from minikern.core.printk import Level
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

Work = list[tuple[str, int]]
PDC_BUFFER = bytes([1, 0, 0, 0, 1, 0, 0, 0, 0xBF, 0x0B, 0, 0])  # revision 1, one capability word
OSC_UUID = bytes.fromhex("16a6774029be479ebdd870587139538a")
"""Processor _OSC, 4077A616-290C-47BE-9EBD-D87058713953. Source: drivers/acpi/acpi_processor.c @ v6.12"""
_PROCESSOR = frozenset({Kind.PROCESSOR})
UNLOCKED = ("aml_sleep_us", "acpi_processor_control", "acpi_processor_idle")
"""Done without the interpreter lock. Source: drivers/acpi/acpica/exsystem.c:acpi_ex_system_do_sleep() @ v6.12"""


def processors(run: Interpreter) -> list[Node]:
    """Processor statements, then ACPI0007 devices that are there, each in namespace order.

    Source: drivers/acpi/processor_pdc.c:acpi_early_processor_osc() @ v6.12
    """
    run.account.book("acpi_node_walk", 2 * run.objects)
    statements = list(run.namespace.walk(kinds=_PROCESSOR))
    run.look_at(*statements)
    return [*statements, *get_devices(run, PROCESSOR_ID)]


def acpi_early_processor_control_setup(k: Kernel, run: Interpreter) -> None:
    """Tell each processor object what the kernel can do, by _OSC or _PDC; firmware may load tables in answer.

    Source: drivers/acpi/acpi_processor.c:acpi_early_processor_control_setup() @ v6.12
    """
    if k.experiment.acpi_capabilities:
        _each(k, run, processors(run), _control, first_alone=True)


def _control(run: Interpreter, node: Node) -> None:
    if processor_physically_present(run.k, run, node):
        inform_processor(run, node)


def inform_processor(run: Interpreter, node: Node) -> None:
    """Evaluate one processor's _OSC, or its _PDC where it has none."""
    if "_OSC" in node.children:
        capabilities = bytearray(8)
        capabilities[4:8] = PDC_BUFFER[8:12]
        run.evaluate(node, "_OSC", args=[bytearray(OSC_UUID), 1, 2, capabilities])
    elif "_PDC" in node.children:
        run.evaluate(node, "_PDC", args=[bytearray(PDC_BUFFER)])
    else:
        return
    run.account.book("acpi_processor_control", 1)


def acpi_processor_init(k: Kernel) -> int:
    """Find each processor's idle states by evaluating its _CST package; return how many processors have them.

    Source: drivers/acpi/processor_idle.c:acpi_processor_get_cstate_info() @ v6.12
    """
    if k.acpi.disabled or k.acpi.interpreter is None or k.experiment.acpi_processors == "lazy":
        return 0
    run = loaded_interpreter(k)
    return sum(_each(k, run, k.acpi.processors, ask_idle_states))


def ask_idle_states(run: Interpreter, node: Node) -> bool:
    """Evaluate one processor's _CST; False when it tells of no idle state."""
    package = run.evaluate(node, "_CST")
    if not isinstance(package, list) or len(package) < 2:
        return False
    if package[0] != len(package) - 1:
        text = f"ACPI: {node.name}: Found {len(package) - 1} idle states, expected {package[0]}"
        run.k.printk(text, Level.DEBUG)
    run.account.book("acpi_processor_idle", 1)
    return True


def _each(
    k: Kernel, run: Interpreter, nodes: list[Node], ask: Callable[[Interpreter, Node], Any], first_alone: bool = False
) -> list[Any]:
    """Ask every processor: in turn, or from all CPUs. ``first_alone``: its answer loads tables the others' need."""
    if k.experiment.acpi_processors in ("serial", "lazy"):
        return [ask(run, node) for node in nodes]
    head = nodes[:1] if first_alone else []
    answers, shares = [ask(run, node) for node in head], []
    for node in nodes[len(head) :]:
        with run.account.kept() as work:
            answers.append(ask(run, node))
        shares.append(work)
    _in_parallel(k, shares)
    return answers


def _in_parallel(k: Kernel, shares: list[Work]) -> None:
    """Each share on the CPU whose turn it is; CPUs work beside each other."""
    cpus, env = sorted(k.cpus.online), k.machine.clock.env
    common = simpy.Resource(env) if k.experiment.acpi_processors == "one-lock" else None
    doing = [
        k.machine.clock.process(_on_cpu(k, cpu, shares[number :: len(cpus)], common or simpy.Resource(env)))
        for number, cpu in enumerate(cpus)
    ]
    k.wait(simpy.AllOf(env, doing))


def _on_cpu(
    k: Kernel, cpu: int, shares: list[Work], lock: simpy.Resource
) -> Generator[simpy.Event, Any, None]:
    for kind, count in (piece for share in shares for piece in share):
        if kind in UNLOCKED:
            yield k.charge_on(cpu, kind, count)
            continue
        with lock.request() as turn:
            yield turn
            yield k.charge_on(cpu, kind, count)
