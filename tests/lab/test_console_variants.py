"""What pays on a machine with a serial console."""

from __future__ import annotations

import pytest

from minikern.core.variant import Variant
from minikern.lab.run import Boot
from tests.support import run

WORDS = "console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 ignore_loglevel"


def booted(variant: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    path = tmp_path_factory.mktemp(variant or "own") / "serial.toml"
    path.write_text(f'name = "serial"\nmemory = "1G"\nappend = "{WORDS}"\n[cpus]\ncount = 2\ncores = 2\n')
    return run(str(path), variant)


@pytest.fixture(scope="module")
def boots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Boot]:
    return {name: booted(name, tmp_path_factory) for name in ("", "quiet", "no-serial", "faster-baud")}


def machine_ns(done: Boot) -> int:
    return done.kernel.log.lines[-1].at_ns


def test_words_of_the_variants(boots: dict[str, Boot]) -> None:
    assert boots["quiet"].kernel.cmdline.text == WORDS.removesuffix(" ignore_loglevel") + " quiet"
    assert boots["no-serial"].kernel.cmdline.text == "console=tty0 ignore_loglevel"
    assert boots["faster-baud"].kernel.cmdline.text == WORDS


def test_what_they_save_is_what_the_line_took(boots: dict[str, Boot]) -> None:
    spent = {name: done.kernel.ledger.total_ns("serial_char") for name, done in boots.items()}
    assert spent["no-serial"] == 0
    assert 0 < spent["quiet"] < 0.15 * spent[""]  # what the early console said before the word was read
    assert spent["faster-baud"] == pytest.approx(spent[""] / 8, rel=0.02)
    saved = machine_ns(boots[""]) - machine_ns(boots["no-serial"])
    assert saved == pytest.approx(spent[""], rel=0.02)


def test_a_variant_inherits_what_it_takes_away() -> None:
    parent = Variant("a", remove=["x"], uart_clock_hz=5)
    child = Variant("b", extends="a", remove=["y"]).over(parent)
    assert child.remove == ["x", "y"]
    assert child.uart_clock_hz == 5
