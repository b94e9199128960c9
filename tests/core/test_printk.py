"""The log buffer."""

from __future__ import annotations

from minikern.core.printk import Printk


def test_clock_reads_zero_until_started() -> None:
    now = [5_000]
    log = Printk(lambda: now[0])
    log.printk("before")
    log.start_clock()
    now[0] = 7_000
    log.printk("after")
    log.start_clock()
    log.printk("again")
    assert [line.ts_ns for line in log.lines] == [0, 2_000, 2_000]
    assert log.clock_zero_ns == 5_000


def test_continuation_is_broken_by_another_line() -> None:
    log = Printk(lambda: 0)
    log.open("CPUs:")
    log.cont(" #1")
    log.cont(" #2")
    log.printk("something else")
    log.cont(" #3")
    log.cont(" #4")
    assert [line.text for line in log.lines] == ["CPUs: #1 #2", "something else", " #3 #4"]


def test_finding_lines() -> None:
    log = Printk(lambda: 0)
    log.printk("a 1\nb 2\na 3")
    first, last = log.find("a"), log.find_last("a")
    assert first is not None and first.text == "a 1"
    assert last is not None and last.text == "a 3"
    assert log.find("zzz") is None and log.find_last("zzz") is None
