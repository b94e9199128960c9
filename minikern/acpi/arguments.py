"""Checking how a predefined name is declared and what it is called with.

Source: ACPI 6.5 clause 5.7.6; drivers/acpi/acpica/nsarguments.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minikern.acpi.messages import bios_error, info, warning
from minikern.acpi.predefined import RETURNS
from minikern.acpi.values import type_name
from minikern.state.namespace import Kind, Node, shown

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

_LETTERS = {"I": "Integer", "S": "String", "B": "Buffer", "P": "Package"}


def _each(names: str, types: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), types)


ARGUMENTS: dict[str, str] = {
    **_each(
        "_BCM _BCT _BFS _BMA _BMC _BMS _BTH _BTM _BTP _CWS _DCK _DDC _DOS _DSS _DTI _EJ0 _EJ1 _EJ2 _EJ3 _EJ4 _EVT _FDM "
        "_FSL _GTS _GWS _LCK _MSG _PAI _PIC _PSE _PSW _PTS _SCP _SHL _SPD _SST _TIP _TIV _TPT _TTS _WAK _WED",
        "I",
    ),
    **_each("_BLT _DSW _SBR", "III"),
    **_each("_LSR _PTP _REG _ROM _STP _STV", "II"),
    **_each("_NIH _PDC _SDD _SRS _SRT", "B"),
    **_each("_LSW _OST", "IIB"),
    "_BPT": "P", "_DSM": "BIIP", "_ERR": "ISI", "_MSM": "IIII", "_OSC": "BIIB", "_SBT": "III*", "_SBW": "IIII*",
    "_STM": "BBB",
}  # fmt: skip
"""Types of the arguments, a letter each; * is any."""
AT_LEAST = frozenset({"_DSM", "_SCP"})
NO_VALUE = frozenset(_each(
    "_BCM _BFS _BLT _BMC _BTH _BTP _DIS _DOS _DSS _DSW _DTI _EJ0 _EJ1 _EJ2 _EJ3 _EJ4 _EVT _FDM _FSL _GTS _INI _IRC "
    "_LCK _MSG _OFF _ON_ _OST _PDC _PIC _PS0 _PS1 _PS2 _PS3 _PSE _PSW _PTS _REG _RST _SCP _SDD _SRS _SST _STM _TPT "
    "_TTS",
    "",
))  # fmt: skip
"""Names that are methods and return nothing."""
_WANTED = dict.fromkeys((*RETURNS, *NO_VALUE), "") | ARGUMENTS
_METHOD = Kind.METHOD


def check_arguments(run: Interpreter, node: Node, args: list[Any]) -> None:
    """Complain of a declaration or a call that the specification does not know; nothing follows from it."""
    if node.warned:
        return
    wanted = _WANTED.get(node.name)
    if wanted is None:
        if node.kind is _METHOD:
            _count(run, node, len(args), node.value.arguments, "method")
        return
    _declaration(run, node, len(wanted))
    _count(run, node, len(args), len(wanted), "ACPI")
    if args:
        _types(run, node, args, wanted)


def _declaration(run: Interpreter, node: Node, wanted: int) -> None:
    """Source: drivers/acpi/acpica/nsarguments.c:acpi_ns_check_acpi_compliance() @ v6.12"""
    if node.kind is not _METHOD:
        if not wanted and node.name not in NO_VALUE:
            return
        what = f"{shown(node.path)}: Object ({node.kind.value}) must be a control method with "
        if wanted:
            bios_error(run.k, f"{what}{wanted} arguments", {"": "nsarguments-120"})
        else:
            bios_error(run.k, f"{what}no arguments and no return value", {"": "nsarguments-126"})
        return
    declared = node.value.arguments
    if declared < wanted or (declared > wanted and node.name not in AT_LEAST):
        word = "Insufficient" if declared < wanted else "Excess"
        text = f"{shown(node.path)}: {word} arguments - ASL declared {declared}, ACPI requires {wanted}"
        bios_error(run.k, text, {"": "nsarguments-143" if declared < wanted else "nsarguments-149"})


def _count(run: Interpreter, node: Node, given: int, wanted: int, who: str) -> None:
    """Source: drivers/acpi/acpica/nsarguments.c:acpi_ns_check_argument_count() @ v6.12"""
    if given == wanted:
        return
    text = f"arguments - Caller passed {given}, {who} requires {wanted}"
    if given < wanted:
        line = "nsarguments-231" if who == "ACPI" else "nsarguments-200"
        warning(run.k, f"{shown(node.path)}: Insufficient {text}", {"": line})
    elif node.name not in AT_LEAST:
        line = "nsarguments-239" if who == "ACPI" else "nsarguments-207"
        info(run.k, f"{shown(node.path)}: Excess {text}", {"": line})


def _types(run: Interpreter, node: Node, args: list[Any], types: str) -> None:
    """Source: drivers/acpi/acpica/nsarguments.c:acpi_ns_check_argument_types() @ v6.12"""
    for number, (wanted, value) in enumerate(zip(types, args, strict=False), 1):
        if wanted != "*" and type_name(value) != _LETTERS[wanted]:
            text = f"Found [{type_name(value)}], ACPI requires [{_LETTERS[wanted]}]"
            text = f"{shown(node.path)}: Argument #{number} type mismatch - {text}"
            warning(run.k, text, {"": "nsarguments-61"})
            node.warned = True
