"""Tables with errors at table level: what stays in the namespace, and what is logged in which order, is acpiexec's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acpi import acpiexec

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not acpiexec.have_tools(), reason="acpiexec or iasl is not installed"),
]
TABLES = [
    " ".join(paragraph.split())
    for paragraph in r"""
    Name (AAAA, 1) Name (AAAA, 2) Name (BBBB, 3)

    Device (DEV0) {Name (X, 1)} Device (DEV0) {Name (Y, 1)} Name (BBBB, 3)

    Method (M) {Return (1)} Method (M) {Return (2)} Name (BBBB, 3)

    OperationRegion (R, PCI_Config, 0, 1) OperationRegion (R, PCI_Config, 2, 1) Name (BBBB, 3)

    Mutex (MM, 0) Mutex (MM, 3) Event (EE) Event (EE) Name (BBBB, 3)

    External (NOPE) Scope (NOPE) {Name (X, 1)} Name (BBBB, 3)

    External (NOPE, IntObj) If (NOPE) {Name (X, 1)} Else {Name (Y, 1)} Name (BBBB, 3)

    External (NOPE, IntObj) Device (D1) { If (NOPE) {Name (X, 1)} Name (Z, 1) } Name (BBBB, 3)

    External (NOPE, IntObj) Device (D1) { If (1) {Name (W, 1) Store (NOPE, W) Name (X, 1)} Else {Name (V, 1)}
      Name (Z, 1) } Name (BBBB, 3)

    External (NOPE, IntObj) Device (D1) { Name (W, 1) W = NOPE + 1 Name (Z, 1) } Name (BBBB, 3)

    External (NOPE, IntObj) Device (D1) { Name (W, 1) NOPE = 1 Name (Z, 1) } Name (BBBB, 3)

    External (NOPE, IntObj) Device (D1) { Device (D2) {OperationRegion (R, SystemMemory, NOPE, 0x10) Field (R,
      ByteAcc, NoLock, Preserve) {FA, 8}} Device (D3) {Name (Q, 1)} } Name (BBBB, 3)

    Name (A, 1) A = 1 / 0 Name (BBBB, 3)

    Device (D1) {Name (A, 1) Divide (1, 0, A) Name (C, 1)} Name (BBBB, 3)

    Name (P, Package () {1}) If (P) {Name (X, 1)} Else {Name (Y, 1)} Name (BBBB, 3)

    Name (P, Package () {1}) Name (A, 1) If (Add (P, 1)) {Name (X, 1)} Else {Name (Y, 1)} Name (BBBB, 3)

    Method (BAD) {Return (1 / 0)} Name (A, 1) A = BAD () Name (BBBB, 3)

    Method (GOOD) {Return (7)} Name (A, 1) A = GOOD () Name (BBBB, 3)

    Method (GOOD) {Name (\ZZZZ, 7)} GOOD () Name (BBBB, 3)

    Name (A, 3) While (A) {A-- } Name (BBBB, 3)

    Name (A, 3) While (A) {A-- If (A == 1) {Break}} Name (BBBB, 3)

    Name (A, 3) Return (1) Name (BBBB, 3)

    Name (B, Buffer () {1, 2}) CreateWordField (B, 0, F0) CreateWordField (B, 1, F1) Name (BBBB, 3)

    External (NOPE, BuffObj) CreateWordField (NOPE, 0, F0) Name (BBBB, 3)

    Name (B, Buffer () {1, 2}) CreateByteField (B, 0, F0) CreateByteField (B, 1, F0) Name (BBBB, 3)

    External (NOPE) Alias (NOPE, AL) Name (BBBB, 3)

    External (NOPE) Name (P, Package () {NOPE, 1}) Name (BBBB, 3)

    Name (A, 1) Scope (A) {Name (X, 1)} Name (BBBB, 3)

    Mutex (MM, 0) Scope (MM) {Name (X, 1)} Name (BBBB, 3)

    External (NOPE, DeviceObj) Device (NOPE.XXXX) {Name (X, 1)} Name (NOPE.YYYY, 1) Name (BBBB, 3)

    External (NOPE, FieldUnitObj) IndexField (NOPE, NOPE, ByteAcc, NoLock, Preserve) {FA, 8} Name (BBBB, 3)

    OperationRegion (R, SystemIO, 0, 8) Field (R, ByteAcc, NoLock, Preserve) {IX, 8, DT, 8} External (NOPE,
      FieldUnitObj) BankField (R, NOPE, 0, ByteAcc, NoLock, Preserve) {FA, 8} IndexField (IX, NOPE, ByteAcc,
      NoLock, Preserve) {FB, 8} Name (BBBB, 3)

    Name (A, Package (1) {1, 2, 3}) Name (C, Package (5) {1, 2}) Name (BBBB, 3)

    Notify (\_SB, 1) Name (A, 1) Notify (A, 1) Name (BBBB, 3)

    External (NOPE, MethodObj) Name (A, 1) A = NOPE (1, 2) Name (BBBB, 3)

    Processor (CPU0, 0, 0, 0) {Name (A, 1)} PowerResource (PW, 0, 0) {Name (A, 1)} ThermalZone (TZ) {Name (A,
      1)} Processor (CPU0, 0, 0, 0) {Name (B, 1)} PowerResource (PW, 0, 0) {Name (B, 1)} ThermalZone (TZ) {Name
      (B, 1)}

    DataTableRegion (DT, "NONE", "", "") Field (DT, AnyAcc, NoLock, Preserve) {FA, 8} Name (BBBB, 3)

    DataTableRegion (DT, "DSDT", "", "") Field (DT, AnyAcc, NoLock, Preserve) {FA, 32} Name (BBBB, 3)

    Name (A, 1) A = 5 OperationRegion (R, SystemMemory, A, A) Name (BBBB, 3)

    Name (A, "x") OperationRegion (R, SystemMemory, A, Package () {1}) Field (R, ByteAcc, NoLock, Preserve) {FA,
      8} Name (BBBB, 3)
""".strip().split("\n\n")
]


@pytest.mark.parametrize("body", TABLES)
def test_a_faulty_table_leaves_what_acpiexec_leaves(body: str, tmp_path: Path) -> None:
    table = acpiexec.compile_asl(tmp_path, f'DefinitionBlock ("faulty.aml", "DSDT", 2, "MK", "FAULTY", 1) {{{body}}}')
    assert table is not None
    namespace, messages = acpiexec.loaded([table])
    k = acpiexec.kernel_of([("DSDT", table.read_bytes())])
    acpiexec.initialize(k)
    assert acpiexec.namespace_of(k) == namespace
    assert acpiexec.kinds(k.lines) == messages


def test_there_is_enough_of_them() -> None:
    assert len(TABLES) == 40 and len(set(TABLES)) == 40
