from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.bus import Bus
from hw.errors import MachineStopped
from minikern.acpi import loops
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.ids import hardware_id
from minikern.acpi.resources import bus_range, descriptors, first_interrupt, windows
from minikern.acpi.values import get_bits, set_bits
from minikern.state.acpi import AcpiState, Table
from minikern.state.namespace import Kind
from tests.acpi.support import ConfigSpace, SmallKernel, small_kernel
from tests.naive_acpi import bits_of, eisa_text

DWORD = st.integers(0, (1 << 32) - 1)


def load(*terms: bytes, revision: int = 2, bus: Bus | None = None, extra: list[bytes] | None = None) -> SmallKernel:
    tables = [sdt("DSDT", revision, b"".join(terms), TableIds()), *(extra or [])]
    k = small_kernel(bus or Bus())
    k.acpi = AcpiState(tables=[Table(data[:4].decode(), 0x1000 * n, len(data), data) for n, data in enumerate(tables)])
    acpi_load_tables(k)
    k.acpi.namespace.check()
    return k


def result(k: SmallKernel, name: str, *args: Any) -> Any:
    return k.acpi.interpreter.evaluate(k.acpi.namespace.root, name, args=list(args))


def method(*terms: bytes, arguments: int = 0) -> bytes:
    return aml.method("TEST", arguments, terms)


@settings(max_examples=40)
@given(DWORD, DWORD)
def test_arithmetic(left: int, right: int) -> None:
    a, b = aml.integer(left), aml.integer(right)
    pairs = [(aml.add, left + right), (aml.and_, left & right), (aml.or_, left | right)]
    for encode, wanted in pairs:
        assert result(load(method(aml.return_(encode(a, b)))), "TEST") == wanted
    assert result(load(method(aml.return_(aml.add(a, b))), revision=1), "TEST") == (left + right) & 0xFFFF_FFFF


def test_comparisons_give_all_ones() -> None:
    assert result(load(method(aml.return_(aml.less(aml.ONE, aml.integer(2))))), "TEST") == (1 << 64) - 1
    assert result(load(method(aml.return_(aml.equal(aml.ONE, aml.integer(2))))), "TEST") == 0


def test_while_and_locals() -> None:
    body = [aml.store(aml.ZERO, aml.local(0)), aml.store(aml.ZERO, aml.local(1))]
    loop = [aml.add(aml.local(0), aml.local(1), aml.local(0)), aml.increment(aml.local(1))]
    body.append(aml.while_(aml.less(aml.local(1), aml.arg(0)), loop))
    k = load(method(*body, aml.return_(aml.local(0)), arguments=1))
    assert result(k, "TEST", 11) == 55


def test_endless_loop_ends_with_an_error() -> None:
    k = load(method(aml.while_(aml.ONE, [b"\xa3"])))
    assert result(k, "TEST") is None
    assert "ACPI Error: Aborting method \\TEST due to previous error (AE_AML_LOOP_TIMEOUT)" in k.lines[-1]


def test_thousands_of_endless_loops_share_one_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "LITTLE_PATIENCE", 20_000)
    k = load(method(aml.while_(aml.ONE, [aml.increment(aml.local(0))])))
    run = k.acpi.interpreter
    run.patience = 20_000
    for _ in range(300):
        assert result(k, "TEST") is None
    assert run.opcodes < 20_000 * 11 + 300 * 1100
    assert run.slept_us > 299 * 30_000_000
    assert sum("AE_AML_LOOP_TIMEOUT" in line for line in k.lines) >= 300


def test_methods_that_call_each_other_for_ever_stop_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [aml.method(f"M{at:03d}", 0, [aml.call(f"M{at + 1:03d}")] * 2) for at in range(100)]
    k = load(*twice, aml.method("M100", 0, []))
    monkeypatch.setattr(loops, "MAX_CALLS", 5000)
    with pytest.raises(MachineStopped, match="5001 method calls, and no end: expected at most 16000000 and 5000"):
        result(k, "M000")


