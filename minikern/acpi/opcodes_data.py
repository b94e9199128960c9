"""AML opcodes for data: constants, strings, buffers, packages, and what converts and cuts them.

Source: ACPI 6.5 clauses 19.6 and 20.2.5.4; drivers/acpi/acpica/exoparg1.c, exoparg2.c, exoparg3.c, exconcat.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi import convert
from minikern.acpi.messages import error
from minikern.acpi.operands import (
    element,
    integer,
    reference,
    resolve,
    to_buffer,
    to_compute_data,
    to_integer,
)
from minikern.acpi.package_init import init_elements
from minikern.acpi.store import By, store
from minikern.acpi.stream import Frame, sized
from minikern.acpi.values import SCALARS, AmlError, NamePath, type_name
from minikern.state.namespace import Kind

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

MAX_ELEMENTS = 0xFFFF
MAX_BYTES = 4 << 20  # that an operator can get for what it makes. Source: include/linux/slab.h:KMALLOC_MAX_SIZE @ v6.12
COPIED_A_TERM = 512  # bytes that are copied while a term runs, as a loop's limit counts them
Handler = Callable[["Interpreter", Frame], Any]


def _constant(size: int) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> int:
        start = frame.pos
        end = start + size
        if end > frame.end:
            return frame.number(size)  # which says what is wrong
        frame.pos = end
        return int.from_bytes(frame.data[start:end], "little")

    return handler


def _qword(run: Interpreter, frame: Frame) -> int:
    return frame.number(8) & frame.mask


def _string(run: Interpreter, frame: Frame) -> str:
    return frame.text()


def _buffer(run: Interpreter, frame: Frame) -> bytearray:
    end = frame.package_end()
    return frame.buffer_tail(integer(run, frame) & 0xFFFF_FFFF, end)


def _package(run: Interpreter, frame: Frame) -> list[Any]:
    end = frame.package_end()
    return _elements(run, frame, frame.byte(), end)


def _var_package(run: Interpreter, frame: Frame) -> list[Any]:
    end = frame.package_end()
    return _elements(run, frame, min(integer(run, frame), MAX_ELEMENTS), end)


def _elements(run: Interpreter, frame: Frame, count: int, end: int) -> list[Any]:
    """Source: drivers/acpi/acpica/dspkginit.c:acpi_ds_build_internal_package_obj() @ v6.12"""
    found = [item for item in frame.package(end, lambda at: _element(run, at)) if item is not None]
    if len(found) > count:
        text = f"Actual Package length ({len(found)}) is larger than NumElements field ({count}), truncated"
        run.k.printk(f"ACPI: {text}")
    made = sized(count, found)
    if any(isinstance(item, _Expression) for item in made):
        text = "AE_SUPPORT, Expressions within package elements are not supported"
        error(run.k, text, {"": "dspkginit-158"})
        raise AmlError("AE_SUPPORT", text)
    if frame.table_level:
        run.unsettled = True
    else:
        init_elements(run, made)
    return made


def _element(run: Interpreter, frame: Frame) -> Any:
    """A name, or a term that is none of the plain ones.

    A method's name is no call here; still it is read like one, so that as many terms as it has arguments are taken.
    """
    if frame.data[frame.pos] not in frame.name_start:
        return _expression(run, frame)
    prefix, segments = frame.name_path()
    named = run.find(frame.scope, prefix, segments)
    if named is not None and named.kind is Kind.METHOD:
        for _ in range(named.value.arguments):
            run.term(frame)
    return NamePath(prefix + ".".join(segments), frame.scope)


class _Expression:
    """Stands for an element that an operator computed: no interpreter can keep it."""


def _expression(run: Interpreter, frame: Frame) -> Any:
    """A term that is no data is executed: objects it creates are made and are no elements, results are refused."""
    value = run.term(frame)
    return value if value is None or isinstance(value, bytearray | list) else _Expression()


def _concatenate(run: Interpreter, frame: Frame) -> Any:
    left, right = run.term(frame), run.term(frame)
    target = reference(run, frame)
    right, left = resolve(run, right), resolve(run, left)
    result = joined(run, left, right)
    store(run, result, target)
    return result


def joined(run: Interpreter, left: Any, right: Any) -> str | bytearray:
    """Concatenate: the left operand's type decides; what is no data is named by its type.

    Source: drivers/acpi/acpica/exconcat.c:acpi_ex_do_concatenate() @ v6.12
    """
    left, right = _or_type(left), _or_type(right)
    if isinstance(left, str):
        text = convert.to_string(right, run.width)
        _take_room(run, len(left) + len(text))
        return left + text
    if isinstance(left, bytearray):
        data = convert.to_buffer(right, run.width)
        _take_room(run, len(left) + len(data))
        return left + data
    number = convert.to_integer(right, run.width)
    return convert.to_buffer(left, run.width) + convert.to_buffer(number, run.width)


def _take_room(run: Interpreter, size: int) -> None:
    """Memory for a result: more than the kernel's allocator has at once is refused, and copying takes time."""
    if size > MAX_BYTES:
        raise AmlError("AE_NO_MEMORY", f"an object of {size} bytes")
    run.opcodes += size // COPIED_A_TERM


