"""Repairs by name: lists that must be sorted, ids in capitals, short buffers, reversed routing entries.

Source: drivers/acpi/acpica/nsrepair2.c @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minikern.acpi.predefined import Unfit

if TYPE_CHECKING:
    from minikern.acpi.repair import Check

FDE_FIELDS = 5
_U32 = 0xFFFF_FFFF


def complex_repair(check: Check, value: Any, status: str) -> Any:
    """The value with what its name is known for put right; Unfit when ``status`` or the repair says it is bad."""
    repair = _REPAIRS.get(check.node.name)
    if repair is not None:
        return repair(check, value)
    if status:
        raise Unfit(status)
    return value


def _hid(check: Check, value: Any) -> Any:
    """Ids have no asterisk before them and no small letters."""
    if not isinstance(value, str):
        return value
    if not value:
        check.warn("Invalid zero-length _HID or _CID string", "nsrepair2-467")
        check.repaired = True
        return value
    return value.removeprefix("*").upper()


def _cid(check: Check, value: Any) -> Any:
    return [_hid(check, item) for item in value] if isinstance(value, list) else _hid(check, value)


def _fde(check: Check, value: Any) -> Any:
    """Five bytes stand for five double words."""
    if not isinstance(value, bytearray):
        raise Unfit
    if len(value) >= 4 * FDE_FIELDS:
        return value
    if len(value) != FDE_FIELDS:
        text = f"Incorrect return buffer length {len(value)}, expected {4 * FDE_FIELDS}"
        check.warn(text, "nsrepair2-256")
        raise Unfit
    check.repaired = True
    return bytearray(b"".join(byte.to_bytes(4, "little") for byte in value))


def _prt(check: Check, value: Any) -> Any:
    """Source name and source index are changed back where firmware has them the wrong way round."""
    for number, entry in enumerate(_packages(value)):
        if len(entry) >= 4 and not isinstance(entry[3], int):
            entry[2], entry[3] = entry[3], entry[2]
            check.repaired = True
            check.warn(f"PRT[{number:X}]: Fixed reversed SourceName and SourceIndex", "nsrepair2-534")
    return value


def _packages(value: Any) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, list) for entry in value):
        raise Unfit
    return value


def _cst(check: Check, value: Any) -> Any:
    """States without contents or of type 0 go; the rest is counted and sorted by type."""
    if not isinstance(value, list) or not value:
        raise Unfit
    kept: list[list[Any]] = []
    for number, state in enumerate(_packages(value[1:])):
        reason = _bad_state(state)
        if reason:
            check.warn(f"SubPackage[{number}] - removing entry due to {reason}", "nsrepair2-393")
        else:
            kept.append(state)
    value[:] = [len(kept), *kept]
    return _sorted(check, value, 1, 4, 1, descending=False)


def _bad_state(state: list[Any]) -> str:
    if not state:
        return "zero count"
    if len(state) > 1 and isinstance(state[1], int) and state[1] & _U32 == 0:
        return "invalid Type(0)"
    return ""


def _pss(check: Check, value: Any) -> Any:
    """Sorted by frequency; power ought to fall with it."""
    _sorted(check, value, 0, 6, 0, descending=True)
    previous = _U32
    for number, state in enumerate(value):
        power = state[1] & _U32 if isinstance(state[1], int) else 0
        if power > previous:
            text = f"SubPackage[{number - 1},{number}] - suspicious power dissipation values"
            check.warn(text, "nsrepair2-600")
        previous = power
    return value


def _tss(check: Check, value: Any) -> Any:
    """Sorted by power, unless performance states beside it make power meaningless."""
    parent = check.node.parent
    if parent is not None and "_PSS" in parent.children:
        return value
    return _sorted(check, value, 0, 5, 1, descending=True)


def _alr(check: Check, value: Any) -> Any:
    return _sorted(check, value, 0, 2, 1, descending=False)


def _sorted(check: Check, value: Any, start: int, size: int, key: int, descending: bool) -> Any:
    """Sort the packages from ``start`` on by their element ``key`` where they are not.

    Source: drivers/acpi/acpica/nsrepair2.c:acpi_ns_check_sorted_list() @ v6.12
    """
    if not isinstance(value, list):
        raise Unfit
    if start >= len(value):
        raise Unfit("AE_AML_PACKAGE_LIMIT")
    if _out_of_order(_checked(value[start:], size, key), key, descending):
        value[start:] = sorted(value[start:], key=lambda entry: entry[key], reverse=descending)
        check.repaired = True
    return value


def _checked(entries: list[Any], size: int, key: int) -> list[list[Any]]:
    for entry in entries:
        if not isinstance(entry, list):
            raise Unfit
        if len(entry) < size:
            raise Unfit("AE_AML_PACKAGE_LIMIT")
        if not isinstance(entry[key], int):
            raise Unfit
    return entries


def _out_of_order(entries: list[list[Any]], key: int, descending: bool) -> bool:
    previous = _U32 if descending else 0
    for entry in entries:
        if entry[key] > previous if descending else entry[key] < previous:
            return True
        previous = entry[key] & _U32
    return False


_REPAIRS: dict[str, Callable[[Check, Any], Any]] = {
    "_ALR": _alr,
    "_CID": _cid,
    "_CST": _cst,
    "_FDE": _fde,
    "_GTM": _fde,
    "_HID": _hid,
    "_PRT": _prt,
    "_PSS": _pss,
    "_TSS": _tss,
}
NAMES_REPAIRED = frozenset(_REPAIRS)
"""Names whose values are looked at whatever their type is."""
