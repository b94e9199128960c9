"""The wait for the timer's ticks: how long, and on which machines there is none to wait for."""

from __future__ import annotations

import pytest

from hw.cpuid import DEFAULT_FEATURES
from minikern.describe.presets import load_preset
from minikern.lab.run import boot

DEFAULT = [*DEFAULT_FEATURES]
SLEEPS_DEEP = [*DEFAULT, "mwait_extensions", "mwait_c10"]
LINE, DISABLED = "..TIMER: ", "hpet: HPET dysfunctional in PC10. Force disabled."
LIMIT_REGISTER, TO_C7, TO_C10 = "e2", 4, 8


def waited(features: list[str], append: str = "", release: str = "debian-6.12", limit: int | None = None):
    """(ms, texts) of a boot."""
    spec = load_preset("tiny")
    spec.cpus.features = features
    spec.append = append
    if limit is not None:
        spec.cpus.msrs = [{LIMIT_REGISTER: limit}] * spec.cpus.count
    k = boot(spec, release=release).kernel
    return k.ledger.total_ns("timer_check_ns") / 1e6, [line.text for line in k.log.lines]


def test_more_than_four_ticks_pass() -> None:
    ms, texts = waited(DEFAULT)
    assert 16 < ms <= 20  # of 250 a second
    assert any(text.startswith(LINE) for text in texts)


@pytest.mark.parametrize(
    ("features", "append", "release", "limit"),
    [
        (DEFAULT, "nohpet", "debian-6.12", None),
        (SLEEPS_DEEP, "", "debian-6.12", TO_C10),
    ],
)
def test_nothing_ticks_nothing_is_checked(features: list[str], append: str, release: str, limit: int | None) -> None:
    ms, texts = waited(features, append, release, limit)
    assert ms == 0
    assert not any(text.startswith(LINE) for text in texts)
    assert (DISABLED in texts) == (limit is not None)


@pytest.mark.parametrize(
    ("features", "append", "release", "limit"),
    [
        (DEFAULT, "nohpet", "linux-4.18", None),  # the PIT ticked in any case
        (SLEEPS_DEEP, "", "linux-5.10", TO_C10),  # nobody asked
        (SLEEPS_DEEP, "", "debian-6.12", TO_C7),  # firmware holds the package back
    ],
)
def test_where_something_ticks_it_is(features: list[str], append: str, release: str, limit: int | None) -> None:
    ms, texts = waited(features, append, release, limit)
    assert 16 < ms <= 20 and any(text.startswith(LINE) for text in texts) and DISABLED not in texts


def test_the_word_that_believes_it() -> None:
    ms, texts = waited(DEFAULT, "no_timer_check")
    assert ms == 0 and any(text.startswith(LINE) for text in texts)
