"""Blocks of plain declarations make what they make term by term, whatever their bytes."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.acpi import declarations
from minikern.acpi.aml_load import acpi_load_tables, load_secondary_block
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.package_init import init_packages
from minikern.acpi.region_buffers import buffered_spaces
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable, read_acpidump
from minikern.lab.acpi_source import bare_kernel
from minikern.state.acpi import AcpiState, Table
from minikern.state.namespace import Kind, Node
from tests.acpi.support import CORPORA

DUMPS = sorted((CORPORA / "acpidump").glob("*.gz")) if CORPORA.is_dir() else []
PLAIN = [
    aml.name("_ADR", aml.ZERO),
    aml.name("NUMB", aml.integer(0x1234_5678_9ABC)),
    aml.name("TEXT", aml.string("text")),
    aml.name("BYTE", aml.buffer(b"bytes")),
    aml.name("PACK", aml.package([aml.integer(300), aml.string("x"), aml.package([aml.buffer(b"y"), aml.ONES])])),
    aml.operation_region("REGN", 0, aml.integer(0x1000), aml.integer(32)),
    aml.field("REGN", 1, [("FLD0", 8), ("", 3), ("FLD1", 21)]),
    aml.method("MAKE", 1, [aml.name("MADE", aml.ONE), aml.return_(aml.arg(0))]),
    aml.method("SERI", 0, [aml.return_(aml.ONE)], serialized=True),
    aml.method("PURE", 2, [aml.return_(aml.ONE)]),
]
NOT_PLAIN = [
    aml.name("NAMD", aml.package([aml.name_path("NUMB")])),
    aml.name("^OVER", aml.ONE),
    aml.name("ZERO", aml.add(aml.ONE, aml.ONE)),
    aml.name("TEXT", aml.ZERO),
    aml.operation_region("NONE", 0, aml.ZERO, aml.ZERO),
    aml.operation_region("BROK", 0x20, aml.ZERO, aml.ONE),
    aml.field("OUTS", 1, [("FLD2", 8)]),
    aml.field("REGN", 1, [("FLD1", 8)]),
    aml.device("DEEP", [aml.name("_ADR", aml.ONE)]),
    aml.mutex("MUTX"),
]
BLOCKS = st.lists(st.one_of(st.sampled_from(PLAIN), st.sampled_from(PLAIN + NOT_PLAIN)), max_size=12)


@contextmanager
def term_by_term() -> Iterator[None]:
    """No block is taken for a plain one."""
    before, declarations.LARGEST_BYTES = declarations.LARGEST_BYTES, -1
    try:
        yield
    finally:
        declarations.LARGEST_BYTES = before


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return bare_kernel([DumpedTable("DSDT", 0, sdt("DSDT", 2, b"", TableIds()))])


def shown(value: Any) -> Any:
    """A value with all its parts, objects of the namespace as their paths."""
    if isinstance(value, Node):
        return value.path
    if isinstance(value, list):
        return [shown(item) for item in value]
    if is_dataclass(value):
        parts = [getattr(value, part.name) for part in fields(value)]
        return type(value), [len(part) if isinstance(part, bytes) else shown(part) for part in parts]
    return value if isinstance(value, int | str | bytearray | None) else type(value)


def loaded(kernel: Kernel, tables: list[tuple[str, bytes]], look: bool = False) -> tuple[Any, ...]:
    """What is there when tables are loaded: every object, what was said, and what was counted.

    Names in packages are resolved, and again with each further table; ``look``: whether it seems needed or not.
    """
    kernel.log.lines.clear()
    listed = [Table(name, number, len(data), data) for number, (name, data) in enumerate(tables)]
    kernel.acpi = AcpiState(tables=listed)
    acpi_load_tables(kernel, slack=True, spaces=buffered_spaces(0))
    run = loaded_interpreter(kernel)
    for more in (b"", sdt("SSDT", 2, b"".join(PLAIN), TableIds()), tables[0][1]):
        if more:
            load_secondary_block(run, more)
        run.unsettled = run.unsettled or look
        init_packages(run)
    run.namespace.check()
    objects = [(node.path, node.kind, node.owner, shown(node.value)) for node in run.namespace.walk()]
    return objects, [line.text for line in kernel.log.lines], run.account.tables, run.opcodes, run.changes


def same_both_ways(kernel: Kernel, *tables: tuple[str, bytes]) -> None:
    found = loaded(kernel, list(tables))
    with term_by_term():
        assert loaded(kernel, list(tables), look=True) == found


def machine(body: bytes, revision: int) -> bytes:
    """Devices with that body, and one whose scope is opened once more."""
    outside = aml.operation_region("OUTS", 0, aml.ZERO, aml.integer(64))
    devices = [aml.device(f"DEV{number}", [body]) for number in range(3)]
    again = aml.scope("\\DEV0", [aml.name("TEXT", aml.ONE)])
    return sdt("DSDT", revision, b"".join([outside, *devices, again]), TableIds())


@settings(max_examples=50)
@given(BLOCKS, st.sampled_from([1, 2]))
def test_any_block_makes_what_its_terms_make(kernel: Kernel, terms: list[bytes], revision: int) -> None:
    same_both_ways(kernel, ("DSDT", machine(b"".join(terms), revision)))


def test_a_damaged_block_ends_as_term_by_term(kernel: Kernel) -> None:
    draw = random.Random(23)
    sound = b"".join(PLAIN)
    for _ in range(120):
        body = bytearray(sound)
        for _ in range(draw.randint(1, 3)):
            body[draw.randrange(len(body))] = draw.choice([draw.randrange(256), 0x11, 0x12, 0x0E, 0x5B])
        same_both_ways(kernel, ("DSDT", machine(bytes(body), 2)))


@pytest.mark.oracle
@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name.partition("-")[0])
def test_servers_tables_load_as_term_by_term(kernel: Kernel, dump: Path) -> None:
    tables = read_acpidump(gzip.decompress(dump.read_bytes()).decode("latin-1"))
    same_both_ways(kernel, *((table.signature, table.data) for table in tables))


def test_the_plain_are_taken_and_shared_values_are_not(kernel: Kernel) -> None:
    block = declarations.read_block(b"".join(PLAIN), 8, True)
    assert block is not None and len(block.objects) == 11
    assert not [term for term in NOT_PLAIN[:3] + NOT_PLAIN[4:] if declarations.read_block(term, 8, True) is not None]
    loaded(kernel, [("DSDT", machine(b"".join(PLAIN), 2))])
    first, second = (loaded_interpreter(kernel).namespace.root.children[name].children for name in ("DEV1", "DEV2"))
    for name, node in first.items():
        if node.kind not in (Kind.INTEGER, Kind.STRING):
            assert node.value is not second[name].value, name
    first["PACK"].value[2][0][:] = b"!"
    assert second["PACK"].value[2][0] == b"y"
