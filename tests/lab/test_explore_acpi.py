"""Processors asked at once: a race where nothing keeps their methods apart, none where a lock does."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.errors import InputError
from minikern.commands.explore import explore
from minikern.describe.acpidump import DumpedTable
from minikern.lab import explore_acpi as room
from minikern.lab.explore_acpi import AcpiExploration, explore_acpi


def tried(
    monkeypatch: pytest.MonkeyPatch, pdc: list[bytes], *terms: bytes, locked: bool = False, serialized: bool = False,
    seeds: int = 60,
) -> AcpiExploration:  # fmt: skip
    """Two processors whose _PDC, a method each, calls \\ASK with these terms."""
    asks = aml.method("_PDC", 1, [aml.call("\\ASK")])
    cpus = [aml.processor(f"C{number:03X}", number, [asks]) for number in range(2)]
    ask = aml.method("ASK", 0, pdc, serialized)
    data = sdt("DSDT", 2, b"".join([aml.name("FLAG", aml.ZERO), *terms, ask, aml.scope("\\_SB", cpus)]), TableIds())
    monkeypatch.setattr(room, "made_up_tables", lambda: [DumpedTable("DSDT", 0, data)])
    return explore_acpi([], 2, seeds, 0, locked)


FLAG = aml.name_path("\\FLAG")
COUNTS = [aml.store(aml.add(FLAG, aml.ONE), aml.local(0)), aml.store(aml.local(0), FLAG)]
SLEEP = b"\x5b\x22" + aml.ONE
ACQUIRE, RELEASE = b"\x5b\x23" + aml.name_path("\\LOCK") + b"\xff\xff", b"\x5b\x27" + aml.name_path("\\LOCK")


def test_the_made_up_firmware_races_without_the_lock_only() -> None:
    free, kept = (explore_acpi([], 2, 60, 0, locked) for locked in (False, True))
    assert len(free.races) > 5 and free.orders > 20
    assert free.shortest is not None and "AE_ALREADY_EXISTS" in free.shortest.text
    assert free.shortest.switches >= 2
    assert not kept.races and kept.orders == 2
    assert explore_acpi([], 2, 60, 0, locked=False) == free


def test_a_lost_count_is_a_race_unless_the_method_is_serialised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("\\FLAG is Integer 1" in race.text for race in tried(monkeypatch, COUNTS).races)
    assert not tried(monkeypatch, COUNTS, serialized=True).races


def test_a_mutex_of_the_firmwares_own_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    mutex = aml.mutex("LOCK")
    assert not tried(monkeypatch, [ACQUIRE, *COUNTS, RELEASE], mutex).races


def test_where_a_method_sleeps_the_lock_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = [COUNTS[0], SLEEP, COUNTS[1]]
    assert tried(monkeypatch, asleep, locked=True).races
    assert not tried(monkeypatch, COUNTS, locked=True).races


def test_two_mutexes_in_two_orders_end_in_a_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    other_take, other_give = (word.replace(b"LOCK", b"LCK2") for word in (ACQUIRE, RELEASE))
    first = aml.if_(aml.equal(FLAG, aml.ZERO), [aml.store(aml.ONE, FLAG), ACQUIRE, other_take, other_give, RELEASE])
    second = aml.else_([other_take, ACQUIRE, RELEASE, other_give])
    found = tried(monkeypatch, [first, second], aml.mutex("LOCK"), aml.mutex("LCK2"), seeds=100)
    assert any(race.text == "they wait for each other for ever" for race in found.races)


def test_too_few_processors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sdt("DSDT", 2, aml.name("FLAG", aml.ZERO), TableIds())
    monkeypatch.setattr(room, "made_up_tables", lambda: [DumpedTable("DSDT", 0, data)])
    with pytest.raises(InputError, match=r"0 processors .* expected at least 2"):
        explore_acpi([], 2, 1, 0, True)


def test_the_command_shows_the_shortest_way() -> None:
    done = CliRunner().invoke(explore, ["acpi", "--seeds", "40"])
    assert done.exit_code == 1
    assert "no interpreter lock:\n40 draws" in done.output and "the one with fewest turns" in done.output
    assert CliRunner().invoke(explore, ["acpi", "--seeds", "10", "--with-lock"]).exit_code == 0
