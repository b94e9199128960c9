"""What is done with an input before anything is booted: descriptions, command lines, options, logs, folders."""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from hw.errors import InputError
from hw.faults import FaultSpec, add_fault, cpu_faults
from hw.spec import check_spec
from hw.toml_file import decode_toml
from minikern.commands.kexec import parse_flip
from minikern.core.cmdline import CommandLine
from minikern.core.cost_table import default_costs, machine_costs
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import read_acpidump
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.alone import is_resource_tree, spec_from_resource_tree
from minikern.describe.beside import Beside, lay_over
from minikern.describe.capture_build import captured_build, kconfig
from minikern.describe.case import Case
from minikern.describe.dmesg_text import boot_ranges, read_log, read_raw
from minikern.describe.machine_files import is_log
from minikern.describe.presets import load_machine, load_preset
from minikern.describe.startup import parse_startup
from minikern.init.params import kernel_command_line, parse_early_param, unmodelled_words
from minikern.lab.acpi_eval import parse_argument
from minikern.lab.fit.measured import parse_measured
from minikern.lab.run import boot, choose_release, prepare
from minikern.lab.sweep.vary import values_of
from minikern.lab.vms import parse_vm
from minikern.mm.hugetlb.hugetlb import hugetlb_cmdline
from minikern.report.explain import explanation_of
from minikern.state.cpus import CpuMaps
from minikern.state.e820 import E820State
from minikern.state.memblock import Memblock
from tests.fuzz.images import QUICK
from tests.fuzz.logs import Folder, logs
from tests.fuzz.mutations import edited


def booted(spec: Case, append: str = "") -> None:
    """Boot a machine, and give back at once what its memory map took."""
    boot(spec, append=append, options=QUICK).kernel.release_memory()


def read_description(place: Path, data: bytes) -> None:
    """A machine's TOML, with its unit costs and its kernel."""
    spec = decode_toml(data, Case, "fuzz.toml")
    machine_costs(spec.name, spec.costs)
    check_spec(spec)


def boot_description(place: Path, data: bytes) -> None:
    """The machine is booted."""
    booted(decode_toml(data, Case, "fuzz.toml"))


@cache
def _before() -> tuple[Kernel, Kernel]:
    """A kernel that has not begun to boot, and one that has."""
    spec = load_preset("tiny")
    return prepare(spec, None, choose_release(spec), "", QUICK), boot(spec, options=QUICK).kernel


def read_words(place: Path, text: str) -> None:
    """The command line as parameters' handlers take it, early ones first; nothing else of the boot."""
    first, done = _before()
    k = Kernel(first.machine, first.release, None, machine_costs("tiny", {}), [])
    k.e820, k.memblock, k.cpus = _e820(done), Memblock(), CpuMaps(done.cpus.boot)
    k.memblock.add(1 << 20, 255 << 20)
    k.memblock.set_node(0, 1 << 64, 0)
    k.cmdline = CommandLine(text)
    parse_early_param(k)
    k.numa = done.numa
    hugetlb_cmdline(k)
    kernel_command_line(k)
    unmodelled_words(k.cmdline, k.release)


def _e820(k: Kernel) -> E820State:
    return dataclasses.replace(k.e820, **{field.name: copy.copy(getattr(k.e820, field.name))
                                          for field in dataclasses.fields(k.e820)})  # fmt: skip


def boot_with_words(place: Path, text: str) -> None:
    """A small machine is booted with them."""
    booted(load_preset("tiny"), text)


def read_option(place: Path, given: tuple[str, str]) -> None:
    """One option's value, as the commands read it."""
    name, value = given
    match name:
        case "fault":
            faults = FaultSpec()
            add_fault(faults, value)
            cpu_faults(faults, 2)
        case "vm":
            for group in parse_vm(value):
                assert group.memory_bytes >= 0
        case "argument":
            parse_argument(value)
        case "flip":
            parse_flip(value)
        case "measured":
            parse_measured(value)
        case "vary":
            key, _, values = value.partition("=")
            values_of(key, values, sorted(default_costs()))
        case "numa" | "numa_distance":
            several: dict[str, Any] = {name: (value,)}
            adjust(load_preset("tiny"), Adjustments(**several))
        case _:
            single: dict[str, Any] = {name: value}
            adjust(load_preset("tiny"), Adjustments(**single))


def read_kept_log(place: Path, data: bytes) -> None:
    """Any form of a log becomes lines, and these its boots. InputError: there is none in it."""
    path = place / "dmesg.log"
    path.write_bytes(data)
    lines = read_log(path)
    read_raw(path)
    if not boot_ranges(lines) or not is_log(str(path)):
        raise InputError("no boot")


def read_machine_log(place: Path, data: bytes) -> None:
    """A log becomes a machine."""
    path = place / "dmesg.log"
    path.write_bytes(data)
    load_machine(str(path))


def boot_log(place: Path, data: bytes) -> None:
    """The log's machine is booted."""
    path = place / "dmesg.txt"
    path.write_bytes(data)
    booted(load_machine(str(path)))


def _folder(place: Path, files: Folder) -> Path:
    folder = place / "machine"
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read_folder(place: Path, files: Folder) -> None:
    """A captured folder becomes a machine."""
    load_machine(str(_folder(place, files)))


def boot_folder(place: Path, files: Folder) -> None:
    """The folder's machine is booted."""
    booted(load_machine(str(_folder(place, files))))


def read_collected(place: Path, files: Folder) -> None:
    """A log, and over it what else there is of the machine, as options lay it; then its configuration and memory."""
    folder = _folder(place, files)
    spec = load_machine(str(folder / "dmesg.txt"))
    names = {"acpi": "acpidump.txt", "pci": "lspci.txt", "config": "config-6.12"}
    lay_over(spec, Beside(**{option: str(folder / name) for option, name in names.items() if name in files}))
    if is_resource_tree(folder / "iomem.txt"):
        spec_from_resource_tree(folder / "iomem.txt", load_preset)


def read_side_text(place: Path, given: tuple[str, bytes]) -> None:
    """One file beside a log. InputError: nothing of its kind in it."""
    kind, data = given
    path = place / f"{kind}.txt"
    path.write_bytes(data)
    text = data.decode("utf-8", "replace")
    match kind:
        case "config":
            found: object = kconfig(text)
            captured_build(text, "", "")
        case "iomem":
            captured_build("", text, "")
            found = spec_from_resource_tree(path, load_preset)
        case "startup":
            found = parse_startup(text)
        case "acpidump":
            found = read_acpidump(text, str(path))
        case _:
            found = text
    if not found:
        raise InputError(f"nothing of a {kind}")


def log_line(chance: Random) -> str:
    """One line of a log with other numbers."""
    return edited(chance, [chance.choice(chance.choice(logs()))], 2)[0]


def explain_line(place: Path, line: str) -> None:
    """As ``explain`` looks it up. InputError: nobody knows it."""
    if explanation_of(line, others=True) is None:
        raise InputError("no such line")
