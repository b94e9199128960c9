"""Machines that come with hw, and the ways to name one: preset, TOML file, captured folder, boot log.

Who names a preset does not wait for the readers of files.
"""

from __future__ import annotations

from importlib import resources

from hw.errors import InputError
from hw.pci.spec import PciSpec
from hw.spelling import check_names
from hw.toml_file import decode_toml
from minikern.core.cost_table import default_costs
from minikern.core.release import own_release_names, release_names
from minikern.core.user_files import is_file_name, user_files
from minikern.describe.case import Case


def preset_names() -> list[str]:
    """Names of the presets, sorted."""
    folder = resources.files("hw").joinpath("machines")
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml") and "-pci" not in name)


def load_preset(name: str) -> Case:
    """The preset called ``name``."""
    folder = resources.files("hw").joinpath("machines")
    spec = decode_toml(folder.joinpath(f"{name}.toml").read_bytes(), Case, f"preset {name}")
    if spec.pci_file:
        spec.pci = decode_toml(folder.joinpath(spec.pci_file).read_bytes(), PciSpec, f"preset {name}: {spec.pci_file}")
    return spec


def machine_names() -> list[str]:
    """Names of the presets, then of the machines in the user's folders."""
    presets = preset_names()
    return [*presets, *sorted(user_files("machines", presets))]


def load_machine(name: str) -> Case:
    """The machine a user named. InputError says what was tried when there is no such machine, or what it gets wrong."""
    spec = _load(name)
    check_names(f"{name}: costs", "kind of work", spec.costs, default_costs())
    if not is_file_name(spec.release):
        check_names(f"{name}: release", "kernel", [spec.release], [*release_names(), *own_release_names()])
    return spec


def _load(name: str) -> Case:
    presets = preset_names()
    if name in presets:
        return load_preset(name)
    from minikern.describe.machine_files import case_from_file, described

    if name in (own := user_files("machines", presets)):
        return described(own[name])
    spec = case_from_file(name, load_preset)
    if spec is not None:
        return spec
    known = ", ".join(machine_names())
    raise InputError(
        f"unknown machine {name!r:.200}: expected {known}, a TOML file, a boot log or a captured folder"
        " (- reads a boot log from standard input)"
    )


def is_log(name: str) -> bool:
    """True if ``name`` names a boot log (``FILE`` or ``FILE:N``), False for presets, descriptions and folders."""
    if name in preset_names():
        return False
    from minikern.describe import machine_files

    return machine_files.is_log(name)


def further_boots(name: str) -> list[str]:
    """How to name the other boots of a log that holds several, as kexec and kdump leave them; empty for the rest."""
    if name in preset_names():
        return []
    from minikern.describe import machine_files

    return machine_files.further_boots(name)
