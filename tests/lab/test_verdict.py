"""What a ladder says about a machine."""

from __future__ import annotations

from dataclasses import dataclass, field

from minikern.core.release import load_release
from minikern.core.variant import load_variants
from minikern.lab.bands import Band
from minikern.lab.verdict import Payoff, headline, payoffs, prices


@dataclass
class Rung:
    variant: str
    total_ms: float
    against: str = ""
    saved_ms: float | None = None
    gives_up: list[str] = field(default_factory=list)
    gives_up_for: str = ""
    given_up_ms: float | None = None
    given_up_band: Band | None = None
    saved_band: Band | None = None


RUNGS = [
    Rung("baseline", 1000.0),
    Rung("deferred", 600.0, "baseline", 400.0),
    Rung("parallel-smp", 100.0, "deferred", 500.0),
    Rung("parallel-tsc-reliable", 90.0, "parallel-smp", 10.0),
    Rung("hugepages", 900.0, "parallel-smp", -800.0),
    Rung("hvo-skip", 200.0, "hugepages", 700.0),
    Rung("no-purgatory", 99.9, "parallel-smp", 0.1),
]


def found(release: str, words: str = "") -> list[Payoff]:
    return payoffs(RUNGS, load_variants(), load_release(release), words)


def test_what_pays_for_everyone_first_and_nothing_that_does_not_pay() -> None:
    names = [item.variant for item in found("debian-6.1")]
    assert names == ["parallel-smp", "deferred", "parallel-tsc-reliable", "hvo-skip"]


def test_what_the_machine_has() -> None:
    assert [item.in_release for item in found("debian-6.1")] == [False, True, False, False]
    assert [item.in_release for item in found("debian-6.12", "quiet tsc=reliable")] == [True] * 4


def test_headline_is_for_everyone_and_for_what_is_missing() -> None:
    old = headline(found("debian-6.1"), "debian-6.1")
    assert old.startswith("What pays most here, beyond what debian-6.1 has (deferred): parallel-smp saves 500 of 600")
    assert "it needs Linux 6.5" in old
    new = headline(found("debian-6.12"), "debian-6.12")
    assert "parallel-tsc-reliable saves 10 of 100 ms (10%); it needs tsc=reliable" in new
    full = headline(found("debian-6.12", "tsc=reliable"), "debian-6.12")
    assert full == "debian-6.12 has all that pays here already; most of it: parallel-smp saves 500 of 600 ms (83%)"


def test_nothing_to_say() -> None:
    assert payoffs(RUNGS[:1], load_variants(), load_release("debian-6.1"), "") == []
    assert headline([], "debian-6.1") == ""


def test_every_rung_of_the_ladder_that_changes_something_says_what_it_takes() -> None:
    silent = [one.name for one in load_variants().values() if one.ladder and one.against and not one.requires]
    assert silent == ["hugepages", "hugepages-noskip-hvo-off"]


def test_what_an_option_costs_that_excludes_another() -> None:
    what = ["deferred init (A excludes B before 7.1)"]
    dear = Rung("kho-6.18", 2300.0, "deferred", -1700.4, what, "kho-6.18")
    (price,) = prices([*RUNGS, dear])
    assert price == "kho-6.18 costs you deferred init (A excludes B before 7.1): +1700 ms against deferred"
    dear.given_up_ms, dear.given_up_band = 1600.0, Band(1500.0, 1700.0)
    (price,) = prices([*RUNGS, dear])
    assert price.endswith(": +1600 ms [1500 to 1700] over a kernel with both, +1700 ms against deferred")
    alone = Rung("kho-6.18", 2300.0, gives_up=["deferred init"], gives_up_for="kho-6.18")
    assert prices([alone]) == ["kho-6.18 costs you deferred init"]


def test_what_a_release_gives_up_is_said_once() -> None:
    rungs = [Rung(name, 2300.0, "deferred", -5.0, ["deferred init"], "KHO on linux-6.18", 1.0) for name in ("a", "b")]
    assert prices(rungs) == ["KHO on linux-6.18 costs you deferred init: +1 ms over a kernel with both"]
