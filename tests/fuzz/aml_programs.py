"""AML that is well formed and proves that it ran: between its terms it counts, and the count is looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi.evaluate import evaluate
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from tests.acpi.mutations import loaded
from tests.fuzz.mutations import one_in

PATIENCE = 20_000
ENDLESS = 400  # loops to one that may not end: they take their whole patience
COUNTED = aml.increment(aml.name_path("DONE"))
NUMBERS = (0xFF, 0x100, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1)
NAMES = ("INT0", "STR0", "BUF0", "PKG0", "FLD0", "FLD1")
TEXTS = ("", "a", "0x1F", "beef")
BINARY: tuple[Callable[..., bytes], ...] = (aml.add, aml.and_, aml.or_, aml.shift_left, aml.equal, aml.less)
DECLARED = b"".join([
    aml.name("DONE", aml.ZERO), aml.name("INT0", aml.integer(5)), aml.name("STR0", aml.string("text")),
    aml.name("BUF0", aml.buffer(bytes(range(9)))), aml.name("PKG0", aml.package([aml.ONE, aml.string("x")])),
    aml.operation_region("REG0", 0, aml.integer(0x100000), aml.integer(0x40)),
    aml.field("REG0", 1, [("FLD0", 8), ("FLD1", 36)]),
    aml.method("ADD2", 2, [COUNTED, aml.return_(aml.add(aml.arg(0), aml.arg(1)))]),
    aml.method("DEEP", 1, [aml.if_(aml.arg(0), [
        aml.return_(aml.call("\\DEEP", aml.shift_left(aml.arg(0), aml.ONE)))]), aml.return_(aml.ONE)]),
])  # fmt: skip


def _literal(chance: Random) -> bytes:
    match chance.randrange(3):
        case 0:
            return aml.integer(chance.choice(NUMBERS) if one_in(chance, 2) else chance.randint(0, 20))
        case 1:
            return aml.string(chance.choice(TEXTS))
    return aml.buffer(bytes(chance.randrange(256) for _ in range(chance.randint(1, 9))))


def _place(chance: Random) -> bytes:
    return aml.name_path(chance.choice(NAMES)) if one_in(chance, 2) else aml.local(chance.randint(0, 7))


def _value(chance: Random, depth: int = 3) -> bytes:
    kind = chance.randrange(8) if depth else 0
    if kind < 4:
        return _literal(chance) if one_in(chance, 2) else _place(chance)
    first = _value(chance, depth - 1)
    match kind:
        case 4:
            return chance.choice(BINARY)(first, _value(chance, depth - 1))
        case 5:
            return aml.not_(first)
        case 6:
            return aml.deref_of(aml.index(aml.name_path(chance.choice(NAMES)), first))
    return aml.call("\\ADD2", first, _value(chance, depth - 1))


def _term(chance: Random, depth: int = 2) -> bytes:
    match chance.randrange(6) if depth else chance.randrange(4):
        case 0:
            return aml.store(_value(chance), _place(chance))
        case 1:
            return aml.increment(_place(chance))
        case 2:
            return aml.return_(_value(chance))
        case 3:
            return aml.call("\\DEEP", _value(chance))
        case 4:
            return aml.if_(_value(chance), [_term(chance, depth - 1) for _ in range(chance.randint(0, 3))])
    inner = [_term(chance, depth - 1) for _ in range(chance.randint(0, 2))]
    if one_in(chance, ENDLESS):
        return aml.while_(_value(chance), [*inner, COUNTED])
    turns = aml.local(chance.randint(0, 7))
    return aml.while_(aml.less(turns, aml.integer(chance.randint(0, 9))), [*inner, aml.increment(turns), COUNTED])


def program(chance: Random) -> bytes:
    """A DSDT whose method MAIN begins and goes on with counting."""
    terms = [part for _ in range(chance.randint(1, 8)) for part in (_term(chance), COUNTED)]
    main = aml.method("MAIN", 0, [COUNTED, *terms])
    return sdt("DSDT", 2, DECLARED + main, TableIds())


@cache
def _kernel() -> Kernel:
    return bare_kernel([DumpedTable("DSDT", 0, sdt("DSDT", 2, DECLARED, TableIds()))])


def run_program(data: bytes) -> Any:
    """Load it and call MAIN. AmlError: it ended in ACPICA's words. AssertionError: it did not run at all."""
    run = loaded(_kernel(), data, PATIENCE)
    try:
        return evaluate(run, run.namespace.find("\\MAIN"), [])
    finally:
        count = evaluate(run, run.namespace.find("\\DONE"), [])
        assert isinstance(count, int) and count > 0, count
        run.namespace.check()
