"""AML that stands for a table of which only the length is known: as dense in devices, objects, terms and methods as
firmware's own tables are.

Source: five published machines, four servers and a desktop, 22 to 167 KB of AML each. In a KB there are 25 to 32
objects (here 29), 26 to 46 terms (35), 5 to 9 methods (7), 290 to 690 bytes of methods that are not declared serialised
(430) and 1.2 to 2.7 devices (2), a quarter of them with a _STA method, a twentieth with an _INI, half with an _ADR. To
answer a _STA, 7 to 16 terms run (9).
"""

from __future__ import annotations

from functools import cache

from hw.acpi import aml

UNITS_A_STA, UNITS_AN_INI = 2, 10
_REGION_LENGTH = 0x20
_BUFFER_BYTES = 96
_PLAIN_STATEMENTS, _SERIALIZED_STATEMENTS = 9, 20
_STATEMENT = aml.and_(aml.local(0), b"\x0c\x78\x56\x34\x12", aml.local(1))
_FALSE_BLOCK_LEAD = 6  # If, four bytes of length, Zero
_NOOP = b"\xa3"


def standin(room: int, number: int) -> bytes:
    r"""Exactly ``room`` bytes of table-level AML: device \_SB.T<number> with all its content, and what is left over.

    ``number`` (below 4096) differs between the tables of a machine.
    """
    head = aml.name("_ADR", aml.integer(number))
    count = max(0, room - len(aml.scope("\\_SB", [aml.device("T000", [head])])) - 16) // _mean_bytes()
    made = b""
    while count > 0 and (not made or len(made) > room):
        units = b"".join(_unit(index) for index in range(count))
        made = aml.scope("\\_SB", [aml.device(f"T{number & 0xFFF:03X}", [head, units])])
        count -= 1 + max(0, len(made) - room) // _mean_bytes()
    made = made if len(made) <= room else b""
    return made + skipped(room - len(made))


def skipped(room: int) -> bytes:
    """AML of ``room`` bytes that is valid and done in one step: a block whose condition is false."""
    if room < _FALSE_BLOCK_LEAD + 2:
        return _NOOP * room
    length = room - 1  # counts itself (4 bytes), the false predicate and the zeros behind it
    lead = bytes((0xA0, 0xC0 | length & 0xF, length >> 4 & 0xFF, length >> 12 & 0xFF, length >> 20 & 0xFF))
    return lead + bytes(room - len(lead))


def _mean_bytes() -> int:
    return sum(len(_unit(index)) for index in range(UNITS_AN_INI)) // UNITS_AN_INI


def _unit(index: int) -> bytes:
    """Two devices; all that differs between two units is their names, and which of them have a _STA and an _INI."""
    first, second = _bodies(index % UNITS_A_STA == 0, index % UNITS_AN_INI == 0)
    return b"".join(
        aml.package_of(b"\x5b\x82", f"{letter}{index & 0xFFF:03X}".encode() + body)
        for letter, body in (("ACEG"[index >> 12 & 3], first), ("BDFH"[index >> 12 & 3], second))
    )


@cache
def _bodies(with_sta: bool, with_ini: bool) -> tuple[bytes, bytes]:
    fields = [(f"FLD{number}", 8) for number in range(8)]
    listed = aml.package([aml.integer(0x100 + number) for number in range(4)])
    first = [
        aml.name("_ADR", _dword(0)),
        aml.operation_region("REGN", 0, _dword(0), aml.integer(_REGION_LENGTH)),
        aml.field("REGN", 1, fields),
        *_names(3),
        aml.name("LIST", listed),
        *(_method(number, serialized=number == 3) for number in range(4 - with_sta)),
    ]
    if with_sta:
        first.append(aml.method("_STA", 0, _sta()))
    second = [
        aml.name("_ADR", _dword(1)),
        *_names(3),
        aml.name("BUFF", aml.buffer(bytes(_BUFFER_BYTES))),
        *(_method(number, serialized=number == 2) for number in range(3 - with_ini)),
    ]
    if with_ini:
        second.append(aml.method("_INI", 0, [aml.store(aml.ONE, aml.name_path("NAM0")), *[_STATEMENT] * 8]))
    return b"".join(first), b"".join(second)


def _names(count: int) -> list[bytes]:
    return [aml.name(f"NAM{number}", _dword(number)) for number in range(count)]


def _dword(value: int) -> bytes:
    return b"\x0c" + value.to_bytes(4, "little")


def _method(number: int, serialized: bool) -> bytes:
    statements = _SERIALIZED_STATEMENTS if serialized else _PLAIN_STATEMENTS
    return aml.method(f"MTH{number}", 1, [aml.store(aml.arg(0), aml.local(0)), *[_STATEMENT] * statements], serialized)


def _sta() -> list[bytes]:
    # Most of it is for a state that the machine is not in.
    absent = aml.equal(aml.name_path("NAM0"), aml.integer(0xFF))
    return [aml.if_(absent, [*[_STATEMENT] * 7, aml.return_(aml.ZERO)]),
            aml.store(aml.name_path("NAM1"), aml.local(0)), aml.return_(aml.integer(0x0F))]  # fmt: skip
