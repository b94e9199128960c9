"""A bare boot log becomes a Case.

The log gives the firmware's memory map, command line, processors, memory affinity, and places and lengths of the ACPI
tables; the nearest preset gives the rest. ``Case.notes`` says what was read and what was assumed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from hw.acpi.dsdt import Described, build_dsdt
from hw.errors import InputError
from hw.spec import CpuSpec
from minikern.core.families import costs_of, family_of_boot
from minikern.core.release import load_release, release_for_version
from minikern.core.version import banner_version, series
from minikern.describe.architecture import foreign_architecture
from minikern.describe.case import Case
from minikern.describe.dmesg_config import names_callers
from minikern.describe.dmesg_cpus import cpus, hotplug
from minikern.describe.dmesg_forms import cut_at
from minikern.describe.dmesg_image import place_image
from minikern.describe.dmesg_ivrs import remapping_only
from minikern.describe.dmesg_kernel import kernel_facts
from minikern.describe.dmesg_listed import listed_ids
from minikern.describe.dmesg_log import Log
from minikern.describe.dmesg_map import boot, command_line, e820
from minikern.describe.dmesg_microcode import microcode
from minikern.describe.dmesg_namespace import dynamic_loads, namespace_facts
from minikern.describe.dmesg_numa import affinity, bringup_order, cpu_nodes, distances, plain_nodes
from minikern.describe.dmesg_pci import pci_from_log
from minikern.describe.dmesg_tables import Firmware, hardware_facts, logged, spec_from_lines
from minikern.describe.dmesg_text import boots, read_log, read_raw
from minikern.describe.grab_boot_data import lay_sections, sections
from minikern.describe.log_facts import log_facts
from minikern.describe.uarts import uarts_of_log

FIRST_SERVER_CPUS = 17  # with more CPUs, or more nodes, the server preset is nearer than the laptop


def spec_from_dmesg(path: Path, preset: Callable[[str], Case], which: int = 0) -> Case:
    """The machine a boot log tells of.

    Of several boots in one file the first one with a memory map is taken, or boot ``which`` (from 1). ``preset`` loads
    a machine by name. InputError: no boot log, damaged, or without a usable memory map.
    """
    lines = read_log(path)
    if foreign := foreign_architecture(lines):
        raise InputError(f"{path}: the log of a machine of {foreign[0]} ({foreign[1]!r:.80}): expected one of x86-64")
    found = boots(lines)
    if not found:
        raise InputError(
            f"{path}: no boot log: expected a 'Linux version' line and BIOS-e820 lines after it, and a name ending in"
            " .toml for a machine description; what systemd-analyze printed goes beside a log, with --systemd"
        )
    if not 0 <= which <= len(found):
        raise InputError(f"{path}: boot {which} of a log with {len(found)}: expected 1 to {len(found)}")
    log = Log(str(path), found[max(which, 1) - 1])
    raw = read_raw(path)
    if width := cut_at(raw):
        log.assumed.append(f"nothing of what was cut off at column {width}")
    if len(found) > 1:
        log.read.append(f"boot {max(which, 1)} of {len(found)} in this file (append :N to the name for another)")
    spec = _spec(log, path.name, preset)
    if spec.kernel is not None and names_callers(raw):
        spec.kernel.options["CONFIG_PRINTK_CALLER"] = True
    lay_sections(spec, sections(raw))
    return spec


def _spec(log: Log, name: str, preset: Callable[[str], Case]) -> Case:
    ranges = e820(log)
    memory, cpu_pxm = affinity(log)
    processors = cpus(log, bringup_order(log, cpu_pxm))
    nodes = len({area.pxm for area in memory})
    base = preset("lpc2023" if processors.count >= FIRST_SERVER_CPUS or nodes > 1 else "laptop")
    family = family_of_boot(processors, log.lines)
    log.assumed.append(f"unit costs of machines of its kind ({family}); contents of ACPI tables beyond the log")
    pci = pci_from_log(log)
    spec = Case(
        name=name,
        title=f"made from the boot log {name}",
        cpus=processors,
        release=base.release,
        append=command_line(log),
        banner=_banner(log, base),
        dmi=[match[0] for match in log.all(re.compile(r"^(?:SMBIOS .* present\.|DMI: .*)$"))],
        e820=ranges,
        pci=pci.spec,
        costs=costs_of(processors, family),
        boot=boot(log, ranges),
        kernel=kernel_facts(log),
        uarts=uarts_of_log(log.lines),
    )
    place_image(log, spec)
    listed = listed_ids(log, processors.apic_ids)
    firmware = Firmware(listed, cpu_pxm, memory, distances(log), hotplug(log), memory_map=ranges)
    firmware.dmar, firmware.ivrs = pci.dmar, pci.ivrs or remapping_only(log)
    _place_tables(log, spec, base, firmware)
    microcode(log, spec)
    spec.told = log_facts(log.lines)
    spec.notes = [f"read: {item}" for item in log.read] + [f"assumed: {item}" for item in log.assumed]
    return spec


def _neighbour(log: Log, banner: str) -> None:
    # Behaviour follows the version; image and configuration are those of the nearest release there is a file of.
    name, version = release_for_version(banner), banner_version(banner)
    if name and series(load_release(name).version) != series(version):
        log.assumed.append(f"image and configuration of kernel {name!r}, as there is none of {version}")
    if log.first(r"^(?:Linux version \S*(?:i[3-6]86|-686|\.i686)|\d+MB (?:HIGHMEM|LOWMEM) available)"):
        log.assumed.append("a 64-bit kernel, where a 32-bit one wrote the log")


def _banner(log: Log, base: Case) -> str:
    if log.lines[0].startswith("Linux version "):
        _neighbour(log, log.lines[0])
        return log.lines[0]
    log.assumed.append(f"kernel release {base.release!r}, as the log lost its first line")
    return ""


def _place_tables(log: Log, spec: Case, base: Case, firmware: Firmware) -> None:
    window = spec.pci
    if window.ecam_base is not None:
        firmware.ecam = (window.ecam_base, 0, window.ecam_start_bus, window.ecam_end_bus)
    if firmware.memory and not firmware.cpu_pxm:
        firmware.cpu_pxm = cpu_nodes(log, firmware)
    pxm = {apic_id: domain for apic_id, domain, _ in firmware.cpu_pxm}
    places = CpuSpec(spec.cpus.count, sockets=spec.cpus.count).topology()
    shown = msgspec.structs.replace(base.acpi, dsdt_standin=0, init_turns=0)
    namespace_facts(log.lines, shown)
    firmware.dsdt = build_dsdt(Described(shown, places, pxm, spec.pci))
    firmware.loads = dynamic_loads(log, logged(log.lines))
    acpi = spec_from_lines(log.lines, firmware, base.acpi)
    if acpi is not None:
        spec.acpi = acpi
        log.read.append(f"places and lengths of {len(acpi.raw)} ACPI tables")
        return
    spec.acpi = hardware_facts(log.lines, base.acpi, firmware)
    if not any(entry.type == 3 for entry in spec.e820):
        spec.acpi.enabled = False
        log.assumed.append("no ACPI, as the log has neither tables nor a place for them")
        return
    log.assumed.append("ACPI tables in the first ACPI range of the map")
    plain_nodes(spec, firmware)