def test_loops_that_end_late_stop_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    count = aml.local(0)
    k = load(method(aml.while_(aml.less(count, aml.integer(9000)), [aml.increment(count)])))
    assert result(k, "TEST") == 9000
    monkeypatch.setattr(loops, "MAX_TERMS", 50_000)
    with pytest.raises(MachineStopped, match=r"ACPI: \d+ terms"):
        for _ in range(9):
            result(k, "TEST")


def test_a_method_that_ends_before_it_begins_has_no_bytes() -> None:
    k = load(b"\x14\x02TEST\x00\xa3\xa3", aml.name("NEXT", aml.integer(5)))
    assert all(entry.pieces >= 0 for entry in k.ledger.entries())


def test_endless_recursion_ends_with_an_error() -> None:
    k = load(method(aml.return_(aml.call("TEST"))))
    assert result(k, "TEST") is None
    assert any("AE_AML_METHOD_LIMIT" in line for line in k.lines)


def test_terms_nest_deeply() -> None:
    assert result(load(method(aml.return_(b"\x92" * 5000 + b"\x01"))), "TEST") == (1 << 64) - 1


def test_terms_that_nest_without_end_are_an_error() -> None:
    assert result(load(method(aml.return_(b"\x92" * 200_000 + b"\x01"))), "TEST") is None


def test_what_a_method_creates_goes_away() -> None:
    body = [aml.name("TEMP", aml.integer(7)), aml.return_(aml.name_path("TEMP"))]
    k = load(method(*body))
    assert result(k, "TEST") == result(k, "TEST") == 7
    assert k.acpi.namespace.find("\\TEST.TEMP") is None


def test_names_are_found_upwards() -> None:
    inner = aml.device("DEV0", [aml.method("GETV", 0, [aml.return_(aml.name_path("VALU"))])])
    k = load(aml.scope("\\_SB", [aml.name("VALU", aml.integer(5)), inner]))
    node = k.acpi.namespace.find("\\_SB.DEV0")
    assert k.acpi.interpreter.evaluate(node, "GETV") == 5


def test_table_level_if() -> None:
    k = load(
        aml.name("FLAG", aml.ZERO),
        aml.if_(aml.name_path("FLAG"), [aml.name("YES0", aml.ONE)]),
        aml.else_([aml.name("NOT0", aml.ONE)]),
    )
    assert k.acpi.namespace.find("\\YES0") is None
    assert k.acpi.namespace.find("\\NOT0") is not None


def test_memory_fields() -> None:
    bus = Bus()
    bus.write_bytes(0x5000, bytes(range(16)))
    region = aml.operation_region("REGN", 0, aml.integer(0x5000), aml.integer(16))
    units = [("LOWB", 8), ("", 4), ("NIBL", 4), ("WIDE", 32)]
    k = load(region, aml.field("REGN", 1, units), method(aml.store(aml.integer(0xA), aml.name_path("NIBL"))), bus=bus)
    run, root = k.acpi.interpreter, k.acpi.namespace.root
    assert run.evaluate(root, "LOWB") == 0
    assert run.evaluate(root, "WIDE") == 0x05040302
    result(k, "TEST")
    assert bus.read_bytes(0x5001, 1) == b"\xa1"


def test_pci_configuration_fields_behind_a_bridge() -> None:
    bus = Bus()
    bridge, inner = bytearray(256), bytearray(256)
    bridge[0x0E], bridge[0x19] = 1, 5
    inner[0x60] = 0x42
    bus.map_ports(0xCF8, 8, ConfigSpace({(2, 0x08): bridge, (5, 0x1A): inner}))
    region = aml.operation_region("CONF", 2, aml.integer(0x60), aml.integer(4))
    leaf = aml.device("LEAF", [aml.name("_ADR", aml.integer(3 << 16 | 2)), region, aml.field("CONF", 1, [("VAL0", 8)])])
    port = aml.device("PORT", [aml.name("_ADR", aml.integer(1 << 16)), leaf])
    root = aml.device("PC02", [aml.name("_HID", aml.hardware_id("PNP0A03")), aml.name("_BBN", aml.integer(2)), port])
    k = load(aml.scope("\\_SB", [root]), bus=bus)
    node = k.acpi.namespace.find("\\_SB.PC02.PORT.LEAF")
    assert k.acpi.interpreter.evaluate(node, "VAL0") == 0x42


