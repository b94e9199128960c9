"""What AML costs: terms, time asleep and register accesses by the chain of methods that spent them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.acpi.spaces import Region
    from minikern.state.namespace import Node


@dataclass(slots=True)
class Spent:
    """Work of one chain of methods, what it called left out."""

    calls: int = 0
    terms: int = 0
    slept_us: int = 0
    accesses: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # by address space


@dataclass(slots=True)
class Profile:
    """``chains`` are keyed by the objects from the outermost method inwards; the empty chain is table-level code."""

    chains: dict[tuple[Node, ...], Spent] = field(default_factory=lambda: defaultdict(Spent))
    registers: dict[tuple[Node, int], int] = field(default_factory=lambda: defaultdict(int))  # (region, address)
    _stack: tuple[Node, ...] = ()
    _terms: int = 0
    _slept: int = 0

    def enter(self, run: Interpreter, node: Node) -> None:
        """A method begins."""
        self._settle(run)
        self._stack = (*self._stack, node)
        self.chains[self._stack].calls += 1

    def leave(self, run: Interpreter) -> None:
        """The innermost method ends."""
        self._settle(run)
        self._stack = self._stack[:-1]

    def access(self, region: Region, address: int) -> None:
        """One register is read or written."""
        self.chains[self._stack].accesses[region.space] += 1
        self.registers[region.node, address] += 1

    def _settle(self, run: Interpreter) -> None:
        spent = self.chains[self._stack]
        spent.terms += run.opcodes - self._terms
        spent.slept_us += run.slept_us - self._slept
        self._terms, self._slept = run.opcodes, run.slept_us

    def close(self, run: Interpreter) -> None:
        """Book what is left."""
        self._settle(run)
