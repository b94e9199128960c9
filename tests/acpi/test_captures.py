"""Captured machines: what a real kernel logged of their tables, line by line."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from minikern.acpi import acpi_init, tables
from minikern.core.config import Config
from minikern.core.release import load_release, release_for_version
from minikern.describe.acpidump import acpi_from_capture
from minikern.smp import io_apic, madt
from tests.acpi.support import CAPTURES, SmallKernel, capture_folders, machine_of, pci_config, small_kernel

pytestmark = pytest.mark.oracle
FOLDERS = capture_folders()


@pytest.fixture(scope="module")
def logmatch() -> ModuleType:
    path = CAPTURES.parent / "tools" / "logmatch.py"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    module_spec = importlib.util.spec_from_file_location("logmatch", path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    return module


def boot(folder: Path) -> SmallKernel:
    """The ACPI part of a boot on the captured machine."""
    spec = acpi_from_capture(folder, (folder / "dmesg.txt").read_text())
    bus = machine_of(spec)
    # firmware leaves the links enabled; in a kernel started by kexec they are as the kernel before left them
    bus.map_ports(0xCF8, 8, pci_config(folder, firmware_state=folder.name != "second"))
    release = load_release(release_for_version((folder / "version.txt").read_text()) or "")
    k = small_kernel(bus, (folder / "kernel-cmdline.txt").read_text().strip())
    k.behaviour = release.behaviour
    k.config = Config(release.config)
    tables.acpi_boot_table_init(k, spec.rsdp_address)
    madt.acpi_boot_init(k)
    tables.acpi_early_init(k)
    io_apic.setup_io_apic_irqs(k)
    acpi_init.acpi_subsystem_init(k)
    acpi_init.acpi_pci_init(k)
    acpi_init.acpi_init(k, lambda root: None)
    return k


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_log_lines(folder: Path, logmatch: ModuleType) -> None:
    k = boot(folder)
    real = logmatch.lines(folder / "dmesg.txt")
    for name in ("acpi-tables", "madt", "aml"):
        pattern = logmatch.CLASSES[name]
        wanted, got = logmatch.pick(real, pattern), logmatch.pick(k.lines, pattern)
        assert got == wanted, "\n".join(difflib.unified_diff(wanted, got, "real", "emulated", lineterm=""))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_devices(folder: Path) -> None:
    listing = folder / "acpi-devices.txt"
    if not listing.exists():
        pytest.skip("no device list was captured")
    k = boot(folder)
    run = k.acpi.interpreter
    wanted = {}
    for line in listing.read_text().splitlines():
        words = dict(part.partition("=")[::2] for part in line.split(" ") if "=" in part)
        if words["path"] not in ("", "\\", "\\_SB_", "\\_TZ_"):
            wanted[words["path"]] = words["hid"]
    from minikern.acpi.scan import attached_devices, hardware_ids
    from minikern.state.namespace import Kind

    got = {node.path: (hardware_ids(run, node) or [""])[0] for node in attached_devices(run)}
    processors = {node.path for node in run.namespace.devices() if node.kind is Kind.PROCESSOR}
    predefined = {"\\_SB_", "\\_TZ_"}
    # the answers of the CPU hot-plug ports are not captured, so processors may show as absent
    assert {path for path in wanted if path not in processors} == got.keys() - predefined - processors
    for path in got.keys() & wanted.keys() - processors:
        assert got[path] == wanted[path], path


def test_pci_root_of_q35() -> None:
    folder = CAPTURES / "q35-2cpu-2g"
    if not folder.is_dir():
        pytest.skip("captures are not there")
    (root,) = boot(folder).acpi.pci_roots
    assert (root.segment, root.bus_start, root.bus_end, root.hid, root.uid) == (0, 0, 0xFF, "PNP0A08", "0")
    assert root.osc
    assert [(window.kind, window.start, window.end) for window in root.windows] == [
        ("io", 0xCF8, 0xCFF),
        ("io", 0, 0xCF7),
        ("io", 0xD00, 0xFFFF),
        ("mem", 0xA0000, 0xBFFFF),
        ("mem", 0x8000_0000, 0xAFFF_FFFF),
        ("mem", 0xC000_0000, 0xFEBF_FFFF),
        ("mem", 0x1_0000_0000, 0x8_FFFF_FFFF),
    ]
