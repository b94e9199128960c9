"""Bringing ACPI up: the interpreter, object initialisation, sleep states, GPEs, the namespace scan."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.device_walk import DEEPEST, STA_PRESENT, is_there, status
from minikern.acpi.ec_driver import acpi_ec_dsdt_probe, acpi_ec_ecdt_probe, acpi_ec_init
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.osi import OsiStrings
from minikern.acpi.package_init import init_packages
from minikern.acpi.processor import acpi_id
from minikern.acpi.processor_setup import acpi_early_processor_control_setup, processors
from minikern.acpi.reg import execute_reg_methods
from minikern.acpi.scan import acpi_bus_scan
from minikern.acpi.spaces import PCI_CONFIG
from minikern.acpi.tables import acpi_early_init as acpi_early_init
from minikern.core.moduleparam import Parameter, a_bool, module_param
from minikern.core.subsystem_lines import SCAN_LAST, say
from minikern.state.acpi import AcpiState, PciRoot
from minikern.state.namespace import Kind, Node

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel



_GPE_METHOD = re.compile(r"_[LE][0-9A-F]{2}$")
_INI_KINDS = (Kind.DEVICE, Kind.PROCESSOR, Kind.THERMAL)

def acpi_subsystem_init(k: Kernel) -> None:
    """Switch the hardware to ACPI mode through the SMI command port when it is not there yet (no line).

    Source: drivers/acpi/bus.c:acpi_subsystem_init() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.disabled or state.fadt is None:
        return
    facp = state.table("FACP") or b""
    smi_command, enable = int.from_bytes(facp[0x30:0x34], "little"), facp[0x34] if len(facp) > 0x34 else 0
    if 0 < smi_command < 0x10000 and enable and not state.fadt.hardware_reduced:
        k.machine.boot_cpu.outb(smi_command, enable)


def acpi_pci_init(k: Kernel) -> None:
    """The arch-level initcall: what the FADT forbids PCI, and the hot-plug driver's line.

    Source: drivers/pci/pci-acpi.c:acpi_pci_init() @ v6.12
    """
    state: AcpiState = k.acpi
    if state.fadt is not None and not state.disabled:
        if state.fadt.no_msi:
            k.printk("ACPI FADT declares the system doesn't support MSI, so disable it")
        if state.fadt.no_aspm:
            k.printk("ACPI FADT declares the system doesn't support PCIe ASPM, so disable it")
    if state.disabled or k.acpi_options.pci_disabled:
        return
    if k.config.get("CONFIG_HOTPLUG_PCI_ACPI", True) and not k.cmdline.get_bool("acpiphp.disable", False):
        k.printk("acpiphp: ACPI Hot Plug PCI Controller Driver version: 0.5")


def acpi_init(k: Kernel, scan_root: Callable[[PciRoot], None], before_scan: Callable[[], None] | None = None) -> None:
    """The acpi_init initcall: bus, then scan. ``scan_root`` is called for each PCI root as its line is logged;
    ``before_scan`` (the PCI root driver's own lines) right before the GPEs are enabled.

    Source: drivers/acpi/bus.c:acpi_init() @ v6.12
    """
    state: AcpiState = k.acpi
    if not state.disabled and not acpi_bus_init(k):
        state.disabled = True
    if state.disabled:
        k.printk("ACPI: Interpreter disabled.")
        return
    acpi_scan_init(k, scan_root, before_scan)
    say(k, SCAN_LAST)
    acpi_ec_init(k, loaded_interpreter(k))


def acpi_bus_init(k: Kernel) -> bool:
    """From the _OSI lines to the interrupt model; False when there is nothing to interpret.

    Source: drivers/acpi/bus.c:acpi_bus_init() @ v6.12
    """
    strings = OsiStrings(k)
    strings.install(k)
    k.acpi.osi = strings
    if not acpi_load_tables(k):
        return False
    run = loaded_interpreter(k)
    acpi_ec_ecdt_probe(k, run)
    acpi_initialize_objects(k, run)
    acpi_early_processor_control_setup(k, run)
    acpi_ec_dsdt_probe(k, run)
    k.printk("ACPI: Interpreter enabled")
    acpi_sleep_init(k, run)
    _bus_init_irq(k, run)
    return True


def acpi_initialize_objects(k: Kernel, run: Interpreter) -> None:
    r"""Run \_INI, \_SB._INI, then _STA and _INI of devices; the subtree of an absent device is skipped.

    A device below which nothing has an _INI is not even asked whether it is there.

    Source: drivers/acpi/acpica/nsinit.c:acpi_ns_initialize_devices() @ v6.12
    """
    init_packages(run)
    root = run.namespace.root
    for node in (root, root.children.get("_SB_")):
        if node is not None and "_INI" in node.children:
            run.evaluate(node, "_INI")
    execute_reg_methods(run, PCI_CONFIG)
    k.charge("acpi_node_walk", 2 * run.objects)  # for the methods, and for the devices
    _initialize_below(run, root, _above_ini_methods(run), 0)


