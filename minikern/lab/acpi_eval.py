"""Evaluating one object for a user: arguments from words, the value, and the terms that made it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from hw.acpi.layout import HEADER
from hw.errors import InputError
from minikern.acpi.evaluate import evaluate
from minikern.acpi.opcode_names import opcode_name
from minikern.acpi.stream import Frame
from minikern.acpi.values import AmlError, MethodAborted
from minikern.core.printk import Level
from minikern.lab.acpi_source import Opened
from minikern.lab.acpi_tree import find
from minikern.state.namespace import Kind, Node, shown

MAX_TERMS = 100_000  # of a trace
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]{1,16}|[0-9]{1,20}")


@dataclass
class Answer:
    """What an evaluation gave; ``status`` is ACPICA's word, ``messages`` what the kernel logged meanwhile."""

    node: Node
    status: str
    place: str = ""  # of an error: the method, and how far in its table
    value: Any = None
    messages: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)


def parse_argument(word: str) -> Any:
    """An argument: a number, ``(01 02)`` for a buffer, ``[1 2]`` for a package, all else a string. InputError."""
    if _NUMBER.fullmatch(word):
        value = int(word, 0) if word[:2] in ("0x", "0X") else int(word)
        if value >= 1 << 64:
            raise InputError(f"argument {word}: expected a number below 2**64")
        return value
    if word[:1] == "(" and word.endswith(")"):
        try:
            return bytearray(bytes.fromhex(word[1:-1].replace(",", " ")))
        except ValueError:
            raise InputError(f"argument {word}: expected bytes in hexadecimal, as (01 FF)") from None
    if word[:1] == "[" and word.endswith("]"):
        return [parse_argument(part) for part in word[1:-1].replace(",", " ").split()]
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word


def answer(opened: Opened, path: str, words: list[str], trace: bool = False) -> Answer:
    """Evaluate the object at ``path``. InputError when there is none, or more arguments than it takes."""
    node = find(opened.run, path)
    args = [parse_argument(word) for word in words]
    takes = node.value.arguments if node.kind is Kind.METHOD else 0
    if len(args) > takes:
        raise InputError(f"{path}: {len(args)} arguments given, {takes} expected")
    before = len(opened.kernel.log.lines)
    found = Answer(node, "AE_OK")
    if trace:
        opened.run.trace = lambda scope, frame, op: _note(opened, found.terms, scope, frame, op)
    try:
        found.value = evaluate(opened.run, node, args)
    except AmlError as problem:
        found.status = problem.status
        if isinstance(problem, MethodAborted):
            found.place = f" in {problem.method}, before offset {problem.offset:#x} of its table"
    finally:
        opened.run.trace = None
    lines = opened.kernel.log.lines[before:]
    found.messages = [line.text for line in lines if line.level <= Level.WARNING or "ACPI" in line.text]
    return found


def _note(opened: Opened, terms: list[str], scope: Node, frame: Frame, op: int) -> None:
    if len(terms) < MAX_TERMS:
        offset = frame.pos - (2 if op > 0xFF else 1)
        indent = "  " * min(opened.run.depth, 20)
        place = f"{offset:#07x}" if len(frame.data) > HEADER.size else "-"
        terms.append(f"{indent}{shown(scope.path)} {place} {opcode_name(op)}")
