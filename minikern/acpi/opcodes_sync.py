"""AML opcodes that wait, signal, notify, load tables or talk to the kernel.

Source: ACPI 6.5 clauses 19.6 and 20.2.5.3; drivers/acpi/acpica/exoparg1.c, exoparg2.c, exsystem.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import sync
from minikern.acpi.messages import bios_error, error, warning
from minikern.acpi.operands import integer, reference
from minikern.acpi.store import store
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError, NodeRef, OperandError, RefOf, Slot, TableHandle, type_name
from minikern.core.printk import Level
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MAX_SLEEP_MS = 2000  # ACPICA cuts longer sleeps. Source: include/acpi/acconfig.h:ACPI_MAX_SLEEP @ v6.12
MAX_STALL_US, LONG_STALL_US = 255, 100
STALL_WARNS_SINCE = "20220331"
_NOTIFIED = frozenset({Kind.DEVICE, Kind.PROCESSOR, Kind.THERMAL})
Handler = Callable[["Interpreter", Frame], Any]


def _node_of(target: Any) -> Node | None:
    """The named object behind a SuperName, through a local or a reference."""
    for _ in range(8):
        if isinstance(target, Slot):
            target = target.value
        elif isinstance(target, RefOf):
            target = target.target
        elif isinstance(target, NodeRef):
            return target.node
        else:
            return target if isinstance(target, Node) else None
    return None


def _notify(run: Interpreter, frame: Frame) -> None:
    target = reference(run, frame)
    value = integer(run, frame)
    node = _node_of(target)
    if node is None or node.kind not in _NOTIFIED:
        found = node.kind.value if node is not None else type_name(target)
        error(run.k, f"Unexpected notify object type [{found}]", {"": "exoparg2-99"})
        raise AmlError("AE_AML_OPERAND_TYPE", f"Notify of {found}")
    run.notifications.append((node, value & 0xFFFF_FFFF))


def _sleep(run: Interpreter, frame: Frame) -> None:
    run.sleep_us(1000 * min(integer(run, frame), MAX_SLEEP_MS))


def _stall(run: Interpreter, frame: Frame) -> None:
    """Source: drivers/acpi/acpica/exsystem.c:acpi_ex_system_do_stall() @ v6.12"""
    time_us = integer(run, frame) & 0xFFFF_FFFF
    if time_us > MAX_STALL_US:
        error(run.k, f"Time parameter is too large ({time_us})", {"": "exsystem-141"})
        raise AmlError("AE_AML_OPERAND_VALUE", f"Stall of {time_us} us")
    if time_us > LONG_STALL_US and run.revision >= STALL_WARNS_SINCE:
        text = f"Time parameter {time_us} us > {LONG_STALL_US} us violating ACPI spec, please fix the firmware."
        warning(run.k, text, {"": "exsystem-147"})
    run.sleep_us(time_us)


def _mutex(run: Interpreter, frame: Frame) -> tuple[Node, sync.Mutex]:
    node = _node_of(reference(run, frame))
    if node is None or not isinstance(node.value, sync.Mutex):
        raise _wrong(run, "Mutex", node)
    return node, node.value


def _event(run: Interpreter, frame: Frame) -> sync.Event:
    node = _node_of(reference(run, frame))
    if node is None or not isinstance(node.value, sync.Event):
        raise _wrong(run, "Event", node)
    return node.value


def _wrong(run: Interpreter, wanted: str, node: Node | None) -> OperandError:
    found = node.kind.value if node is not None else "Reference"
    error(run.k, f"Needed type [{wanted}], found [{found}] {0:016x}", {"": "exresop-66"})
    return OperandError("AE_AML_OPERAND_TYPE", f"needed {wanted}, found {found}")


def _acquire(run: Interpreter, frame: Frame) -> int:
    node, mutex = _mutex(run, frame)
    frame.number(2)  # the time to wait: nobody else can hold it
    sync.acquire(run, node, mutex)
    return 0


def _release(run: Interpreter, frame: Frame) -> None:
    sync.release(run, *_mutex(run, frame))


def _wait(run: Interpreter, frame: Frame) -> int:
    event = _event(run, frame)
    return 0 if sync.wait(run, event, integer(run, frame)) else frame.mask


def _signal(run: Interpreter, frame: Frame) -> None:
    _event(run, frame).signals += 1
    run.changes += 1


def _reset(run: Interpreter, frame: Frame) -> None:
    _event(run, frame).signals = 0
    run.changes += 1


def _revision(run: Interpreter, frame: Frame) -> int:
    return int(run.revision, 16)


def _timer(run: Interpreter, frame: Frame) -> int:
    """100 ns units of the time this interpreter has spent."""
    run.changes += 1
    return run.opcodes * 5 + run.slept_us * 10


def _fatal(run: Interpreter, frame: Frame) -> None:
    kind, code = frame.byte(), frame.number(4)
    argument = integer(run, frame) & 0xFFFF_FFFF
    run.k.printk("ACPI: OSL: Fatal opcode executed", Level.ERR)
    if run.revision >= FATAL_ABORTS_SINCE:
        text = f"Fatal ACPI BIOS error (Type 0x{kind:X} Code 0x{code:X} Arg 0x{argument:X})"
        bios_error(run.k, text, {"": "exoparg3-65"})
        raise AmlError("AE_ERROR", text)


FATAL_ABORTS_SINCE = "20251212"


def _load(run: Interpreter, frame: Frame) -> int:
    """Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_op() @ v6.12"""
    from minikern.acpi.dynamic import load_op

    source = run.node(frame) if frame.pos < frame.end and frame.data[frame.pos] in frame.name_start else run.term(frame)
    target = reference(run, frame)
    handle = load_op(run, source)
    store(run, frame.mask if run.revision >= TRUTH_SINCE else handle, target)
    return frame.mask


TRUTH_SINCE = "20220331"
"""From this revision on Load stores a truth value, before a handle of the table."""


def _load_table(run: Interpreter, frame: Frame) -> int | TableHandle:
    """Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_table_op() @ v6.12"""
    from minikern.acpi.dynamic import load_table_op

    operands = [run.term(frame) for _ in range(6)]
    handle = load_table_op(run, frame, operands)
    if handle is None:
        return 0
    return frame.mask if run.revision >= TRUTH_SINCE else handle


def _unload(run: Interpreter, frame: Frame) -> None:
    """Source: drivers/acpi/acpica/exconfig.c:acpi_ex_unload_table() @ v6.12"""
    from minikern.acpi.dynamic import unload_op

    target = reference(run, frame)
    value = target.value if isinstance(target, Node | Slot) else target
    warning(run.k, "Received request to unload an ACPI table", {"": "exconfig-498"})
    error(run.k, "AE_NOT_IMPLEMENTED, AML Unload operator is not supported", {"": "exconfig-505"})
    if not isinstance(value, TableHandle):
        raise AmlError("AE_AML_OPERAND_TYPE", "Unload needs a table's handle")
    unload_op(run, value)


HANDLERS: dict[int, Handler] = {
    0x86: _notify,
    0x5B1F: _load_table,
    0x5B20: _load,
    0x5B21: _stall,
    0x5B22: _sleep,
    0x5B23: _acquire,
    0x5B24: _signal,
    0x5B25: _wait,
    0x5B26: _reset,
    0x5B27: _release,
    0x5B2A: _unload,
    0x5B30: _revision,
    0x5B32: _fatal,
    0x5B33: _timer,
}