def _above_ini_methods(run: Interpreter) -> set[Node]:
    """Every object that has an _INI of a device below it.

    Source: drivers/acpi/acpica/nsinit.c:acpi_ns_find_ini_methods() @ v6.12
    """
    above: set[Node] = set()
    for found in run.namespace.walk():
        node = found.parent
        if found.name == "_INI" and node is not None and node.kind in _INI_KINDS:
            run.look_at(found)
            while node is not None and node not in above:
                above.add(node)
                node = node.parent
    return above


def _initialize_below(run: Interpreter, parent: Node, with_ini: set[Node], depth: int) -> None:
    """Source: drivers/acpi/acpica/nsinit.c:acpi_ns_init_one_device() @ v6.12"""
    for node in list(parent.children.values()):
        predefined = parent.parent is None and node.name in ("_SB_", "_TZ_")
        if node.kind in _INI_KINDS and not predefined:
            flags = status(run, node) if node in with_ini else 0
            if not is_there(flags):
                continue
            if flags & STA_PRESENT and "_INI" in node.children:
                run.evaluate(node, "_INI")
        if node.children and node.kind is not Kind.METHOD and depth < DEEPEST:
            _initialize_below(run, node, with_ini, depth + 1)


def acpi_processor_check_duplicates(k: Kernel) -> None:
    """Ask every processor for its id, so that one that is declared twice is known.

    Source: drivers/acpi/acpi_processor.c:acpi_processor_check_duplicates() @ v6.12
    """
    run = loaded_interpreter(k)
    for node in processors(run):
        acpi_id(run, node)


def acpi_sleep_init(k: Kernel, run: Interpreter) -> None:
    r"""Log the sleep states whose \_Sx packages are there. Source: drivers/acpi/sleep.c:acpi_sleep_init() @ v6.12"""
    states = ["S0"]
    for number in range(1, 6):
        package = run.evaluate(run.namespace.root, f"_S{number}_")
        if isinstance(package, list) and package and _sleep_state_known(k, number):
            states.append(f"S{number}")
    k.printk(f"ACPI: PM: (supports {' '.join(states)})")


def _sleep_state_known(k: Kernel, number: int) -> bool:
    # S1 to S3 suspend, S4 hibernates, S5 is power off; reduced hardware needs its own registers for any of them.
    fadt = k.acpi.fadt
    if fadt is not None and fadt.hardware_reduced and not fadt.sleep_registers:
        return False
    if number < 4:
        return bool(k.config.get("CONFIG_SUSPEND", True))
    return number == 5 or bool(k.config.get("CONFIG_HIBERNATION", True))


def _bus_init_irq(k: Kernel, run: Interpreter) -> None:
    """Source: drivers/acpi/bus.c:acpi_bus_init_irq() @ v6.12"""
    ioapic = k.acpi.have_ioapic
    k.printk(f"ACPI: Using {'IOAPIC' if ioapic else 'PIC'} for interrupt routing")
    run.evaluate(run.namespace.root, "_PIC", args=[1 if ioapic else 0])


def acpi_scan_init(
    k: Kernel, scan_root: Callable[[PciRoot], None], before_scan: Callable[[], None] | None = None
) -> None:
    """Enable the GPEs, then scan the namespace. Source: drivers/acpi/scan.c:acpi_scan_init() @ v6.12"""
    acpi_processor_check_duplicates(k)
    if before_scan is not None:
        before_scan()
    acpi_update_all_gpes(k)
    acpi_bus_scan(k, scan_root)


def acpi_update_all_gpes(k: Kernel) -> None:
    """Enable every GPE that has a handler method, and log how many each block has.

    GPEs become wake-up sources only in the scan that follows, so none is left out here for that.
    Source: drivers/acpi/acpica/evgpeblk.c:acpi_ev_initialize_gpe_block() @ v6.12
    """
    fadt = k.acpi.fadt
    run = loaded_interpreter(k)
    if fadt is None:
        return
    numbers = _gpe_methods(run)
    for address, length, base in ((fadt.gpe0, fadt.gpe0_length, 0), (fadt.gpe1, fadt.gpe1_length, fadt.gpe1_base)):
        if not address or length < 2:
            continue
        count = length // 2 * 8
        k.charge("acpi_gpe_block")
        k.charge("acpi_gpe", count)
        enabled = sum(base <= number < base + count for number in numbers)
        if enabled:
            k.printk(f"ACPI: Enabled {enabled} GPEs in block {base:02X} to {base + count - 1:02X}")


def _gpe_methods(run: Interpreter) -> set[int]:
    scope = run.namespace.root.children.get("_GPE")
    if scope is None:
        return set()
    found = [node for node in run.namespace.walk(scope) if node.kind is Kind.METHOD and _GPE_METHOD.match(node.name)]
    run.look_at(*found)
    return {int(node.name[2:], 16) for node in found}


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    module_param("acpiphp.disable", a_bool, read_by=acpi_pci_init),
)
