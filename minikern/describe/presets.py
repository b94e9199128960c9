"""Machines that come with hw, and the ways to name one: preset, TOML file, captured folder, boot log."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hw.errors import InputError
from hw.numbers import is_count
from hw.pci.spec import PciSpec
from hw.spelling import check_names
from hw.toml_file import decode_toml
from minikern.core.cost_table import default_costs
from minikern.core.families import costs_of, family_of
from minikern.core.release import own_release_names, release_names
from minikern.core.user_files import is_file_name, user_files
from minikern.describe.alone import is_resource_tree, is_tables, spec_from_resource_tree, spec_from_tables
from minikern.describe.capture import is_capture, missing_notes, spec_from_capture, without_tables
from minikern.describe.capture_archive import is_archive, spec_from_archive
from minikern.describe.case import Case, read_case
from minikern.describe.collected import is_collected, spec_from_collected
from minikern.describe.cpu_names import is_guest
from minikern.describe.dmesg_machine import spec_from_dmesg
from minikern.describe.dmesg_text import boots, looks_like_log, read_log

STANDARD_INPUT = "-"
LOG_SUFFIXES = (".txt", ".log", ".dmesg", ".gz", ".bz2", ".xz", ".zst")


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
    if name in (own := user_files("machines", presets)):
        return _described(own[name])
    if name == STANDARD_INPUT:
        return spec_from_dmesg(Path("/dev/stdin"), load_preset)
    if "\0" in name:
        raise InputError(f"{name!r}: no name of a file")
    path = Path(name)
    if path.is_dir():
        if not is_capture(path) and is_tables(path):
            return spec_from_tables(path, load_preset)
        if not is_capture(path) and is_collected(path):
            return spec_from_collected(path, load_preset)
        if not is_capture(path):
            raise InputError(f"{name}: a folder, but no captured machine: expected boot_params.bin in it")
        return _captured(path)
    if path.is_file() and is_archive(path):
        return spec_from_archive(path, _captured)
    if path.is_file() and is_tables(path):
        return spec_from_tables(path, load_preset)
    if path.is_file() and is_resource_tree(path):
        return spec_from_resource_tree(path, load_preset)
    if path.is_file():
        return _described(path) if _is_toml(path) else spec_from_dmesg(path, load_preset)
    log, colon, which = name.rpartition(":")
    if colon and is_count(which) and len(which) < 4 and Path(log).is_file():
        return spec_from_dmesg(Path(log), load_preset, int(which))
    known = ", ".join(machine_names())
    raise InputError(
        f"unknown machine {name!r:.200}: expected {known}, a TOML file, a boot log or a captured folder"
        " (- reads a boot log from standard input)"
    )


def _described(path: Path) -> Case:
    # One that says nothing of its unit costs has those of its family.
    spec = read_case(path)
    spec.costs = spec.costs or costs_of(spec.cpus, family_of(spec.cpus, is_guest(spec.cpus)))
    return spec


def _captured(folder: Path) -> Case:
    # An ordinary user cannot read the tables; then the log tells more than the rest of the folder.
    if without_tables(folder):
        spec = spec_from_dmesg(folder / "dmesg.txt", load_preset)
        gone = "the ACPI tables, so that the machine is read from its boot log"
        spec.notes += [f"missing: {gone}", *missing_notes(folder)]
        return spec
    return spec_from_capture(folder)


def is_log(name: str) -> bool:
    """True if ``name`` names a boot log (``FILE`` or ``FILE:N``), False for presets, descriptions and folders."""
    if name in preset_names() or "\0" in name:
        return False
    path = Path(name)
    if not path.is_file():
        log, colon, which = name.rpartition(":")
        path = Path(log) if colon and is_count(which) and len(which) < 4 else path
    known = path.is_file() and not _is_toml(path) and not is_archive(path)
    return known and not is_tables(path) and not is_resource_tree(path)


def further_boots(name: str) -> list[str]:
    """How to name the other boots of a log that holds several, as kexec and kdump leave them; empty for the rest."""
    path = Path(name)
    if name in preset_names() or "\0" in name or not path.is_file() or _is_toml(path) or is_archive(path):
        return []
    return [f"{name}:{number}" for number in range(2, len(boots(read_log(path))) + 1)]


def _is_toml(path: Path) -> bool:
    if not path.stat().st_size or is_tables(path) or is_resource_tree(path):
        return False
    # A description keeps its own suffix; any other file is one unless it looks, or is named, like a log.
    return path.suffix == ".toml" or not (path.suffix in LOG_SUFFIXES or looks_like_log(path))