def test_load_from_memory() -> None:
    bus = Bus()
    table = sdt("SSDT", 2, aml.name("NEW0", aml.integer(9)), TableIds("OEM", "CpuIst"))
    bus.write_bytes(0x7000, table)
    region = aml.operation_region("IST0", 0, aml.integer(0x7000), aml.integer(len(table)))
    k = load(aml.name("HNDL", aml.ZERO), region, method(aml.load("IST0", aml.name_path("HNDL"))), bus=bus)
    result(k, "TEST")
    assert k.acpi.namespace.find("\\NEW0").value == 9
    assert k.lines[-2] == "ACPI: Dynamic OEM Table Load:"
    assert k.lines[-1].startswith(f"ACPI: SSDT 0xFFFF888000007000 {len(table):06X} (v02 OEM    CpuIst   ")
    assert k.charges["acpi_dynamic_table_load"] == 1


def test_load_of_nothing() -> None:
    region = aml.operation_region("IST0", 0, aml.integer(0x7000), aml.integer(0x1000))
    k = load(aml.name("HNDL", aml.ZERO), region, method(aml.load("IST0", aml.name_path("HNDL"))))
    result(k, "TEST")
    assert not any("Dynamic" in line for line in k.lines)


def test_scope_of_a_missing_device_is_one_error_and_skipped() -> None:
    k = load(aml.scope("\\_SB.GONE", [aml.name("A000", aml.ONE)]), aml.name("B000", aml.ONE))
    assert k.acpi.namespace.find("\\B000") is not None
    assert any("Could not resolve symbol [\\_SB.GONE], AE_NOT_FOUND" in line for line in k.lines)
    assert k.lines[-1] == "ACPI: 1 ACPI AML tables successfully acquired and loaded"


def test_second_definition_is_refused() -> None:
    k = load(aml.device("DEV0", [aml.name("ONE0", aml.ONE)]), aml.device("DEV0", [aml.name("TWO0", aml.ONE)]))
    assert any("Failure creating named object [\\DEV0], AE_ALREADY_EXISTS" in line for line in k.lines)
    assert k.acpi.namespace.find("\\DEV0.TWO0") is None


def test_a_byte_that_starts_no_term_is_passed_over() -> None:
    k = load(aml.name("A000", aml.ONE), b"\x02", aml.name("B000", aml.ONE))
    assert k.acpi.namespace.find("\\A000") is not None
    assert k.acpi.namespace.find("\\B000") is not None
    assert k.lines == ["ACPI: 1 ACPI AML tables successfully acquired and loaded"]


def test_no_dsdt() -> None:
    k = small_kernel(Bus())
    k.acpi = AcpiState()
    assert not acpi_load_tables(k)


def test_identical_secondary_tables_load_once() -> None:
    extra = sdt("SSDT", 2, aml.name("ONCE", aml.ONE), TableIds())
    k = load(extra=[extra, extra])
    assert k.lines[-1] == "ACPI: 2 ACPI AML tables successfully acquired and loaded"


@given(st.binary(min_size=1, max_size=12), st.integers(0, 90), st.integers(1, 64))
def test_bit_fields(data: bytes, offset: int, count: int) -> None:
    assert get_bits(data, offset, count) == bits_of(data, offset, count)


@given(st.binary(min_size=2, max_size=12), st.data())
def test_set_bits_changes_only_the_field(data: bytes, draw: Any) -> None:
    offset = draw.draw(st.integers(0, 8 * len(data) - 1))
    count = draw.draw(st.integers(1, 8 * len(data) - offset))
    value = draw.draw(st.integers(0, (1 << count) - 1))
    out = bytearray(data)
    set_bits(out, offset, count, value)
    assert bits_of(out, offset, count) == value
    assert bits_of(out, 0, offset) == bits_of(data, 0, offset)
    end = offset + count
    assert bits_of(out, end, 8 * len(data) - end) == bits_of(data, end, 8 * len(data) - end)


