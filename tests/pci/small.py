"""A real kernel on the smallest machine there is, with the PCI functions a test describes."""

from __future__ import annotations

import copy
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from hw.acpi import static
from hw.acpi.layout import TableIds, sdt
from hw.bus import Bus
from hw.pci.host import PciTopology
from hw.pci.spec import PciSpec
from minikern.core.experiment import Experiment
from minikern.core.forks import changed
from minikern.core.kernel import BootOptions, Kernel
from minikern.core.release import Release, load_release
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.init.main import start_kernel
from minikern.lab.run import prepare
from minikern.state.pci import PciState

ROOT = Path(__file__).resolve().parents[2]
MEMORY = "64M"
UNASKED = {"CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF": False}
"""IOMMUs stay off until a test asks for them."""
AREA_BYTES = 0x8000  # of the firmware's tables that a test may add


@cache
def _machine() -> Case:
    case = load_machine("tiny")
    case.memory, case.cpus.count, case.cpus.cores, case.append = MEMORY, 1, 1, ""
    return case


@cache
def _release(name: str) -> Release:
    return load_release(name)


class SmallKernel:
    """A kernel that stands before its start; :meth:`boot` takes it to /init.

    ``tables`` are ACPI tables the firmware has besides or in the place of its own, ``dmi`` what it says of the board,
    ``boot_arch`` further flags of the FADT, ``behaviour`` what the release does otherwise. The hardware can be changed
    until the boot: ``topology`` and ``bus`` are the machine's.
    """

    def __init__(
        self,
        spec: PciSpec,
        append: str = "",
        release: str = "debian-6.12",
        *,
        tables: dict[str, bytes] | None = None,
        dmi: list[str] | None = None,
        boot_arch: int = 0,
        config: dict[str, bool | int | str] | None = None,
        experiment: Experiment | None = None,
        **behaviour: Any,
    ) -> None:
        case = copy.deepcopy(_machine())
        case.pci, case.dmi = copy.deepcopy(spec), dmi or case.dmi
        case.acpi.boot_arch |= boot_arch
        own = _release(release)
        own = msgspec.structs.replace(
            own, behaviour=changed(own.behaviour, behaviour), config={**own.config, **UNASKED, **(config or {})}
        )
        self.kernel: Kernel = prepare(case, None, own, append, BootOptions(), experiment)
        self.bus: Bus = self.kernel.machine.bus
        self.topology: PciTopology = self.kernel.machine.topology
        if tables:
            _add_tables(self.kernel, tables)

    def boot(self) -> SmallKernel:
        """To /init; PCI's state is sound then."""
        start_kernel(self.kernel)
        self.pci.check()
        return self

    @property
    def pci(self) -> PciState:
        return self.kernel.pci

    @property
    def lines(self) -> list[str]:
        return [line.text for line in self.kernel.log.lines]

    @property
    def charged(self) -> Counter[str]:
        """Pieces of work by their kind."""
        found: Counter[str] = Counter()
        for entry in self.kernel.ledger.entries():
            found[entry.kind] += entry.pieces
        return found

    def class_lines(self, pattern: str) -> list[str]:
        """The lines in which the pattern is found."""
        return [line.rstrip() for line in self.lines if re.search(pattern, line)]


def _add_tables(k: Kernel, tables: dict[str, bytes]) -> None:
    """Write tables behind the firmware's, and a root table that names them too, or in the place of its own."""
    spec, memory = k.machine.spec.acpi, k.machine.bus.memory
    end = spec.base + spec.size
    root = int.from_bytes(memory.read(spec.rsdp_address or 0, 36)[24:32], "little")
    length = int.from_bytes(memory.read(root, 8)[4:8], "little")
    listed = [memory.read(root + at, 8) for at in range(36, length, 8)]
    kept = [one for one in listed if memory.read(int.from_bytes(one, "little"), 4).decode() not in tables]
    at = end - AREA_BYTES
    for data in tables.values():
        memory.write(at, data)
        kept.append(at.to_bytes(8, "little"))
        at += -(-len(data) // 64) * 64
    memory.write(at, sdt("XSDT", 1, b"".join(kept), TableIds()))
    memory.write(spec.rsdp_address or 0, static.rsdp(2, spec.oem_id, 0, at))
