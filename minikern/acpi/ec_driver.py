"""The embedded controller's driver: found by the ECDT or by its device before the namespace is scanned, so that AML can
use its space; its events come after the scan.

Source: drivers/acpi/ec.c @ v6.12, v5.4
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi import resources
from minikern.acpi.device_walk import get_devices
from minikern.acpi.ec import EmbeddedController
from minikern.acpi.reg import execute_reg_methods
from minikern.acpi.spaces import EMBEDDED_CONTROL

if TYPE_CHECKING:
    from minikern.acpi.interpreter import Interpreter
    from minikern.core.kernel import Kernel
    from minikern.state.namespace import Node

EC_ID = "PNP0C09"
_ADDRESS, _GENERIC_ADDRESS = 36, 12
_ECDT_GPE, _ECDT_ID = 64, 65


def acpi_ec_ecdt_probe(k: Kernel, run: Interpreter) -> None:
    """The controller the ECDT names works before the namespace is initialised.

    Source: drivers/acpi/ec.c:acpi_ec_ecdt_probe() @ v6.12
    """
    table = k.acpi.table("ECDT") or b""
    if len(table) < _ECDT_ID:
        return
    places = (_ADDRESS, _ADDRESS + _GENERIC_ADDRESS)
    control, data = (int.from_bytes(table[at + 4 : at + 12], "little") for at in places)
    ec = EmbeddedController(control & 0xFFFF, data & 0xFFFF, table[_ECDT_GPE], ecdt=True)
    if not control or not data or not ec.answers(run):
        return
    _use_before_scan(k, run, ec)
    if k.behaviour.acpi_ec_lines == "boot":
        k.printk("ACPI: \\: Used as boot ECDT EC to handle transactions")
    else:
        k.printk("ACPI: EC: Boot ECDT EC used to handle transactions")


def acpi_ec_dsdt_probe(k: Kernel, run: Interpreter) -> None:
    """Without an ECDT: the first controller of the namespace that is there and has ports.

    Source: drivers/acpi/ec.c:acpi_ec_dsdt_probe() @ v6.12
    """
    if k.acpi.ec is not None:
        return
    ec = next((made for node in get_devices(run, EC_ID) if (made := ec_parse_device(run, node)) is not None), None)
    if ec is None or not ec.answers(run):
        return
    _use_before_scan(k, run, ec)
    _call_reg(k, run, ec)
    _ports_line(k, ec, events=False)
    used = "Used as boot DSDT EC" if k.behaviour.acpi_ec_lines == "boot" else "Boot DSDT EC used"
    k.printk(f"ACPI: {_path(ec)}: {used} to handle transactions")


def ec_parse_device(run: Interpreter, node: Node) -> EmbeddedController | None:
    """A controller by its device: the first two ports of its _CRS, data before command; None without them.

    Source: drivers/acpi/ec.c:ec_parse_device() @ v6.12
    """
    crs = run.evaluate(node, "_CRS")
    windows = resources.windows(bytes(crs)) if isinstance(crs, bytearray) else []
    ports = [window.start for window in windows if window.kind == "io"]
    if len(ports) < 2 or not ports[0] or not ports[1]:
        return None
    gpe = run.evaluate(node, "_GPE", 0)
    run.evaluate(node, "_GLK")
    return EmbeddedController(ports[1], ports[0], gpe if isinstance(gpe, int) else 0, node)


def _use_before_scan(k: Kernel, run: Interpreter, ec: EmbeddedController) -> None:
    """Source: drivers/acpi/ec.c:acpi_ec_start(), ec_install_handlers() @ v6.12"""
    k.acpi.ec = ec
    run.spaces[EMBEDDED_CONTROL] = ec
    run.account.polled_ec = True
    _start(k, ec)
    k.printk("ACPI: EC: interrupt blocked")
    if ec.ecdt:
        _ports_line(k, ec, events=False)


def _start(k: Kernel, ec: EmbeddedController) -> None:
    if not ec.started:
        k.printk("ACPI: EC: EC started")
        ec.started = True


def _call_reg(k: Kernel, run: Interpreter, ec: EmbeddedController) -> None:
    if not ec.reg_called:
        execute_reg_methods(run, EMBEDDED_CONTROL)
        ec.reg_called = True


def _path(ec: EmbeddedController) -> str:
    return "\\" if ec.node is None else ec.node.path


def _ports_line(k: Kernel, ec: EmbeddedController, events: bool) -> None:
    """Ports and GPE of a controller that is set up. Source: drivers/acpi/ec.c:acpi_ec_setup() @ v6.12, v5.4"""
    words, ports = k.behaviour.acpi_ec_lines, f"EC_CMD/EC_SC=0x{ec.command_port:x}, EC_DATA=0x{ec.data_port:x}"
    if words == "ports":
        k.printk(f"ACPI: EC: {ports}")
        if events:
            k.printk(f"ACPI: EC: GPE=0x{ec.gpe:x}")
        return
    if not events:
        k.printk(f"ACPI: {_path(ec)}: Used as first EC")
    irq = ", IRQ=-1" if words == "irq" else ""
    k.printk(f"ACPI: {_path(ec)}: GPE=0x{ec.gpe:x}{irq}, {ports}")


def acpi_ec_init(k: Kernel, run: Interpreter) -> None:
    """Behind the scan: every controller that is there gets its interrupt, and its events are asked for.

    Source: drivers/acpi/ec.c:acpi_ec_init(), acpi_ec_add() @ v6.12
    """
    for node in k.acpi.ec_devices:
        boot, ec = k.acpi.ec, ec_parse_device(run, node)
        if ec is None or not ec.answers(run):
            continue
        if isinstance(boot, EmbeddedController) and boot.ports == ec.ports:
            boot.node, ec = node, boot  # its place in the namespace, but the ECDT's GPE
            ec.ecdt = ec.ecdt and k.behaviour.acpi_ec_lines == "ports"
        _add(k, run, ec)


def _add(k: Kernel, run: Interpreter, ec: EmbeddedController) -> None:
    _start(k, ec)
    run.spaces.setdefault(EMBEDDED_CONTROL, ec)
    _call_reg(k, run, ec)
    k.printk("ACPI: EC: interrupt unblocked")
    k.printk("ACPI: EC: event unblocked")
    _ports_line(k, ec, events=True)
    kind, path = "ECDT" if ec.ecdt else "DSDT", _path(ec)
    if k.behaviour.acpi_ec_lines == "ports":
        if ec is k.acpi.ec:
            k.printk(f"ACPI: {path}: Boot {kind} EC initialization complete")
        k.printk(f"ACPI: {path}: EC: Used to handle transactions and events")
    elif ec is k.acpi.ec:
        used = f"Used as boot {kind} EC" if k.behaviour.acpi_ec_lines == "boot" else f"Boot {kind} EC used"
        k.printk(f"ACPI: {path}: {used} to handle transactions and events")