@given(st.integers(0, (1 << 32) - 1))
def test_hardware_id(number: int) -> None:
    if all(1 <= number_of <= 26 for number_of in _letters(number)):
        assert hardware_id(number) == eisa_text(number)


def _letters(number: int) -> list[int]:
    swapped = int.from_bytes(number.to_bytes(4, "little"), "big")
    return [swapped >> shift & 31 for shift in (26, 21, 16)]


def test_resources() -> None:
    template = b"".join(
        [
            aml.address_space(16, "bus", 0x20, 0x3F),
            aml.io_port(0xCF8, 8),
            aml.address_space(16, "io", 0x1000, 0x1FFF),
            aml.address_space(64, "mem", 1 << 40, (1 << 41) - 1, True),
            aml.irqs([300]),
            b"\x79\x00",
        ]
    )
    assert bus_range(template) == (0x20, 0x3F)
    assert [(window.kind, window.start, window.end) for window in windows(template)] == [
        ("io", 0xCF8, 0xCFF),
        ("io", 0x1000, 0x1FFF),
        ("mem", 1 << 40, (1 << 41) - 1),
    ]
    assert windows(template)[0].flags == frozenset()
    assert windows(template)[2].flags == {"window", "pref"}
    assert first_interrupt(template) == 300
    assert first_interrupt(aml.irq(11)) == 11


@given(st.binary(max_size=80))
def test_descriptors_of_anything_end(data: bytes) -> None:
    assert len(list(descriptors(data))) <= len(data)
    windows(data)
    bus_range(data)
    first_interrupt(data)


@pytest.mark.parametrize("kind", [Kind.DEVICE, Kind.THERMAL])
def test_containers(kind: Kind) -> None:
    make = {Kind.DEVICE: aml.device, Kind.THERMAL: aml.thermal_zone}[kind]
    k = load(make("OBJ0", [aml.name("VAL0", aml.ONE)]))
    node = k.acpi.namespace.find("\\OBJ0")
    assert node.kind is kind and node.path == "\\OBJ0"
    assert node.child("VAL0").path == "\\OBJ0.VAL0"


def test_a_package_that_is_in_itself_ends_with_an_error() -> None:
    k = load(aml.name("LOOP", aml.package([aml.integer(5), aml.name_path("LOOP")])))
    assert result(k, "LOOP") is None


def test_packages_that_unfold_without_bounds_end_with_an_error() -> None:
    names = [f"P{number:03d}" for number in range(30)]
    deeper = [aml.name(name, aml.package([aml.name_path(before)] * 2)) for before, name in pairwise(names)]
    k = load(aml.name(names[0], aml.package([aml.ONE, aml.ONE])), *deeper)
    assert result(k, names[-1]) is None
    assert result(k, names[3]) is not None


def test_a_string_that_doubles_in_a_loop_ends_for_want_of_memory() -> None:
    grow = aml.while_(aml.ONE, [b"\x73" + aml.local(0) * 3])
    k = load(aml.method("GROW", 0, [aml.store(aml.string("ABCD"), aml.local(0)), grow]))
    assert result(k, "GROW") is None
    assert any("AE_NO_MEMORY" in line for line in k.lines)


@pytest.mark.parametrize("leave", [b"\x9f", b"\xa5"])
def test_leaving_a_loop_from_outside_of_one_is_an_error(leave: bytes) -> None:
    k = load(aml.method("TEST", 0, [aml.if_(aml.ONE, [leave]), aml.return_(aml.ONE)]))
    assert result(k, "TEST") is None
    assert any("AE_AML_NO_WHILE" in line for line in k.lines)


def test_a_predicate_may_leave_its_loop() -> None:
    k = load(aml.method("TEST", 0, [aml.while_(b"\xa5", [b"\xa3"]), aml.return_(aml.ONE)]))
    assert result(k, "TEST") == 1
