"""AML opcodes that compute with integers and compare.

Source: ACPI 6.5 clauses 19.6 and 20.2.5.4; drivers/acpi/acpica/exmisc.c, exoparg1.c, exoparg2.c @ v6.12
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.messages import error
from minikern.acpi.operands import integer, reference, reference_value, to_compute_data, to_integer
from minikern.acpi.store import By, store
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

Handler = Callable[["Interpreter", Frame], Any]


U64 = (1 << 64) - 1
"""Operators compute in 64 bits; a field gets the result so, everything else in the width of an integer."""


def truth(frame: Frame, condition: bool) -> int:
    """A condition as AML has it: all ones or zero."""
    return frame.mask if condition else 0


def _binary(compute: Callable[[int, int], int]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left, right = run.term(frame), run.term(frame)
        target = reference(run, frame)
        right = to_integer(run, right)
        result = compute(to_integer(run, left), right) & U64
        store(run, result, target)
        return result & frame.mask

    return handler


def _unary(compute: Callable[[int], int], by: By = By.RESULT) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        operand = run.term(frame)
        target = reference(run, frame)
        result = compute(to_integer(run, operand)) & U64
        store(run, result, target, by)
        return result & frame.mask

    return handler


def _shift(direction: Callable[[int, int], int]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left, right = run.term(frame), run.term(frame)
        target = reference(run, frame)
        count = to_integer(run, right)
        value = to_integer(run, left)
        result = direction(value, count) & U64 if count < 8 * frame.width else 0
        store(run, result, target)
        return result & frame.mask

    return handler


def _divided(run: Interpreter, frame: Frame) -> tuple[int, int]:
    left, right = run.term(frame), run.term(frame)
    divisor = to_integer(run, right)
    dividend = to_integer(run, left)
    if divisor == 0:
        error(run.k, "Divide by zero", {"": "utmath-357"})
        raise AmlError("AE_AML_DIVIDE_BY_ZERO", "division by zero")
    return divmod(dividend, divisor)


def _modulo(run: Interpreter, frame: Frame) -> int:
    _, remainder = _divided(run, frame)
    store(run, remainder, reference(run, frame))
    return remainder


def _divide(run: Interpreter, frame: Frame) -> int:
    quotient, remainder = _divided(run, frame)
    first, second = reference(run, frame), reference(run, frame)
    store(run, remainder, first)
    store(run, quotient, second)
    return quotient


def _step(by: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        target = reference(run, frame)
        result = (to_integer(run, reference_value(run, target)) + by) & U64
        store(run, result, target)
        return result & frame.mask

    return handler


def _logical(test: Callable[[int, int], bool]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left, right = run.term(frame), run.term(frame)
        right = to_integer(run, right)
        return truth(frame, test(to_integer(run, left), right))

    return handler


def _comparison(test: Callable[[int, int], bool]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        left, right = run.term(frame), run.term(frame)
        right = to_compute_data(run, right)
        left = to_compute_data(run, left)
        if isinstance(left, int) and isinstance(right, int):
            return truth(frame, test(left, right))
        return truth(frame, test(convert.compare(left, right, run.width), 0))

    return handler


def _not(run: Interpreter, frame: Frame) -> int:
    return truth(frame, integer(run, frame) == 0)


def _find_right(value: int) -> int:
    return (value & -value).bit_length()


def _from_bcd(run: Interpreter, frame: Frame) -> int:
    operand = run.term(frame)
    target = reference(run, frame)
    digits = f"{to_integer(run, operand):x}"
    if not digits.isdecimal():
        worst = next(digit for digit in reversed(digits) if not digit.isdecimal())
        error(run.k, f"BCD digit too large (not decimal): 0x{worst.upper()}", {"": "exoparg1-331"})
        raise AmlError("AE_AML_NUMERIC_OVERFLOW", "not decimal")
    result = int(digits) & frame.mask
    store(run, result, target, By.FIXED)
    return result


def _to_bcd(run: Interpreter, frame: Frame) -> int:
    operand = run.term(frame)
    target = reference(run, frame)
    value = to_integer(run, operand)
    digits = str(value)
    if len(digits) > 2 * frame.width:
        error(run.k, f"Integer too large to convert to BCD: 0x{value:016X}", {"": "exoparg1-389"})
        raise AmlError("AE_AML_NUMERIC_OVERFLOW", "too many digits")
    result = int(digits, 16)
    store(run, result, target, By.FIXED)
    return result


HANDLERS: dict[int, Handler] = {
    0x72: _binary(operator.add),
    0x74: _binary(operator.sub),
    0x75: _step(1),
    0x76: _step(-1),
    0x77: _binary(operator.mul),
    0x78: _divide,
    0x79: _shift(operator.lshift),
    0x7A: _shift(operator.rshift),
    0x7B: _binary(operator.and_),
    0x7C: _binary(lambda left, right: ~(left & right)),
    0x7D: _binary(operator.or_),
    0x7E: _binary(lambda left, right: ~(left | right)),
    0x7F: _binary(operator.xor),
    0x80: _unary(operator.invert),
    0x81: _unary(int.bit_length),
    0x82: _unary(_find_right),
    0x85: _modulo,
    0x90: _logical(lambda left, right: bool(left and right)),
    0x91: _logical(lambda left, right: bool(left or right)),
    0x92: _not,
    0x93: _comparison(operator.eq),
    0x94: _comparison(operator.gt),
    0x95: _comparison(operator.lt),
    0x5B28: _from_bcd,
    0x5B29: _to_bcd,
}
