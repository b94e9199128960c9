"""AML that is well formed and proves that it ran: between its terms it counts, and the count is looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from hypothesis import strategies as st

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi.evaluate import evaluate
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from tests.acpi.mutations import loaded

PATIENCE = 20_000
COUNTED = aml.increment(aml.name_path("DONE"))
NUMBERS = st.one_of(st.integers(0, 20), st.sampled_from((0xFF, 0x100, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1)))
LITERALS = st.one_of(NUMBERS.map(aml.integer), st.sampled_from(("", "a", "0x1F", "beef")).map(aml.string),
                     st.binary(min_size=1, max_size=9).map(aml.buffer))  # fmt: skip
NAMES = st.sampled_from(("INT0", "STR0", "BUF0", "PKG0", "FLD0", "FLD1")).map(aml.name_path)
PLACES = st.one_of(NAMES, st.integers(0, 7).map(aml.local))
DECLARED = b"".join([
    aml.name("DONE", aml.ZERO), aml.name("INT0", aml.integer(5)), aml.name("STR0", aml.string("text")),
    aml.name("BUF0", aml.buffer(bytes(range(9)))), aml.name("PKG0", aml.package([aml.ONE, aml.string("x")])),
    aml.operation_region("REG0", 0, aml.integer(0x100000), aml.integer(0x40)),
    aml.field("REG0", 1, [("FLD0", 8), ("FLD1", 36)]),
    aml.method("ADD2", 2, [COUNTED, aml.return_(aml.add(aml.arg(0), aml.arg(1)))]),
    aml.method("DEEP", 1, [aml.if_(aml.arg(0), [
        aml.return_(aml.call("\\DEEP", aml.shift_left(aml.arg(0), aml.ONE)))]), aml.return_(aml.ONE)]),
])  # fmt: skip


def _values() -> st.SearchStrategy[bytes]:
    binary: st.SearchStrategy[Callable[..., bytes]] = st.sampled_from((aml.add, aml.and_, aml.or_, aml.shift_left,
                                                                       aml.equal, aml.less))  # fmt: skip
    return st.recursive(
        st.one_of(LITERALS, PLACES),
        lambda inner: st.one_of(
            st.builds(lambda op, a, b: op(a, b), binary, inner, inner),
            st.builds(aml.not_, inner),
            st.builds(lambda a, b: aml.deref_of(aml.index(a, b)), NAMES, inner),
            st.builds(lambda a, b: aml.call("\\ADD2", a, b), inner, inner),
        ),
        max_leaves=6,
    )


def _terms() -> st.SearchStrategy[list[bytes]]:
    one = st.one_of(
        st.builds(aml.store, _values(), PLACES), st.builds(aml.increment, PLACES), st.builds(aml.return_, _values()),
        st.builds(lambda value: aml.call("\\DEEP", value), _values()),
    )  # fmt: skip
    nested = st.recursive(
        one,
        lambda inner: st.one_of(
            st.builds(aml.if_, _values(), st.lists(inner, max_size=3)),
            st.builds(lambda value, body: aml.while_(value, [*body, COUNTED]), _values(), st.lists(inner, max_size=2)),
        ),
        max_leaves=5,
    )
    return st.lists(nested, min_size=1, max_size=8)


def programs() -> st.SearchStrategy[bytes]:
    """A DSDT whose method MAIN begins and goes on with counting."""
    return _terms().map(lambda terms: sdt("DSDT", 2, DECLARED + aml.method("MAIN", 0, [
        COUNTED, *(part for term in terms for part in (term, COUNTED))]), TableIds()))  # fmt: skip


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
