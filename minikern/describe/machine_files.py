"""Machines that are files: a TOML description, a captured folder or archive, tables, a boot log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hw.errors import InputError
from hw.files import is_file, is_folder
from hw.numbers import is_count
from minikern.core.families import costs_of, family_of
from minikern.describe.alone import (
    is_functions,
    is_resource_tree,
    is_tables,
    spec_from_functions,
    spec_from_resource_tree,
    spec_from_tables,
)
from minikern.describe.capture import is_capture, missing_notes, spec_from_capture, without_tables
from minikern.describe.capture_archive import is_archive, spec_from_archive
from minikern.describe.case import Case, read_case
from minikern.describe.collected import is_collected, spec_from_collected
from minikern.describe.cpu_names import is_guest
from minikern.describe.dmesg_machine import spec_from_dmesg
from minikern.describe.dmesg_text import boots, looks_like_log, read_log

STANDARD_INPUT = "-"
LOG_SUFFIXES = (".txt", ".log", ".dmesg", ".gz", ".bz2", ".xz", ".zst")
Preset = Callable[[str], Case]


def case_from_file(name: str, preset: Preset) -> Case | None:
    """The machine of the file or folder ``name``, None where there is none. InputError: it is not one, or damaged."""
    if name == STANDARD_INPUT:
        return spec_from_dmesg(Path("/dev/stdin"), preset)
    if "\0" in name:
        raise InputError(f"{name!r}: no name of a file")
    path = Path(name)
    if is_folder(path):
        return _from_folder(path, preset)
    if is_file(path):
        return _from_file(path, preset)
    log, colon, which = name.rpartition(":")
    if colon and is_count(which) and len(which) < 4 and is_file(log):
        return spec_from_dmesg(Path(log), preset, int(which))
    return None


def is_machine_folder(path: Path) -> bool:
    """True for a folder that describes a machine in one of the ways there are."""
    return is_capture(path) or is_tables(path) or is_collected(path)


def _from_folder(path: Path, preset: Preset) -> Case:
    if is_capture(path):
        return _captured(path, preset)
    if is_tables(path):
        return spec_from_tables(path, preset)
    if is_collected(path):
        return spec_from_collected(path, preset)
    raise InputError(f"{path}: a folder, but no captured machine: expected boot_params.bin in it")


def _from_file(path: Path, preset: Preset) -> Case:
    if is_archive(path):
        return spec_from_archive(path, lambda folder: _captured(folder, preset))
    if is_tables(path):
        return spec_from_tables(path, preset)
    if is_resource_tree(path):
        return spec_from_resource_tree(path, preset)
    if is_functions(path):
        return spec_from_functions(path, preset)
    return described(path) if _is_toml(path) else spec_from_dmesg(path, preset)


def described(path: Path) -> Case:
    """A TOML file's machine. One that says nothing of its unit costs has those of its family."""
    spec = read_case(path)
    spec.costs = spec.costs or costs_of(spec.cpus, family_of(spec.cpus, is_guest(spec.cpus)))
    return spec


def _captured(folder: Path, preset: Preset) -> Case:
    # An ordinary user cannot read the tables; then the log tells more than the rest of the folder.
    if without_tables(folder):
        spec = spec_from_dmesg(folder / "dmesg.txt", preset)
        gone = "the ACPI tables, so that the machine is read from its boot log"
        spec.notes += [f"missing: {gone}", *missing_notes(folder)]
        return spec
    return spec_from_capture(folder)


def is_log(name: str) -> bool:
    """True if ``name`` names a boot log (``FILE`` or ``FILE:N``), False for descriptions and folders."""
    if "\0" in name:
        return False
    path = Path(name)
    if not is_file(path):
        log, colon, which = name.rpartition(":")
        path = Path(log) if colon and is_count(which) and len(which) < 4 else path
    known = is_file(path) and not _is_toml(path) and not is_archive(path)
    return known and not is_tables(path) and not is_resource_tree(path) and not is_functions(path)


def further_boots(name: str) -> list[str]:
    """How to name the other boots of a log that holds several, as kexec and kdump leave them; empty for the rest."""
    path = Path(name)
    if "\0" in name or not is_file(path) or _is_toml(path) or is_archive(path):
        return []
    return [f"{name}:{number}" for number in range(2, len(boots(read_log(path))) + 1)]


def _is_toml(path: Path) -> bool:
    if not path.stat().st_size or is_tables(path) or is_resource_tree(path) or is_functions(path):
        return False
    # A description keeps its own suffix; any other file is one unless it looks, or is named, like a log.
    return path.suffix == ".toml" or not (path.suffix in LOG_SUFFIXES or looks_like_log(path))
