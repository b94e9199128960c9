"""Consoles that work before any driver: ``earlyprintk=`` and ``earlycon``.

Source: arch/x86/kernel/early_printk.c, drivers/tty/serial/earlycon.c, 8250/8250_early.c @ v6.12
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hw import boot_params
from hw.numbers import starts_with_digit
from hw.uart import LEGACY_PORTS
from hw.uart_polling import Polling
from minikern.core.cmdline import strtoull
from minikern.core.console import Console
from minikern.core.console_words import parse_line_options
from minikern.tty.serial8250 import BASE_BAUD, access_ns, put, set_line

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

DEFAULT_BAUD = 9600
EARLY_PORTS = LEGACY_PORTS[:2]
LCR_8N1 = 0x03
VIDEO_TYPE_VGAC, VIDEO_TYPE_EFI = 0x01, 0x70  # Source: include/uapi/linux/screen_info.h @ v6.12


def setup_early_printk(k: Kernel, value: str | None) -> bool:
    """``earlyprintk=serial|ttyS0|vga[,…][,keep]``; the word alone does nothing."""
    if not value or any(console.name.startswith("early") for console in k.consoles.registered):
        return True
    boot = "keep" not in value
    if found := re.search(r"serial|ttyS", value):
        rest = value[found.end() :]
        base = early_serial_init(k, rest)
        k.consoles.register(Console("earlyser0", lambda text: early_serial_write(k, base, text), boot))
    if "vga" in value and boot_params.get(k.boot_params.page, "orig_video_isVGA") == VIDEO_TYPE_VGAC:
        k.consoles.register(Console("earlyvga0", lambda text: k.charge("vga_char", len(text)), boot))
    return True


def early_serial_init(k: Kernel, text: str) -> int:
    """Set up the port that ``,ttyS1,115200`` or ``0,115200`` names; returns its base."""
    text = text.removeprefix(",")
    base, (port, _, rest) = EARLY_PORTS[0], text.partition(",")
    if port.startswith("0x"):
        base = strtoull(port)[0] & 0xFFFF
    elif number := re.match(r"(?:ttyS)?(\d+)", port):
        base = EARLY_PORTS[int(number[1]) if int(number[1]) < len(EARLY_PORTS) else 0]
    baud = strtoull(rest)[0] or DEFAULT_BAUD
    set_line(k, base, LCR_8N1, BASE_BAUD // baud)
    return base


def early_serial_write(k: Kernel, base: int, text: str) -> None:
    """Room for each byte is waited for, without pause; the last ones are left to the port."""
    put(k, base, text, Polling(access_ns(k), drain=False))


def setup_earlycon(k: Kernel, value: str | None) -> bool:
    """``earlycon=uart8250,io,0x3f8[,115200n8]`` or ``earlycon=efifb``; other kinds are not a PC's."""
    name, _, rest = (value or "").partition(",")
    kind, _, place = rest.partition(",")
    if name in ("uart8250", "uart") and kind == "io":
        _earlycon_uart(k, name, place)
    elif name == "efifb" and boot_params.get(k.boot_params.page, "orig_video_isVGA") == VIDEO_TYPE_EFI:
        k.consoles.register(Console("efifb0", lambda text: k.charge("efifb_char", len(text)), boot=True))
    return True


def _earlycon_uart(k: Kernel, name: str, place: str) -> None:
    address, _, options = place.partition(",")
    base = strtoull(address)[0] & 0xFFF8
    if not base:
        return
    if options:  # without, the port is left as the firmware set it up
        set_line(k, base, LCR_8N1, max(1, round(BASE_BAUD / (parse_line_options(options).baud or DEFAULT_BAUD))))
    shown = name if starts_with_digit(name[-1]) else f"{name}0"
    k.printk(f"earlycon: {shown} at I/O port {base:#x} (options '{options}')")
    k.consoles.register(Console(shown, lambda text: early_serial8250_write(k, base, text), boot=True))


def early_serial8250_write(k: Kernel, base: int, text: str) -> None:
    """After each byte it is waited that it is out."""
    put(k, base, text, Polling(access_ns(k), before=False))
