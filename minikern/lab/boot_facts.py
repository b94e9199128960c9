"""What one boot log says of its machine, its kernel and its command line, and nothing that it does not say."""

from __future__ import annotations

import re

import msgspec

from hw.acpi.layout import TableIds
from hw.errors import InputError
from minikern.core.cmdline import next_args
from minikern.describe.acpidump import LoggedTable
from minikern.describe.dmesg_log import RANGE, Log
from minikern.describe.dmesg_map import e820
from minikern.describe.dmesg_pci_lines import seen_functions
from minikern.describe.dmesg_tables import logged

MOST = (1 << 63) - 1
USABLE = 1  # an e820 type. Source: arch/x86/include/asm/e820/types.h
COMMAND_LINE = re.compile(r"(?:Kernel c|C)ommand line: (.*)$")


class BootFacts(msgspec.Struct, frozen=True):
    """A machine and a kernel by their log; None where no line tells. ``memory_bytes``: what the firmware calls RAM."""

    kernel_release: str | None
    kernel_build: str | None
    cpus: int | None
    cpu_model: str | None
    tsc_khz: int | None
    nodes: int | None
    memory_bytes: int | None
    ramdisk_bytes: int | None
    hypervisor: str | None
    firmware: str | None
    efi: bool
    microcode: str | None
    pci_functions: int | None
    acpi_tables: int | None
    acpi_table_bytes: int | None


def boot_facts(log: Log) -> BootFacts:
    """Read the facts off the lines of one boot."""
    banner = log.first(r"^Linux version (\S+) (.*)$")
    khz = log.first(r"^tsc: Detected (\d{1,6})\.(\d{3}) MHz TSC") or log.first(r"^tsc: Detected (\d{1,6})\.(\d{3}) MHz")
    tables = _tables(log)
    return BootFacts(
        kernel_release=banner[1] if banner else None,
        kernel_build=banner[2] if banner else None,
        cpus=log.number(r"^(?:smp: |x86: )?Brought up (?:\d+ nodes?, )?(\d+) CPUs?", MOST),
        cpu_model=_text(log, r"^smpboot: CPU0: (.*?)\s*$"),
        tsc_khz=int(khz[1] + khz[2]) if khz else None,
        nodes=log.number(r"^(?:smp: |x86: )?Brought up (\d+) nodes?", MOST),
        memory_bytes=_memory_bytes(log),
        ramdisk_bytes=_ramdisk_bytes(log),
        hypervisor=_text(log, r"^Hypervisor detected: (.*)$"),
        firmware=_text(log, r"^DMI: (.*)$"),
        efi=log.first(r"^efi: EFI v") is not None,
        microcode=_text(log, r"^microcode: (?:Current revision: |.*\brevision[=:] ?)(0x[0-9a-f]+)"),
        pci_functions=len(pci_functions(log)) or None,
        acpi_tables=len(tables) or None,
        acpi_table_bytes=sum(table.length for table in tables) or None,
    )


def pci_functions(log: Log) -> list[str]:
    """``0000:00:1f.2 [8086:a182] class 0x010601``, one for each function that the scan found, sorted."""
    found = seen_functions(log.lines).values()
    return sorted(f"{seen.address} [{seen.id}] class 0x{seen.class_code:06x}" for seen in found)


def acpi_tables(log: Log) -> list[str]:
    """The firmware's tables by signature, ids and length, sorted; where they lie is no difference."""
    return sorted(f"{one.signature} {_ids(one.ids)}{one.length} bytes" for one in _tables(log))


def _tables(log: Log) -> list[LoggedTable]:
    return [one for one in logged(log.lines) if one.signature != "RSDP"]  # a pointer, whose ids are not logged


def command_words(log: Log) -> list[str]:
    """The words of the kernel command line."""
    found = next((hit for line in log.lines if (hit := COMMAND_LINE.match(line))), None)
    args = next_args(found[1]) if found else ()
    return [name if value is None else f"{name}={value}" for name, value in args]


def _ids(ids: TableIds | None) -> str:
    return f"{ids.oem_id.strip()} {ids.oem_table_id.strip()} 0x{ids.oem_revision:x} " if ids is not None else ""


def _text(log: Log, pattern: str) -> str | None:
    found = log.first(pattern)
    return found[1].strip() if found else None


def _memory_bytes(log: Log) -> int | None:
    try:
        ranges = e820(Log(log.where, log.lines))
    except InputError:  # the log lost its map: the rest can be compared all the same
        return None
    return sum(item.end - item.start for item in ranges if item.type == USABLE)


def _ramdisk_bytes(log: Log) -> int | None:
    found = log.first(rf"^RAMDISK: {RANGE}")
    return int(found[2], 16) - int(found[1], 16) + 1 if found else None
