"""The length of a term, found without executing it: where a table goes on behind a term that failed.

Source: ACPI 6.5 clause 20.2.5; drivers/acpi/acpica/psopcode.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi.stream import NAME_START, Frame
from minikern.state.namespace import Kind

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter

_OPERANDS: dict[int, str] = {
    0x06: "nn", 0x08: "nt", 0x0A: "b", 0x0B: "bb", 0x0C: "bbbb", 0x0D: "z", 0x0E: "bbbbbbbb", 0x10: "P", 0x11: "P",
    0x12: "P", 0x13: "P", 0x14: "P", 0x15: "nbb", 0x70: "tt", 0x71: "t", 0x72: "ttt", 0x73: "ttt", 0x74: "ttt",
    0x75: "t", 0x76: "t", 0x77: "ttt", 0x78: "tttt", 0x79: "ttt", 0x7A: "ttt", 0x7B: "ttt", 0x7C: "ttt", 0x7D: "ttt",
    0x7E: "ttt", 0x7F: "ttt", 0x80: "tt", 0x81: "tt", 0x82: "tt", 0x83: "t", 0x84: "ttt", 0x85: "ttt", 0x86: "tt",
    0x87: "t", 0x88: "ttt", 0x89: "tbtbtt", 0x8A: "ttn", 0x8B: "ttn", 0x8C: "ttn", 0x8D: "ttn", 0x8E: "t",
    0x8F: "ttn", 0x90: "tt", 0x91: "tt", 0x92: "t", 0x93: "tt", 0x94: "tt", 0x95: "tt", 0x96: "tt", 0x97: "tt",
    0x98: "tt", 0x99: "tt", 0x9C: "ttt", 0x9D: "tt", 0x9E: "tttt", 0xA0: "P", 0xA1: "P", 0xA2: "P", 0xA4: "t",
    0x5B01: "nb", 0x5B02: "n", 0x5B12: "tt", 0x5B13: "tttn", 0x5B1F: "tttttt", 0x5B20: "nt", 0x5B21: "t",
    0x5B22: "t", 0x5B23: "tbb", 0x5B24: "t", 0x5B25: "tt", 0x5B26: "t", 0x5B27: "t", 0x5B28: "tt", 0x5B29: "tt",
    0x5B2A: "t", 0x5B32: "bbbbbt", 0x5B80: "nbtt", 0x5B81: "P", 0x5B82: "P", 0x5B83: "P", 0x5B84: "P", 0x5B85: "P",
    0x5B86: "P", 0x5B87: "P", 0x5B88: "nttt",
}  # fmt: skip
"""Operands by opcode: n name, t term or target, b byte, z string, P the rest by its own length."""


def skip_term(run: Interpreter, frame: Frame, start: int) -> None:
    """Set the frame's position behind the term at ``start``."""
    frame.pos = start
    _skip(run, frame)


def _skip(run: Interpreter, frame: Frame) -> None:
    op = frame.byte()
    if op in NAME_START:
        frame.pos -= 1
        return _skip_name(run, frame)
    if op == 0x5B:
        op = 0x5B00 | frame.byte()
    for operand in _OPERANDS.get(op, ""):
        _skip_operand(run, frame, operand)
    return None


def _skip_operand(run: Interpreter, frame: Frame, operand: str) -> None:
    if operand == "P":
        frame.pos = frame.package_end()
    elif operand == "b":
        frame.byte()
    elif operand == "z":
        frame.text()
    elif operand == "n":
        frame.name_path()
    else:
        _skip(run, frame)


def _skip_name(run: Interpreter, frame: Frame) -> None:
    node = run.find(frame.scope, *frame.name_path())
    if node is not None and node.kind is Kind.METHOD:
        for _ in range(node.value.arguments):
            _skip(run, frame)
