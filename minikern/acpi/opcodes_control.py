"""AML opcodes that branch, loop and return.

Source: ACPI 6.5 clause 20.2.5.3; drivers/acpi/acpica/dscontrol.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.messages import error
from minikern.acpi.methods import ReturnSignal
from minikern.acpi.operands import slot_value
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError, MethodAborted, ParseError, Slot

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

Handler = Callable[["Interpreter", Frame], Any]


class BreakSignal(Exception):  # noqa: N818 - control flow, not an error
    """Leave the innermost loop."""


class ContinueSignal(Exception):  # noqa: N818 - control flow, not an error
    """Next turn of the innermost loop."""


def _if(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    frame.conditions.append(end)
    taken, otherwise = _predicate(run, frame)
    if taken:
        run.block(frame, end, frame.scope)
        frame.pos = max(frame.pos, end)
    else:
        frame.pos = end
    frame.conditions.pop()
    frame.last_predicate = taken
    if frame.pos < frame.end and frame.data[frame.pos] == 0xA1:
        _else(run, frame, otherwise)


def truth(run: Interpreter, frame: Frame) -> bool:
    """The value of a predicate. Source: drivers/acpi/acpica/dswexec.c:acpi_ds_get_predicate_value() @ v6.12"""
    operand = run.term(frame)
    if operand is None:
        text = "AE_AML_NO_RETURN_VALUE, Could not get result from predicate evaluation"
        error(run.k, text, {"": "dswexec-85"})
        error(run.k, "AE_AML_NO_RETURN_VALUE, Invoked method did not return a value", {"": "psloop-242"})
        error(run.k, "AE_AML_NO_RETURN_VALUE, GetPredicate Failed", {"": "psloop-247"})
        raise AmlError("AE_AML_NO_RETURN_VALUE", "a predicate without a value")
    value = slot_value(run, operand) if isinstance(operand, Slot) else operand
    if type(value) is int:
        return value & ((1 << 8 * run.width) - 1) != 0
    return convert.to_integer(value, run.width) & ((1 << 8 * run.width) - 1) != 0


def _else(run: Interpreter, frame: Frame, taken: bool) -> None:
    frame.byte()
    end = frame.package_end()
    if taken:
        run.block(frame, end, frame.scope)
    frame.pos = max(frame.pos, end) if taken else end


def _predicate(run: Interpreter, frame: Frame) -> tuple[bool, bool]:
    """Whether the block runs, and whether its Else does.

    A predicate that fails while a table is loaded decides nothing: the block runs.
    """
    start = frame.pos
    try:
        value = truth(run, frame)
    except (ParseError, MethodAborted):
        raise
    except AmlError as problem:
        if not frame.table_level or problem.status == "AE_TYPE":
            raise
        from minikern.acpi.skim import skip_term

        skip_term(run, frame, start)
        return True, False
    if not frame.table_level:
        frame.implicit = int(value)
    return value, not value


def _stray_else(run: Interpreter, frame: Frame) -> None:
    """An Else whose If was left because of an error: the If before that decides."""
    frame.pos -= 1
    _else(run, frame, not frame.last_predicate)


def _while(run: Interpreter, frame: Frame) -> None:
    end = frame.package_end()
    frame.conditions.append(end)
    start, scope = frame.pos, frame.scope
    guard = run.loop()
    frame.loops += 1
    try:
        while _turn(run, frame, start, end):
            frame.scope = scope
            guard.turn()
    finally:
        frame.loops -= 1
    frame.pos, frame.scope = end, scope
    frame.conditions.pop()


def _turn(run: Interpreter, frame: Frame, start: int, end: int) -> bool:
    """One turn of a loop; False when it is over."""
    frame.pos = start
    open_blocks = len(frame.conditions)
    try:
        if not truth(run, frame):
            return False
        run.block(frame, end, frame.scope)
    except BreakSignal:
        del frame.conditions[open_blocks:]
        return False
    except ContinueSignal:
        del frame.conditions[open_blocks:]
    return True


def _leave(signal: type[Exception]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> None:
        if not frame.loops:
            raise AmlError("AE_AML_NO_WHILE", "Break or Continue outside a loop")
        raise signal

    return handler


def _return(run: Interpreter, frame: Frame) -> None:
    operand = run.term(frame) if frame.pos < frame.end else None
    raise ReturnSignal(slot_value(run, operand) if isinstance(operand, Slot) else operand)


def _noop(run: Interpreter, frame: Frame) -> None:
    return None


HANDLERS: dict[int, Handler] = {
    0x9F: _leave(ContinueSignal),
    0xA0: _if,
    0xA1: _stray_else,
    0xA2: _while,
    0xA3: _noop,
    0xA4: _return,
    0xA5: _leave(BreakSignal),
    0xCC: _noop,
}
