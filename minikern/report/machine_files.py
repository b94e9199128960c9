"""A machine's own files: the description, the map, tables and configuration spaces, as a folder that boots again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hw import boot_params
from hw.machine import cpu_msrs, cpuid_tables
from hw.pci.lspci import describe, format_lspci
from hw.spec import MachineSpec
from minikern.describe.acpidump import DumpedTable, write_acpidump, write_dat_folder
from minikern.describe.case import Case
from minikern.host.output import Folder
from minikern.lab.run import Boot
from minikern.mm.early.e820 import type_name
from minikern.report.dmesg import format_dmesg

KERNEL_MEMMAP_NAMES = {1: "System RAM", 2: "Reserved", 3: "ACPI Tables", 4: "ACPI Non-volatile Storage"}


def spec_toml(spec: Case) -> str:
    """The description as TOML; reading it gives the same description."""
    import tomli_w

    whole = msgspec.structs.replace(spec, pci_file="")  # what the second file said is part of ``pci`` by now
    return tomli_w.dumps(_without_none(msgspec.to_builtins(whole)))


def _without_none(value: Any) -> Any:
    # TOML has no null: an absent key means the same.
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def dump_machine(boot: Boot, folder: Path) -> None:
    """Fill ``folder`` with what the machine consists of, in the layout of a captured machine."""
    machine, into = boot.kernel.machine, Folder(folder)
    texts = {
        "machine.toml": spec_toml(boot.spec),
        "dmesg.txt": format_dmesg(boot.kernel),
        "version.txt": (boot.kernel.release.banner) + "\n",
        "kernel-cmdline.txt": boot.kernel.cmdline.text + "\n",
        "e820.txt": _e820_text(machine.spec),
        "memmap.txt": _memmap_text(machine.spec),
        "cpuid.txt": _cpuid_text(machine.spec),
        "msr.txt": _msr_text(machine.spec),
        "NOTE.txt": (machine.spec.title or machine.spec.name) + "\n",
    }
    for name, text in texts.items():
        into.write(name, text)
    page = machine.bus.read_bytes(machine.boot_cpu.rsi, boot_params.SIZE)
    into.write("boot_params.bin", page)
    _dump_acpi(boot, into)
    _dump_pci(boot, into)


def _e820_text(spec: MachineSpec) -> str:
    rows = (f"BIOS-e820: [mem {e.start:#018x}-{e.end - 1:#018x}] {type_name(e.type)}\n" for e in spec.e820)
    return "".join(rows)


def _memmap_text(spec: MachineSpec) -> str:
    rows = enumerate(spec.e820)
    return "".join(
        f"{i} {e.start:#x} {e.end - 1:#x} {KERNEL_MEMMAP_NAMES.get(e.type, 'Unknown E820 type')}\n" for i, e in rows
    )


def _cpuid_text(spec: MachineSpec) -> str:
    lines = []
    for index, (_, leaves) in enumerate(cpuid_tables(spec.cpus)):
        lines.append(f"CPU {index}:")
        for (leaf, sub), (a, b, c, d) in sorted(leaves.items()):
            lines.append(f"   {leaf:#010x} {sub:#04x}: eax={a:#010x} ebx={b:#010x} ecx={c:#010x} edx={d:#010x}")
    return "\n".join(lines) + "\n"


def _msr_text(spec: MachineSpec) -> str:
    lines = []
    for index in range(spec.cpus.count):
        lines.append(f"CPU {index}:")
        for number, value in sorted(cpu_msrs(spec.cpus, index).items()):
            lines.append(f"   {number:#010x} {value:#018x}")
    return "\n".join(lines) + "\n"


def _dump_acpi(boot: Boot, into: Folder) -> None:
    tables = [
        DumpedTable(table.signature, table.address, table.data)
        for table in boot.kernel.acpi.tables
        if table.data is not None
    ]
    if tables:
        write_dat_folder(into.path / "acpi", ((table.signature, table.data) for table in tables))
        into.write("acpidump.txt", write_acpidump(tables))


def _dump_pci(boot: Boot, into: Folder) -> None:
    functions = list(boot.kernel.machine.topology.functions())
    if not functions:
        return
    for function in functions:
        into.write(f"pci/config/{function.address}.bin", bytes(function.config.data))
    devices = [describe(function.address, function.config) for function in functions]
    into.write("pci/lspci-xxxx.txt", format_lspci(devices))
    rows = []
    for device in boot.kernel.pci.devices:
        rows.append(f"== {device.name}")
        rows += [f"{item.start:#018x} {item.end:#018x} {item.flags:#018x}" for item in device.resources]
    into.write("pci/resources.txt", "\n".join(rows) + "\n")
