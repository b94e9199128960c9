"""The critical chain: it covers the boot, and names who was waited for."""

from __future__ import annotations

import json
from functools import cache

import pytest
from click.testing import CliRunner

from minikern.cli import main
from minikern.core.kernel import BootOptions
from minikern.core.recorder import Span
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_machine
from minikern.lab.critical_chain import WAITS, Chain, Others, Piece, Waited, _own, critical_chain
from minikern.lab.run import Boot, boot
from minikern.report.trace import recorder_of


@cache
def recorded(machine: str, variant: str = "", append: str = "", cpus: str = "") -> Boot:
    spec = load_machine(machine)
    adjust(spec, Adjustments(cpus=cpus))
    chosen = load_variant(variant) if variant else None
    return boot(spec, chosen, append=append, options=BootOptions(record=True))


def chain_of(*words: str) -> Chain:
    done = recorded(*words)
    return critical_chain(done, recorder_of(done))


def waits(chain: Chain, phase: str) -> list[Waited]:
    return [one for link in chain.links if link.phase == phase for one in link.waited]


@pytest.mark.parametrize("words", [("tiny",), ("laptop",), ("tiny", "", "", "1"), ("laptop", "", "initramfs_async=0")])
def test_the_chain_is_the_whole_boot(words: tuple[str, ...]) -> None:
    chain, done = chain_of(*words), recorded(*words)
    assert chain.total_ns == done.total_ns
    now = 0
    for link in chain.links:
        assert link.began_ns == now
        assert sum(one.spent_ns for one in (*link.worked, *link.waited)) == link.spent_ns
        now += link.spent_ns
    assert now == chain.total_ns
    spent: dict[str, int] = {}
    for link in chain.links:
        spent[link.phase] = spent.get(link.phase, 0) + link.spent_ns
    assert spent == done.kernel.phase_ns()
    assert sum(link.share for link in chain.links) == pytest.approx(1)


def test_work_is_that_of_the_ledger() -> None:
    done, chain = recorded("tiny"), chain_of("tiny")
    booked = dict.fromkeys(("aml_term", "pci_device_add", "config_read", "serial_char"), 0)
    for entry in done.kernel.ledger.entries():
        if entry.critical and entry.kind in booked:
            booked[entry.kind] += entry.pieces
    for kind, pieces in booked.items():
        assert sum(one.pieces for link in chain.links for one in link.worked if one.kind == kind) == pieces > 0
    assert not [one for link in chain.links for one in link.worked if one.kind in WAITS]


def test_the_initramfs_is_waited_for() -> None:
    done, chain = recorded("laptop"), chain_of("laptop")
    (wait,) = [one for one in waits(chain, "rest") if one.kind == "initramfs_byte"]
    assert wait.cpus == [1]
    booked = done.kernel.ledger.total_ns("initramfs_wait_ns")  # a line is written in that time
    assert 0.999 * booked < wait.spent_ns < booked
    assert not waits(chain_of("laptop", "", "initramfs_async=0"), "rest")


def test_cpus_are_waited_for_one_after_the_other() -> None:
    chain = chain_of("tiny", "", "cpuhp.parallel=0", "4")
    (wait,) = [one for one in waits(chain, "smp") if one.kind == "sipi_to_alive"]
    assert wait.cpus == [1, 2, 3] and wait.waits == 3
    assert not waits(chain_of("tiny", "", "", "1"), "smp")


def test_deferred_threads_are_waited_for() -> None:
    chain = chain_of("laptop")
    assert {one.kind for one in waits(chain, "deferred")} == {"deferred_page_init"}


def test_who_ended_a_wait() -> None:
    others = Others([
        Span(1, "short", "smp", 10, 5, 1), Span(1, "long", "smp", 0, 10, 1), Span(2, "over", "smp", 0, 30, 1)
    ])  # fmt: skip
    found = others.waited_for(Piece(0, 16, None))
    assert found is not None and (found.cpu, found.kind) == (1, "long")  # its work ended last, the short one after it
    assert others.waited_for(Piece(15, 29, None)) is None  # nobody's work ended in there
    found = others.waited_for(Piece(15, 30, None))
    assert found is not None and found.cpu == 2


def test_work_inside_a_wait_is_work() -> None:
    spans = [Span(0, "smp_wait_ns", "smp", 10, 20, 20), Span(0, "serial_char", "smp", 15, 5, 3)]
    pieces = [(one.start_ns, one.end_ns, one.span and one.span.kind) for one in _own(spans, 0, 40)]
    assert pieces == [(0, 10, None), (10, 15, None), (15, 20, "serial_char"), (20, 30, None), (30, 40, None)]


def test_the_command_prints_a_table_and_json() -> None:
    shown = CliRunner().invoke(main, ["critical-chain", "laptop"])
    assert shown.exit_code == 0 and "waited for initramfs_byte on CPU 1" in shown.stdout
    found = json.loads(CliRunner().invoke(main, ["critical-chain", "tiny", "--json"]).stdout)
    assert found["total_ns"] == sum(link["spent_ns"] for link in found["links"])