def _or_type(value: Any) -> int | str | bytearray:
    return value if isinstance(value, SCALARS) else f"[{type_name(value)} Object]"


def _concatenate_resources(run: Interpreter, frame: Frame) -> bytearray:
    left, right = run.term(frame), run.term(frame)
    target = reference(run, frame)
    right, left = to_buffer(run, right), to_buffer(run, left)
    _take_room(run, len(left) + len(right))
    result = bytearray(_before_end_tag(left) + _before_end_tag(right) + b"\x79\x00")
    store(run, result, target)
    return result


def _before_end_tag(template: bytearray) -> bytes:
    """Source: drivers/acpi/acpica/utresrc.c:acpi_ut_get_resource_end_tag() @ v6.12"""
    from minikern.acpi.resources import template_length

    if not template:
        return b""
    try:
        return bytes(template[: template_length(bytes(template))])
    except ValueError as problem:
        raise AmlError(str(problem), "no resource template") from None


def _mid(run: Interpreter, frame: Frame) -> Any:
    source, start, count = run.term(frame), run.term(frame), run.term(frame)
    target = reference(run, frame)
    length, first = to_integer(run, count), to_integer(run, start)
    source = resolve(run, source)
    data = source if isinstance(source, str) else to_buffer(run, source)
    result = data[min(first, len(data)) : min(first + length, len(data))]
    store(run, result, target)
    return result


def _convert(change: Callable[[Interpreter, Any], Any]) -> Handler:
    def handler(run: Interpreter, frame: Frame) -> Any:
        operand = run.term(frame)
        target = reference(run, frame)
        result = change(run, to_compute_data(run, operand))
        store(run, result, target, By.FIXED)
        return result

    return handler


def _to_buffer(run: Interpreter, value: Any) -> bytearray:
    return bytearray(convert.to_buffer(value, run.width))


def _to_integer(run: Interpreter, value: Any) -> int:
    return convert.to_integer(value, run.width, explicit=True)


def _to_hex_string(run: Interpreter, value: Any) -> str:
    plain = isinstance(value, int) and run.revision < HEX_PREFIX_SINCE
    return convert.to_string(value, run.width) if plain else convert.to_hex_string(value)


HEX_PREFIX_SINCE = "20240827"
"""From this revision on ToHexString of an integer has 0x before it and no zeros."""


def _to_string_op(run: Interpreter, frame: Frame) -> str:
    source, limit = run.term(frame), run.term(frame)
    target = reference(run, frame)
    count, data = to_integer(run, limit), to_buffer(run, source)
    text = bytes(data[: min(count, len(data))]).split(b"\0", 1)[0].decode("latin-1")
    store(run, text, target, By.FIXED)
    return text


def _match(run: Interpreter, frame: Frame) -> int:
    """Source: drivers/acpi/acpica/exoparg6.c:acpi_ex_opcode_6A_0T_1R() @ v6.12"""
    package = run.term(frame)
    first, first_value = frame.byte(), run.term(frame)
    second, second_value = frame.byte(), run.term(frame)
    start = integer(run, frame)
    tests = ((first, to_compute_data(run, first_value)), (second, to_compute_data(run, second_value)))
    elements = resolve(run, package)
    _check_match(run, elements, tests, start)
    for position in range(start, len(elements)):
        value = element(run, elements[position])
        if value is not None and all(_matches(run, value, *test) for test in tests):
            return position
    return frame.mask


def _check_match(run: Interpreter, elements: Any, tests: tuple[tuple[int, Any], ...], start: int) -> None:
    if not isinstance(elements, list):
        raise AmlError("AE_AML_OPERAND_TYPE", "Match needs a package")
    if any(test > 5 for test, _ in tests):
        error(run.k, "Match operator out of range", {"": "exoparg6-170"})
        raise AmlError("AE_AML_OPERAND_VALUE", "Match operator out of range")
    if start >= len(elements):
        error(run.k, f"Index (0x{start:016X}) beyond package end (0x{len(elements):X})", {"": "exoparg6-182"})
        raise AmlError("AE_AML_PACKAGE_LIMIT", f"index {start} of {len(elements)} elements")


def _matches(run: Interpreter, value: Any, test: int, operand: Any) -> bool:
    if test == 0:
        return True
    if not isinstance(value, SCALARS):
        return False
    try:
        order = convert.compare(operand, value, run.width)
    except AmlError:
        return False
    return {1: order == 0, 2: order >= 0, 3: order > 0, 4: order <= 0, 5: order < 0}[test]


HANDLERS: dict[int, Handler] = {
    0x00: lambda run, frame: 0,
    0x01: lambda run, frame: 1,
    0x0A: _constant(1),
    0x0B: _constant(2),
    0x0C: _constant(4),
    0x0D: _string,
    0x0E: _qword,
    0x11: _buffer,
    0x12: _package,
    0x13: _var_package,
    0x73: _concatenate,
    0x84: _concatenate_resources,
    0x89: _match,
    0x96: _convert(_to_buffer),
    0x97: _convert(lambda run, value: convert.to_decimal_string(value)),
    0x98: _convert(_to_hex_string),
    0x99: _convert(_to_integer),
    0x9C: _to_string_op,
    0x9E: _mid,
    0xFF: lambda run, frame: frame.mask,
}
