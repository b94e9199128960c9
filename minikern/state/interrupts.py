"""Which interrupt numbers the kernel has given out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class InterruptNumbers:
    """Numbers of interrupts that have none of their own: those of MSI, and of pins beyond the first I/O APIC.

    ``lower_bound`` is the first number that may be given out. Source: kernel/irq/irqdesc.c:__irq_alloc_descs() @ v6.12
    """

    lower_bound: int = 16
    taken: set[int] = field(default_factory=set)
    of_gsi: dict[int, int] = field(default_factory=dict)  # by global system interrupt
    users: dict[int, int] = field(default_factory=dict)  # of each of those
    links: dict[str, int] = field(default_factory=dict)  # interrupt links in use, with their GSI

    def allocate(self, count: int = 1) -> int:
        """The first of ``count`` numbers in a row that nobody has."""
        first = self.lower_bound
        while clash := [number for number in range(first, first + count) if number in self.taken]:
            first = clash[-1] + 1
        self.taken.update(range(first, first + count))
        return first

    def map_gsi(self, gsi: int) -> int:
        """The number of a pin beyond ``lower_bound``; each call needs one of :meth:`unmap_gsi`."""
        if gsi not in self.of_gsi:
            self.of_gsi[gsi] = self.allocate()
        self.users[gsi] = self.users.get(gsi, 0) + 1
        return self.of_gsi[gsi]

    def unmap_gsi(self, gsi: int) -> None:
        """One user less; without any the number is free again. Source: io_apic.c:mp_unmap_irq() @ v6.12"""
        self.users[gsi] -= 1
        if not self.users[gsi]:
            self.free(self.of_gsi.pop(gsi))

    def free(self, first: int, count: int = 1) -> None:
        """Give numbers back."""
        self.taken.difference_update(range(first, first + count))
