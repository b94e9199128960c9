"""The lines of the CPU list. Source: arch/x86/kernel/smpboot.c:announce_cpu() @ v6.12"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


@dataclass
class Announcer:
    """Where the list stands: the node of the open line, -1 before the first."""

    node: int = -1
    first: bool = True

    def announce_cpu(self, k: Kernel, cpu: int) -> None:
        """Add ``cpu`` to the list; a new line where the node changes."""
        maps = k.cpus
        width = len(str(len(maps.possible))) + 1
        node_width = len(str(max(1, len(k.nodes)))) + 1
        node = maps.node[cpu]
        if self.first:
            k.printk(f"{k.behaviour.smpboot_prefix}x86: Booting SMP configuration:")
        if node != self.node:
            if self.node >= 0 and not k.log.is_open:
                k.printk("")  # the newline that ends the line finds none: another message has ended it
            self.node = node
            k.log.open(f".... node {_blanks(node_width - len(str(node)))}#{node}, CPUs:  ")
        if self.first:
            k.pr_cont(_blanks(width + 1))
        self.first = False
        k.pr_cont(f"{_blanks(width - len(str(cpu)))}#{cpu}")


def _blanks(count: int) -> str:
    return " " * max(1, count)
