"""Booted kernels with consoles: what goes over the line, and how long it takes."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from hw.uart import Uart16550, UartPorts
from minikern.core.printk import Level, LogLine
from minikern.lab.run import Boot
from tests.support import run, texts

FRAME_NS = 10 * 1e9 / 115200
COM1, COM2 = 0x3F8, 0x2F8
BESIDE = ("Trying to unpack", "Freeing initrd")  # a worker's lines, which the boot CPU writes when it prints next


def port(done: Boot, base: int = COM1) -> Uart16550:
    ports = done.kernel.machine.bus.port_device(base)
    assert isinstance(ports, UartPorts)
    return ports.uart


def bootlines(done: Boot, lowest: Level = Level.INFO) -> list[LogLine]:
    """All lines up to the last, which the boot ends with before anybody writes it."""
    return [line for line in done.kernel.log.lines[:-1] if line.level <= lowest]


def as_sent(lines: list[LogLine]) -> bytes:
    return "".join(
        f"[{line.ts_ns // 10**9:5d}.{line.ts_ns % 10**9 // 1000:06d}] {line.text}\r\n" for line in lines
    ).encode()


def laptop(words: str) -> Boot:
    return run("laptop", append=words, memory="1G", cpus="2")


@pytest.fixture(scope="module")
def serial() -> Boot:
    return laptop("console=ttyS0,115200n8")


def test_every_line_goes_over_the_wire(serial: Boot) -> None:
    assert bytes(port(serial).sent) == as_sent(bootlines(serial))


def test_the_ledger_has_every_byte_at_line_rate(serial: Boot) -> None:
    ledger, sent = serial.kernel.ledger, port(serial).sent
    assert ledger.count("serial_char") == len(sent) > 8000
    assert ledger.total_ns("serial_char") / len(sent) == pytest.approx(FRAME_NS, rel=2e-3)


def test_a_line_is_late_by_the_bytes_of_the_one_before_it(serial: Boot) -> None:
    lines = bootlines(serial)
    start = next(at for at, line in enumerate(lines) if line.text.startswith("printk: legacy console [ttyS0]"))
    for first, second in pairwise(lines[start:]):
        if not first.text.startswith(BESIDE):
            assert second.ts_ns - first.ts_ns >= len(as_sent([first])) * FRAME_NS - 1000


def test_the_backlog_comes_at_once(serial: Boot) -> None:
    lines = bootlines(serial)
    start = next(at for at, line in enumerate(lines) if line.text.startswith("printk: legacy console [ttyS0]"))
    backlog = len(as_sent(lines[: start + 1]))
    assert lines[start + 1].ts_ns - lines[start].ts_ns == pytest.approx(backlog * FRAME_NS, rel=1e-3)


def test_before_6_2_the_backlog_comes_before_the_line() -> None:
    done = run("laptop", append="console=ttyS0,115200n8", release="debian-6.1", memory="1G", cpus="2")
    lines = bootlines(done)
    start = next(at for at, line in enumerate(lines) if line.text.startswith("printk: console [ttyS0]"))
    backlog = len(as_sent(lines[:start]))
    assert lines[start].ts_ns - lines[start - 1].ts_ns == pytest.approx(backlog * FRAME_NS, rel=1e-3)


def test_a_slower_line_takes_longer(serial: Boot) -> None:
    slow = laptop("console=ttyS0")  # 9600 if nothing is said
    spent = [done.kernel.ledger.total_ns("serial_char") / done.kernel.ledger.count("serial_char")
             for done in (slow, serial)]
    assert spent[0] == pytest.approx(12 * spent[1], rel=2e-3)


def test_quiet_leaves_nothing_to_send() -> None:
    done = laptop("console=ttyS0,115200n8 quiet")
    assert not port(done).sent
    assert "printk: legacy console [ttyS0] enabled" in texts(done)


def test_ignore_loglevel_sends_debug_lines_too() -> None:
    done = laptop("console=ttyS0,115200n8 quiet ignore_loglevel")
    assert "printk: debug: ignoring loglevel setting." in texts(done)
    assert bytes(port(done).sent) == as_sent(bootlines(done, Level.DEBUG))


def test_earlyprintk_hands_over_to_the_real_console() -> None:
    done = laptop("console=ttyS0,115200n8 earlyprintk=ttyS0,115200")
    lines = bootlines(done)
    both = [line for line in lines if re.search(r"console \[ttyS0\] enabled|bootconsole .* disabled", line.text)]
    assert [line.text for line in both] == [
        "printk: legacy console [ttyS0] enabled", "printk: legacy bootconsole [earlyser0] disabled",
    ]
    assert both[1].ts_ns - both[0].ts_ns == pytest.approx(2 * len(as_sent(both[:1])) * FRAME_NS, rel=1e-2)
    assert len(port(done).sent) == len(as_sent(lines)) + len(as_sent(both))
    early = next(line for line in lines if "bootconsole [earlyser0] enabled" in line.text)
    assert early.ts_ns == 0  # the log's clock does not run yet, the machine's does
    assert done.kernel.log.clock_zero_ns is not None
    assert done.kernel.log.clock_zero_ns > len(as_sent(lines[: lines.index(early)])) * FRAME_NS


@pytest.mark.parametrize("words", ["earlyprintk=serial,ttyS1,115200", "earlyprintk=ttyS1,115200,keep",
                                   "earlyprintk=serial,0x2f8,115200"])
def test_earlyprintk_finds_its_port(words: str) -> None:
    done = laptop(f"{words} console=tty0")
    assert "Linux version" in port(done, COM2).sent.decode()
    assert not port(done).sent
    kept = "bootconsole" not in port(done, COM2).sent.decode()
    assert kept == ("keep" in words)
    assert b"Freeing unused kernel" in port(done, COM2).sent if kept else True


def test_earlycon_waits_for_every_byte() -> None:
    done = laptop("earlycon=uart8250,io,0x3f8,115200n8 console=ttyS0,115200n8")
    found = [text for text in texts(done) if "uart8250" in text and "ommand line" not in text]
    assert found == [
        "earlycon: uart8250 at I/O port 0x3f8 (options '115200n8')",
        "printk: legacy bootconsole [uart8250] enabled",
        "printk: legacy bootconsole [uart8250] disabled",
    ]
    assert port(done).sent.startswith(as_sent(bootlines(done)[:10]))


def test_a_console_by_the_place_of_its_port() -> None:
    done = laptop("console=uart8250,io,0x2f8,115200n8")
    assert "printk: legacy console [ttyS1] enabled" in texts(done)
    assert "printk: legacy bootconsole [uart8250] disabled" in texts(done)
    assert b"Freeing unused kernel" in port(done, COM2).sent


def test_one_serial_console_however_many_words() -> None:
    done = laptop("console=ttyS1,115200 console=ttyS0,115200 console=tty0")
    enabled = [text for text in texts(done) if text.endswith("enabled") and "console [" in text]
    assert enabled == ["printk: legacy console [tty0] enabled", "printk: legacy console [ttyS1] enabled"]


def test_no_words_no_serial_console() -> None:
    done = laptop("")
    assert "printk: legacy console [tty0] enabled" in texts(done)
    assert not port(done).sent
    assert done.kernel.ledger.count("vt_char") > 8000


def test_where_no_port_is_bytes_are_lost_at_once() -> None:
    done = laptop("console=ttyS2,115200")
    assert "printk: legacy console [ttyS2] enabled" in texts(done)
    ledger = done.kernel.ledger
    assert ledger.total_ns("serial_char") < 2100 * ledger.count("serial_char")


def test_a_port_a_pc_does_not_have_is_no_console_yet() -> None:
    done = laptop("console=ttyS4,115200")
    assert not [text for text in texts(done) if "console [" in text]


def test_without_stamps_lines_are_shorter(serial: Boot) -> None:
    done = laptop("console=ttyS0,115200n8 printk.time=0")
    assert port(done).sent.startswith(b"Linux version")


def test_words_that_mean_nothing_do_no_harm() -> None:
    for words in ("console=,", "console=ttyS", "earlyprintk", "earlyprintk=", "earlyprintk=serial,0xzz,1e9",
                  "earlycon", "earlycon=uart8250,io,", "earlycon=pl011,0x9000000", "loglevel=", "console=ttyS0,0",
                  "console=uart8250,mmio32,0xfe000000", "earlyprintk=ttyS9,0,keep", "console=ttyS0,99999999999"):
        assert texts(laptop(words))[-1] == "Run /init as init process"
