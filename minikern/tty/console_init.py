"""console_init(): the screen, then the serial port, each if the command line wants it.

Source: kernel/printk/printk.c:console_init(), register_console(), drivers/tty/vt/vt.c:con_init() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.uart import LEGACY_PORTS
from minikern.core.cmdline import strtoull
from minikern.core.console import LOGLEVEL_DEFAULT, Console
from minikern.core.console_words import ConsoleWord, preferred_consoles
from minikern.core.moduleparam import Parameter, setup_param
from minikern.tty.serial8250 import serial8250_console_write, univ8250_console_setup
from minikern.tty.vgacon import DUMMY, Display, vgacon_startup

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def printk_setup(k: Kernel) -> None:
    """How much consoles are told if the command line says nothing."""
    level = k.config.get("CONFIG_CONSOLE_LOGLEVEL_DEFAULT", LOGLEVEL_DEFAULT)
    k.consoles.loglevel = int(level)


def con_init(k: Kernel) -> None:
    """Look for a screen and make it a console if it is wanted, or if nothing else is."""
    display = vgacon_startup(k)
    colour = "colour" if display.colour else "mono"
    k.printk(f"Console: {colour} {display.description} {display.columns}x{display.lines}")
    words, last = preferred_consoles(k.cmdline.getall("console"))
    word = next((word for word in words if word.name == "tty"), None)
    if word is not None or not words:
        kind = _char_kind(display)
        name = f"tty{word.number if word else 0}"
        preferred = word == last
        k.consoles.register(Console(name, lambda text: k.charge(kind, len(text)), preferred=preferred))


def _char_kind(display: Display) -> str:
    return "vt_char" if display == DUMMY else "vga_char"


def univ8250_console_init(k: Kernel) -> None:
    """The serial console: the first word for a serial port that can be set up."""
    words, last = preferred_consoles(k.cmdline.getall("console"))
    for word in words:
        index, options = _serial_port(word)
        if index is not None and univ8250_console_setup(k, index, options):
            k.consoles.register(_serial_console(k, index, word == last))
            return


def _serial_port(word: ConsoleWord) -> tuple[int | None, str]:
    # By number, or by the place of the port. Source: 8250_core.c:univ8250_console_match()
    if word.name == "ttyS":
        return word.number, word.options
    kind, _, place = word.options.partition(",")
    address, _, options = place.partition(",")
    base = strtoull(address)[0]
    if word.name != "uart" or kind != "io" or base not in LEGACY_PORTS:
        return None, ""
    return LEGACY_PORTS.index(base), options


def _serial_console(k: Kernel, index: int, preferred: bool) -> Console:
    return Console(f"ttyS{index}", lambda text: serial8250_console_write(k, index, text), preferred=preferred)


PARAMETERS: tuple[Parameter[Kernel], ...] = (setup_param("console=", read_by=univ8250_console_init),)
