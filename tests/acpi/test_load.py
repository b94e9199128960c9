"""Tables that AML loads from a buffer and unloads again, side by side with acpiexec."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acpi import acpiexec

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not acpiexec.have_tools(), reason="acpiexec or iasl is not installed"),
]
BODY = r"{Name (\DYN0, 0x77) Method (\DYN1) {Return (DYN0 + 1)}}"
LOADED = f'DefinitionBlock ("more.aml", "SSDT", 2, "MK", "MORE", 1) {BODY}'
BODIES = (
    r"Load (BUFF, HNDL) Return (DYN1 ())",
    r"Return (ObjectType (HNDL))",
    r"Load (BUFF, HNDL) Return (1)",
    r"Return (CondRefOf (\DYN0))",
    r"Unload (HNDL) Return (CondRefOf (\DYN0))",
    r'Return (LoadTable ("SSDT", "MK", "NONE", "", "", 0))',
    r'Return (LoadTable ("SSDT", "MKMKMKMK", "MORE", "", "", 0))',
    r'Local0 = LoadTable ("SSDT", "MK", "MORE", "", "", 0) Return (DYN1 ())',
    r"BUFF [4] = 5 Load (BUFF, Local0) Return (1)",
)


def test_load_and_unload_as_acpiexec_does(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    more = acpiexec.compile_asl(inner, LOADED)
    assert more is not None
    buffer = ", ".join(map(str, more.read_bytes()))
    methods = "\n".join(f"Method (X{number:03X}) {{{body}}}" for number, body in enumerate(BODIES))
    head = 'DefinitionBlock ("main.aml", "DSDT", 2, "MK", "MAIN", 1) {External (DYN0, IntObj)'
    body = f"Name (BUFF, Buffer () {{{buffer}}}) Name (HNDL, 0) {methods}"
    table = acpiexec.compile_asl(outer, f"{head} External (DYN1, MethodObj) {body}}}")
    assert table is not None
    paths = [f"\\X{number:03X}" for number in range(len(BODIES))]
    answers = acpiexec.ask([table], paths)
    k = acpiexec.kernel_of([("DSDT", table.read_bytes())])
    acpiexec.initialize(k)
    for path, body in zip(paths, BODIES, strict=True):
        assert acpiexec.evaluate(k, path) == acpiexec.parse_result(answers[path]), body
