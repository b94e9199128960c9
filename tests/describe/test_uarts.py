"""Serial ports as logs and port lists name them."""

from __future__ import annotations

from hw.spec import UartSpec, pc_uarts
from minikern.describe.uarts import uarts_of_capture, uarts_of_log

DRIVER = "Serial: 8250/16550 driver, 4 ports, IRQ sharing enabled"


def test_ports_the_driver_found() -> None:
    lines = [
        DRIVER,
        "00:03: ttyS1 at I/O 0x2f8 (irq = 3, base_baud = 115200) is a 16550A",
        "00:04: ttyS0 I/O:0x3f8 (irq = 4, base_baud = 921600) is a 16550A",
        "0000:00:1a.0: ttyS5 at I/O 0xe0a0 (irq = 19, base_baud = 115200) is a 16550A",
    ]
    assert uarts_of_log(lines) == [UartSpec(0x2F8), UartSpec(0x3F8, clock_hz=14_745_600)]


def test_no_port_where_the_driver_found_none() -> None:
    assert uarts_of_log([DRIVER]) == []
    assert uarts_of_log([]) == pc_uarts()


def test_a_guests_ports_are_not_paced() -> None:
    for line in ("Hypervisor detected: KVM", "DMI: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.2"):
        assert not any(uart.paced for uart in uarts_of_log([line]))


def test_port_list() -> None:
    text = "0000-0cf7 : PCI Bus 0000:00\n  02f8-02ff : serial\n  03f8-03ff : serial\n  0510-051b : QEMU0002:00\n"
    assert uarts_of_capture(text, []) == [UartSpec(0x2F8), UartSpec(0x3F8)]
    assert uarts_of_capture("", [DRIVER]) == []
