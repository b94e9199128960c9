"""Checking the contents of a returned package against what the specification says of its name.

Source: drivers/acpi/acpica/nsprepkg.c, nsrepair.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.predefined import PackageInfo, Unfit

if TYPE_CHECKING:
    from minikern.acpi.repair import Check

_MAY_HOLD_GAPS = ("FIXED", "OPTION", "VAR_VAR", "UUID_PAIRS", "CUSTOM")
_OF_PACKAGES = ("PACKAGES", "PACKAGES_FIXED", "PACKAGES_MIN", "PACKAGES_COUNT", "PACKAGES_FIX_VAR")
MENDABLE = ("AE_AML_OPERAND_TYPE", "AE_AML_OPERAND_VALUE")


def check_package(check: Check, package: list[Any]) -> tuple[list[Any], str]:
    """The package, repaired, and the status of the check ("" for good). Unfit where nothing more can be done."""
    info = check.info.package
    if info is None:
        return package, ""
    if info.shape not in _MAY_HOLD_GAPS and None in package:
        package = [item for item in package if item is not None]
    if info.shape in _OF_PACKAGES and package and not isinstance(package[0], list):
        package = [package]  # one entry without the package around all
        check.repaired = check.wrapped = True
    try:
        _contents(check, info, package)
    except Unfit as problem:
        if problem.status not in MENDABLE:
            raise
        return package, problem.status
    return package, ""


def _contents(check: Check, info: PackageInfo, package: list[Any]) -> None:
    """Source: drivers/acpi/acpica/nsprepkg.c:acpi_ns_check_package() @ v6.12"""
    if not package:
        if info.shape != "VAR":
            check.warn("Return Package has no elements (empty)", "nsprepkg-95")
            raise Unfit("AE_AML_OPERAND_VALUE")
    elif info.shape in _OF_PACKAGES:
        _packages(check, info, package)
    else:
        _CHECKS[info.shape](check, info, package)


def _fixed(check: Check, info: PackageInfo, package: list[Any]) -> None:
    _long_enough(check, package, sum(count for _, count in info.groups))
    _groups(check, info, package)


def _var(check: Check, info: PackageInfo, package: list[Any]) -> None:
    for index in range(len(package)):
        _element(check, package, index, info.groups[0][0])


def _option(check: Check, info: PackageInfo, package: list[Any]) -> None:
    required, (tail, _) = info.groups[:-1], info.groups[-1]
    _long_enough(check, package, len(required))
    for index in range(len(package)):
        _element(check, package, index, required[index][0] if index < len(required) else tail)


def _revised(check: Check, info: PackageInfo, package: list[Any]) -> None:
    _element(check, package, 0, "I")
    _each_package(check, info, package, range(1, len(package)))


def _counted(check: Check, info: PackageInfo, package: list[Any]) -> None:
    _element(check, package, 0, "I")
    count = package[0] & 0xFFFF_FFFF
    if count >= len(package):
        _too_small(check, len(package), count)
    _each_package(check, info, package, range(1, 1 + count))


def _packages(check: Check, info: PackageInfo, package: list[Any]) -> None:
    _each_package(check, info, package, range(len(package)))


def _var_var(check: Check, info: PackageInfo, package: list[Any]) -> None:
    """Nothing is checked of these."""


def _uuid_pairs(check: Check, info: PackageInfo, package: list[Any]) -> None:
    if len(package) & 1:
        _too_small(check, len(package), len(package) + 1)
    for index in range(0, len(package), 2):
        package[index] = check.object(package[index], info.groups[0][0], 0)
        if len(package[index]) != 16:
            check.warn("Invalid length for UUID Buffer", "nsprepkg-307")
            raise Unfit("AE_AML_OPERAND_VALUE")
        package[index + 1] = check.object(package[index + 1], info.groups[1][0], 0)


def _custom(check: Check, info: PackageInfo, package: list[Any]) -> None:
    """_BIX: its first element is the version, which adds one element. Source: nsprepkg.c:acpi_ns_custom_package()"""
    version = package[0]
    if version is None:
        check.warn("Return Package has a NULL version element", "nsprepkg-597")
        raise Unfit
    if not isinstance(version, int):
        check.warn("Return Package has invalid object type for version number", "nsprepkg-604")
        raise Unfit
    _long_enough(check, package, 21 if version else 20)
    _groups(check, info, package)
    if version:
        _element(check, package, 20, "I")


_CHECKS = {
    "FIXED": _fixed,
    "VAR": _var,
    "OPTION": _option,
    "REVISED": _revised,
    "COUNTED": _counted,
    "VAR_VAR": _var_var,
    "UUID_PAIRS": _uuid_pairs,
    "CUSTOM": _custom,
}


def _long_enough(check: Check, package: list[Any], wanted: int) -> None:
    if len(package) < wanted:
        _too_small(check, len(package), wanted)


def _too_small(check: Check, found: int, wanted: int) -> None:
    check.warn(f"Return Package is too small - found {found} elements, expected {wanted}", "nsprepkg-350")
    raise Unfit("AE_AML_OPERAND_VALUE")


def _groups(check: Check, info: PackageInfo, package: list[Any]) -> None:
    index = 0
    for types, count in info.groups:
        for _ in range(count):
            _element(check, package, index, types)
            index += 1


def _element(check: Check, package: list[Any], index: int, types: str) -> None:
    package[index] = check.object(package[index], types, index)


def _each_package(check: Check, info: PackageInfo, package: list[Any], places: range) -> None:
    """Source: drivers/acpi/acpica/nsprepkg.c:acpi_ns_check_package_list() @ v6.12"""
    for number, place in enumerate(places):
        inner = check.object(package[place], "P", number)
        package[place] = inner
        _inner(check, info, inner, number)


def _inner(check: Check, info: PackageInfo, inner: list[Any], number: int) -> None:
    wanted = _wanted(check, info, inner)
    if len(inner) < wanted:
        text = f"Return SubPackage[{number}] is too small - found {len(inner)} elements, expected {wanted}"
        check.warn(text, "nsprepkg-571")
        raise Unfit("AE_AML_OPERAND_VALUE")
    if info.shape == "PACKAGES_COUNT":
        inner[0] = wanted
        _run_of(check, inner, 1, wanted, info.groups[0][0])
    elif info.shape == "PACKAGES_MIN":
        _run_of(check, inner, 0, len(inner), info.groups[0][0])
    else:
        _groups(check, info, inner)
        if info.shape == "PACKAGES_FIX_VAR":
            fixed = sum(count for _, count in info.groups)
            _run_of(check, inner, fixed, len(inner), info.groups[-1][0])


def _wanted(check: Check, info: PackageInfo, inner: list[Any]) -> int:
    """How many elements there must be; a package that counts its own says so in the first."""
    minimum = sum(count for _, count in info.groups)
    if info.shape != "PACKAGES_COUNT":
        return minimum
    if not inner:
        return 1
    _element(check, inner, 0, "I")
    count = inner[0] & 0xFFFF_FFFF
    if len(inner) >= count and len(inner) < minimum:
        return minimum
    return count or len(inner)


def _run_of(check: Check, inner: list[Any], start: int, end: int, types: str) -> None:
    for index in range(start, end):
        _element(check, inner, index, types)
