"""Case: a machine, and what is known of the kernel it boots, of its unit costs and of its measured times."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hw.pci.spec import PciSpec
from hw.spec import MachineSpec
from hw.toml_file import decode_file
from minikern.core.captured_build import CapturedBuild
from minikern.core.config import ConfigValue
from minikern.core.cost_table import machine_costs
from minikern.core.costs import Cost, Measured, Residue
from minikern.core.kernel_facts import KernelFacts
from minikern.describe.startup import Startup


class Case(MachineSpec, forbid_unknown_fields=True):
    """A machine's description with everything beside the hardware that a boot of it starts from."""

    release: str = "debian-6.12"
    costs: dict[str, Cost] = msgspec.field(default_factory=dict)
    residue: list[Residue] = msgspec.field(default_factory=list)
    measured: list[Measured] = msgspec.field(default_factory=list)  # from which unit costs follow
    needs: dict[str, str] = msgspec.field(default_factory=dict)  # words for variants, as the devices it must probe
    banner: str = ""  # captured "Linux version" line
    figures: str = ""  # published figures to hold a boot of this machine against
    kernel: KernelFacts | None = None  # of the build a boot log came from
    build: CapturedBuild | None = None  # of the kernel that ran on a captured machine
    options: dict[str, ConfigValue] = msgspec.field(default_factory=dict)  # of whichever kernel boots it
    told: dict[str, str] = msgspec.field(default_factory=dict)  # figures of the boot log it was made from, by name
    startup: Startup | None = None  # of which the kernel's boot is a part
    notes: list[str] = msgspec.field(default_factory=list)  # what was read and what was assumed, for the user


def read_case(path: Path) -> Case:
    """Read a machine's TOML file. InputError names the file, the key path and what was expected."""
    spec = decode_file(path, Case)
    if spec.pci_file:
        spec.pci = decode_file(path.parent / spec.pci_file, PciSpec)
    return spec


def with_costs(spec: Case) -> Case:
    """The case with every unit cost said, where it says none: a file without costs is taken to have its family's."""
    return spec if spec.costs else msgspec.structs.replace(spec, costs=machine_costs(spec.name, {}))
