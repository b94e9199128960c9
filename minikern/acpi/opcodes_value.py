"""AML opcodes that compute, store, branch or talk to the machine.

Source: ACPI 6.5 clauses 19.6 and 20.2.5.3, 20.2.5.4
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import opcodes_data
from minikern.acpi.namespace import Kind, Node
from minikern.acpi.opcodes_data import as_reference, mask
from minikern.acpi.stream import NAME_START, Frame
from minikern.acpi.values import AmlError, SlotRef, compare, copy, to_integer

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MAX_SLEEP_MS = 2000  # ACPICA cuts longer sleeps. Source: include/acpi/acconfig.h:ACPI_MAX_SLEEP @ v6.12

Handler = Callable[["Interpreter", Frame], Any]


class BreakSignal(Exception):  # noqa: N818 - control flow, not an error
    """Leave the innermost loop."""


class ContinueSignal(Exception):  # noqa: N818 - control flow, not an error
    """Next turn of the innermost loop."""


def _true(frame: Frame, condition: bool) -> int:
    return mask(frame) if condition else 0


def _constant(size: int) -> Handler:
    return lambda run, frame: frame.number(size)


def _binary(compute: Callable[[int, int], int]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left, right = run.integer(frame), run.integer(frame)
        result = compute(left, right) & mask(frame)
        run.store(result, run.target(frame))
        return result

    return handler


def _unary(compute: Callable[[int], int]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        result = compute(run.integer(frame)) & mask(frame)
        run.store(result, run.target(frame))
        return result

    return handler


def _shift_left(value: int, count: int) -> int:
    return value << count if count < 64 else 0


def _modulo(left: int, right: int) -> int:
    if right == 0:
        raise AmlError("AE_AML_DIVIDE_BY_ZERO", "modulo zero")
    return left % right


def _divide(run: Interpreter, frame: Frame) -> int:
    left, right = run.integer(frame), run.integer(frame)
    if right == 0:
        raise AmlError("AE_AML_DIVIDE_BY_ZERO", "division by zero")
    run.store(left % right, run.target(frame))
    run.store(left // right, run.target(frame))
    return left // right


def _step(by: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        target = run.target(frame)
        result = (to_integer(run.dereference(as_reference(target))) + by) & mask(frame)
        run.store(result, target)
        return result

    return handler


def _logical(test: Callable[[Any, Any], bool]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left = run.value(run.term(frame))
        return _true(frame, test(left, run.value(run.term(frame))))

    return handler


def _local(number: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> Any:
        value = frame.locals[number]
        if value is None:
            raise AmlError("AE_AML_UNINITIALIZED_LOCAL", f"Local{number} has no value")
        return value

    return handler


def _arg(number: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> Any:
        value = frame.args[number]
        if value is None:
            raise AmlError("AE_AML_UNINITIALIZED_ARG", f"Arg{number} has no value")
        return value

    return handler


def _store(run: Interpreter, frame: Frame) -> Any:
    value = run.value(run.term(frame))
    run.store(value, run.target(frame))
    return value


def _copy_object(run: Interpreter, frame: Frame) -> Any:
    value = run.value(run.term(frame))
    target = run.target(frame)
    if isinstance(target, Node) and target.kind in (Kind.INTEGER, Kind.STRING, Kind.BUFFER, Kind.PACKAGE, Kind.UNTYPED):
        run.set_object(target, copy(value))
    else:
        run.store(value, target)
    return value


def _if(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    taken = run.integer(frame) != 0
    if taken:
        run.block(frame, end, frame.scope)
    frame.pos = end
    if frame.pos < frame.end and frame.data[frame.pos] == 0xA1:
        frame.byte()
        other = frame.package_end()
        if not taken:
            run.block(frame, other, frame.scope)
        frame.pos = other


def _stray_else(run: Interpreter, frame: Frame) -> None:
    frame.pos = frame.package_end()


def _while(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    start, outer_end, scope = frame.pos, frame.end, frame.scope
    while True:
        run.tick()
        frame.pos, frame.end, frame.scope = start, end, scope
        if run.integer(frame) == 0:
            break
        try:
            run.block(frame, end, scope)
        except BreakSignal:
            break
        except ContinueSignal:
            continue
    frame.pos, frame.end, frame.scope = end, outer_end, scope


def _break(run: Interpreter, frame: Frame) -> None:
    raise BreakSignal


def _continue(run: Interpreter, frame: Frame) -> None:
    raise ContinueSignal


def _return(run: Interpreter, frame: Frame) -> None:
    from minikern.acpi.interpreter import ReturnSignal

    value = run.value(run.term(frame)) if frame.pos < frame.end else 0
    raise ReturnSignal(value)


def _noop(run: Interpreter, frame: Frame) -> int:
    return 0


def _notify(run: Interpreter, frame: Frame) -> int:
    run.target(frame)
    run.integer(frame)
    return 0


def _sleep(unit_us: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        microseconds = min(run.integer(frame) * unit_us, MAX_SLEEP_MS * 1000)
        run.k.charge("aml_sleep_us", microseconds)
        return 0

    return handler


def _acquire(run: Interpreter, frame: Frame) -> int:
    run.target(frame)
    frame.number(2)
    return 0  # nobody else runs AML: the mutex is always free


def _release(run: Interpreter, frame: Frame) -> int:
    run.target(frame)
    return 0


def _wait(run: Interpreter, frame: Frame) -> int:
    run.target(frame)
    run.integer(frame)
    return 0


def _revision(run: Interpreter, frame: Frame) -> int:
    return int(run.k.behaviour.get("acpi_core_revision", "20240827"), 16)


def _debug(run: Interpreter, frame: Frame) -> SlotRef:
    return SlotRef([None], 0)


def _timer(run: Interpreter, frame: Frame) -> int:
    return run.opcodes  # 100 ns units; a count that only goes up is all a timer promises


def _fatal(run: Interpreter, frame: Frame) -> int:
    frame.number(5)
    run.integer(frame)
    return 0


def _find_left(value: int) -> int:
    return value.bit_length()


def _find_right(value: int) -> int:
    return (value & -value).bit_length()


def _from_bcd(value: int) -> int:
    return sum((value >> 4 * digit & 0xF) * 10**digit for digit in range(16))


def _to_bcd(value: int) -> int:
    return int(str(value % 10**16), 16)


def _ones(run: Interpreter, frame: Frame) -> int:
    return mask(frame)


def _load(run: Interpreter, frame: Frame) -> int:
    """Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_op() @ v6.12"""
    from minikern.acpi.dynamic import load_op

    source = run.node(frame) if frame.pos < frame.end and frame.data[frame.pos] in NAME_START else run.term(frame)
    loaded = load_op(run, source)
    run.store(mask(frame) if loaded else 0, run.target(frame))
    return _true(frame, loaded)


def _load_table(run: Interpreter, frame: Frame) -> int:
    """Source: drivers/acpi/acpica/exconfig.c:acpi_ex_load_table_op() @ v6.12"""
    from minikern.acpi.dynamic import load_table_op

    operands = [run.value(run.term(frame)) for _ in range(6)]
    return _true(frame, load_table_op(run, [item if isinstance(item, str) else "" for item in operands[:3]]))


HANDLERS: dict[int, Handler] = {
    **opcodes_data.HANDLERS,
    0x00: lambda run, frame: 0,
    0x01: lambda run, frame: 1,
    0x0A: _constant(1),
    0x0B: _constant(2),
    0x0C: _constant(4),
    0x0E: _constant(8),
    **{0x60 + number: _local(number) for number in range(8)},
    **{0x68 + number: _arg(number) for number in range(7)},
    0x70: _store,
    0x72: _binary(operator.add),
    0x74: _binary(operator.sub),
    0x75: _step(1),
    0x76: _step(-1),
    0x77: _binary(operator.mul),
    0x78: _divide,
    0x79: _binary(_shift_left),
    0x7A: _binary(lambda value, count: value >> min(count, 64)),
    0x7B: _binary(operator.and_),
    0x7C: _binary(lambda left, right: ~(left & right)),
    0x7D: _binary(operator.or_),
    0x7E: _binary(lambda left, right: ~(left | right)),
    0x7F: _binary(operator.xor),
    0x80: _unary(operator.invert),
    0x81: _unary(_find_left),
    0x82: _unary(_find_right),
    0x85: _binary(_modulo),
    0x86: _notify,
    0x90: _logical(lambda left, right: bool(to_integer(left) and to_integer(right))),
    0x91: _logical(lambda left, right: bool(to_integer(left) or to_integer(right))),
    0x92: lambda run, frame: _true(frame, run.integer(frame) == 0),
    0x93: _logical(lambda left, right: compare(left, right) == 0),
    0x94: _logical(lambda left, right: compare(left, right) > 0),
    0x95: _logical(lambda left, right: compare(left, right) < 0),
    0x9D: _copy_object,
    0x9F: _continue,
    0xA0: _if,
    0xA1: _stray_else,
    0xA2: _while,
    0xA3: _noop,
    0xA4: _return,
    0xA5: _break,
    0xCC: _noop,
    0xFF: _ones,
    0x5B1F: _load_table,
    0x5B20: _load,
    0x5B21: _sleep(1),
    0x5B22: _sleep(1000),
    0x5B23: _acquire,
    0x5B24: _release,
    0x5B25: _wait,
    0x5B26: _release,
    0x5B27: _release,
    0x5B28: _unary(_from_bcd),
    0x5B29: _unary(_to_bcd),
    0x5B2A: _release,
    0x5B30: _revision,
    0x5B31: _debug,
    0x5B32: _fatal,
    0x5B33: _timer,
}
