"""Files that stand beside a log or a description: an ACPI dump, a kernel's configuration, lspci's hexadecimal dump,
what systemd-analyze printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hw.acpi.spec import AcpiSpec, RawTable
from hw.errors import InputError
from hw.files import is_file, is_folder, read_text_input
from minikern.core.captured_build import CapturedBuild
from minikern.describe.acpi_places import placed_acpi
from minikern.describe.acpidump import read_acpidump, read_dat_folder
from minikern.describe.beside_pci import lay_pci
from minikern.describe.capture_build import kconfig
from minikern.describe.case import Case
from minikern.describe.startup import parse_startup

ROOT_TABLES = ("RSDP", "RSDT", "XSDT")

Tables = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Beside:
    """Names of the files; empty: there is none."""

    acpi: str = ""
    pci: str = ""
    config: str = ""
    systemd: str = ""


def lay_over(spec: Case, files: Beside, found: bool = False) -> None:
    """Put what the files say over ``spec``. InputError: unreadable, none of its kind, or of another machine.

    Files that were ``found`` on the machine tell of the kernel that ran there; given ones, of whichever will.
    """
    if files.config:
        _lay_config(spec, Path(files.config), found)
    if files.acpi:
        _lay_acpi(spec, Path(files.acpi))
    if files.pci:
        lay_pci(spec, Path(files.pci), read_beside(Path(files.pci)))
    if files.systemd:
        lay_startup(spec, Path(files.systemd))


def lay_startup(spec: Case, path: Path) -> None:
    """Keep how long the whole start took. InputError: unreadable, or nothing about the kernel's part."""
    found = parse_startup(read_beside(path))
    if found is None:
        raise InputError(
            f"{path}: no times of the kernel: expected what 'systemd-analyze' or 'systemd-analyze plot --json=short'"
            " prints"
        )
    spec.startup = found
    spec.notes.append(f"read: systemd's times: {found.text()}")


def read_beside(path: Path) -> str:
    """The text of a file beside a machine. InputError: none, unreadable, too long."""
    if not is_file(path):
        raise InputError(f"{path}: neither a file nor a folder" if os.path.lexists(path) else f"{path}: no such file")
    return read_text_input(path)


def _lay_config(spec: Case, path: Path, of_its_own: bool) -> None:
    found = kconfig(read_beside(path))
    if not found:
        raise InputError(f"{path}: no CONFIG_ lines: expected a kernel's .config")
    if of_its_own:
        before = spec.build or CapturedBuild()
        spec.build = CapturedBuild({**before.config, **found}, before.image, before.image_bytes)
    else:
        spec.options = {**spec.options, **found}
    spec.notes.append(f"read: {len(found)} options of {path.name}")


def acpi_tables(path: Path) -> Tables:
    """The tables of an acpidump text or of a folder of .dat files. InputError: it holds none."""
    if is_folder(path):
        by_name = read_dat_folder(path if any(path.glob("*.dat")) else path / "acpi")
        found = [(name, data) for name in sorted(by_name) for data in by_name[name]]
    else:
        found = [(table.signature, table.data) for table in read_acpidump(read_beside(path), str(path))]
    if not any(name == "FACP" for name, _ in found):
        expected = "an acpidump text or a folder of .dat files"
        raise InputError(f"{path}: no table FACP among {len(found)}: expected {expected}")
    return found


def _lay_acpi(spec: Case, path: Path) -> None:
    tables = [(name, data) for name, data in acpi_tables(path) if name not in ROOT_TABLES]
    logged = {table.signature: table for table in reversed(spec.acpi.raw)}
    if "FACP" in logged:
        spec.acpi.raw = _at_logged_places(path, spec.acpi, tables)
    else:
        placed = placed_acpi(tables, spec.e820)
        if placed is None:
            raise InputError(f"{path}: no room for {len(tables)} tables: expected an ACPI range in the memory map")
        spec.acpi = placed
    spec.notes.append(f"read: {len(tables)} ACPI tables of {path.name}")


def _at_logged_places(path: Path, acpi: AcpiSpec, tables: Tables) -> list[RawTable]:
    left = list(tables)
    raw = []
    for table in acpi.raw:
        fitting = next((item for item in left if _fits(item, table)), None)
        if fitting is not None:
            left.remove(fitting)
            raw.append(RawTable(table.signature, table.address, fitting[1]))
        elif table.signature in ("FACP", "DSDT", "APIC"):
            raise InputError(
                f"{path}: tables of another machine: the log has {table.signature} of {len(table.data):#x} bytes,"
                f" here are {_sizes(tables, table.signature)}"
            )
        else:
            raw.append(table)
    return raw


def _fits(item: tuple[str, bytes], table: RawTable) -> bool:
    return item[0] == table.signature and len(item[1]) == len(table.data)


def _sizes(tables: Iterable[tuple[str, bytes]], name: str) -> str:
    return ", ".join(f"{len(data):#x}" for found, data in tables if found == name) or "none"
