"""Consoles: who gets which line, how often, and in which order."""

from __future__ import annotations

import pytest

from minikern.core.console import Console, Consoles
from minikern.core.console_words import (
    ConsoleWord,
    LineOptions,
    parse_console,
    parse_line_options,
    preferred_consoles,
)
from minikern.core.printk import Level, Printk
from minikern.tty.options import PARAMETERS


class Rig:
    """A log with consoles that keep what they are given."""

    def __init__(self, flush_first: bool = False) -> None:
        self.now, self.beside = 0, False
        self.log = Printk(lambda: self.now)
        self.log.start_clock()
        self.consoles = Consoles(lambda: self.beside, self.log.printk, flush_first=flush_first)
        self.log.finished = self.consoles.log
        self.out: dict[str, list[str]] = {}

    def printk(self, text: str) -> None:
        self.log.printk(text)

    def word(self, word: str) -> None:
        name, equals, value = word.partition("=")
        handler = next(one.accept for one in PARAMETERS if one.name == name)
        assert handler is not None
        handler(self, value if equals else None)  # type: ignore[arg-type]

    def console(self, name: str, **flags: bool) -> Console:
        texts = self.out.setdefault(name, [])
        return Console(name, lambda text: self.write(texts, text), **flags)

    def write(self, texts: list[str], text: str) -> None:
        self.now += 1_000_000
        texts.append(text.split("] ", 1)[1].rstrip("\n"))


@pytest.mark.parametrize("flush_first", [False, True])
def test_the_backlog_is_written_when_a_console_comes(flush_first: bool) -> None:
    rig = Rig(flush_first)
    rig.log.printk("a\nb")
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.log.printk("c")
    assert rig.out["ttyS0"] == ["a", "b", "printk: console [ttyS0] enabled", "c"]
    enabled = rig.log.find("printk: console")
    assert enabled is not None and enabled.ts_ns == (2_000_000 if flush_first else 0)
    assert rig.log.lines[-1].ts_ns == 3_000_000


def test_a_real_console_sends_boot_consoles_home_and_replays_nothing() -> None:
    rig = Rig()
    rig.log.printk("a")
    rig.consoles.register(rig.console("earlyser0", boot=True))
    rig.consoles.register(rig.console("tty0"))
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.log.printk("b")
    handover = ["printk: console [ttyS0] enabled", "printk: bootconsole [earlyser0] disabled"]
    before = ["a", "printk: bootconsole [earlyser0] enabled", "printk: console [tty0] enabled"]
    assert rig.out["earlyser0"] == before + handover
    assert rig.out["tty0"] == [*before, *handover, "b"]
    assert rig.out["ttyS0"] == [*handover, "b"]


def test_keep_bootcon_keeps_it() -> None:
    rig = Rig()
    rig.word("keep_bootcon")
    rig.consoles.register(rig.console("earlyser0", boot=True))
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.log.printk("b")
    assert rig.out["earlyser0"][-1] == rig.out["ttyS0"][-1] == "b"
    assert rig.log.lines[0].text == "printk: debug: skip boot console de-registration."


def test_a_console_that_was_told_to_stay_is_no_boot_console() -> None:
    rig = Rig()
    rig.log.printk("a")
    rig.consoles.register(rig.console("earlyser0"))
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.consoles.register(rig.console("late0", boot=True))
    assert rig.out["ttyS0"][0] == "a"
    assert not rig.out["late0"]
    assert rig.out["earlyser0"][-1] == "printk: Too late to register bootconsole late0"


@pytest.mark.parametrize(
    ("words", "shown"),
    [((), "0123456"), (("quiet",), "0123"), (("debug",), "01234567"), (("quiet", "loglevel=6"), "012345"),
     (("loglevel=8",), "01234567"), (("quiet", "ignore_loglevel"), "01234567"), (("loglevel=x",), "0123456")],
)
def test_levels(words: tuple[str, ...], shown: str) -> None:
    rig = Rig()
    for word in words:
        rig.word(word)
    for level in Level:
        rig.log.printk(str(int(level)), level)
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    assert "".join(text for text in rig.out["ttyS0"] if text.isdigit()) == shown


def test_what_is_printed_beside_waits_for_the_boot_cpu() -> None:
    rig = Rig()
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.beside = True
    rig.log.printk("from another")
    assert "from another" not in rig.out["ttyS0"]
    rig.beside = False
    rig.log.printk("mine")
    assert rig.out["ttyS0"][-2:] == ["from another", "mine"]


def test_a_line_still_open_is_written_when_the_next_ends_it() -> None:
    rig = Rig()
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.log.open("CPUs:")
    rig.log.cont(" #1")
    assert "CPUs: #1" not in rig.out["ttyS0"]
    rig.log.cont(" #2")
    rig.log.printk("next")
    assert rig.out["ttyS0"][-2:] == ["CPUs: #1 #2", "next"]


def test_foreign_lines_take_their_place_and_time_but_not_the_log() -> None:
    rig = Rig()
    rig.log.printk("a")
    rig.consoles.write_foreign("theirs", 5_000)
    rig.consoles.register(rig.console("ttyS0", preferred=True))
    rig.consoles.write_foreign("debug", 0, Level.DEBUG)
    rig.consoles.write_foreign("more", 0)
    assert rig.out["ttyS0"] == ["a", "theirs", "printk: console [ttyS0] enabled", "more"]
    assert [line.text for line in rig.log.lines] == ["a", "printk: console [ttyS0] enabled"]
    assert rig.now == 4_000_000


def test_prefix() -> None:
    consoles = Consoles(lambda: False, lambda text: None)
    assert consoles.prefix(1_234_567_891) == "[    1.234567] "
    assert consoles.prefix(123_456 * 10**9) == "[123456.000000] "
    consoles.caller = True
    assert consoles.prefix(0) == "[    0.000000][    T0] "
    consoles.stamped = lambda: False
    assert consoles.prefix(0) == ""


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("ttyS0,115200n8", ("ttyS", 0, "115200n8")),
        ("ttyS1", ("ttyS", 1, "")),
        ("0,9600", ("ttyS", 0, "9600")),
        ("tty0", ("tty", 0, "")),
        ("tty", ("tty", 0, "")),
        ("uart8250,io,0x3f8,115200", ("uart", 8250, "io,0x3f8,115200")),
    ],
)
def test_console_words(value: str, word: tuple[str, int, str]) -> None:
    assert parse_console(value) == ConsoleWord(*word)


def test_the_console_named_last_is_preferred_the_first_options_count() -> None:
    words, last = preferred_consoles(["ttyS0,115200", "tty0", "ttyS0,9600"])
    assert [(word.name, word.options) for word in words] == [("ttyS", "115200"), ("tty", "")]
    assert last == words[0]
    assert preferred_consoles([]) == ([], None)
    assert [word.name for word in preferred_consoles([""]).words] == ["ttynull"]
    assert len(preferred_consoles([f"ttyS{number}" for number in range(20)]).words) == 8


def test_line_options() -> None:
    assert parse_line_options("115200n8") == LineOptions(115200, "n", 8)
    assert parse_line_options("115200n81") == LineOptions(115200, "n", 8)
    assert parse_line_options("57600e7") == LineOptions(57600, "e", 7)
    assert parse_line_options("9600") == LineOptions(9600, "n", 8)
    assert parse_line_options("") == LineOptions(9600, "n", 8)
