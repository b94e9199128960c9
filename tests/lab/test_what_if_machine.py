"""Sliders of memory, CPUs, huge pages and unit costs: the page's own script against fresh boots.

MINIKERN_SETTINGS=200 tries as many settings of each machine; a few are tried where nothing is said.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from hw.errors import InputError, MachineStopped
from hw.units import NS_PER_MS
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variant
from minikern.describe.presets import load_machine
from minikern.lab import what_if_machine
from minikern.lab.machine_axes import Asked, axes_of, memory_bytes
from minikern.lab.run import boot
from minikern.lab.what_if import curves
from minikern.lab.what_if_machine import Setting, WhatIf, boot_at, drawn, machine_what_if, said

NODE = shutil.which("node")
SCRIPT = Path(what_if_machine.__file__).parents[1] / "report" / "what_if.js"
SETTINGS = int(os.environ.get("MINIKERN_SETTINGS", "12"))
MANY = 100  # settings: then on more machines
MACHINES = ["tiny parallel-smp", "tiny quiet", "laptop baseline", "laptop parallel-smp"]
ROUNDED_MS = 0.02  # rounding to ns, a charge: of all that are multiplied
ASKS = """
const [model, settings] = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(settings.map(one => whatIf(model, one))));
"""


@dataclass
class Made:
    """A machine's model and how to boot it afresh."""

    asked: Asked
    model: WhatIf


@pytest.fixture(scope="module", params=MACHINES if SETTINGS >= MANY else MACHINES[:1])
def made(request: pytest.FixtureRequest) -> Made:
    machine, variant = request.param.split()
    done = boot(load_machine(machine), load_variant(variant), options=BootOptions(vmemmap="counted"))
    return Made(Asked(done.spec, done.variant, ""), machine_what_if(done, curves(done)))


def by_the_script(model: WhatIf, settings: list[Setting]) -> list[dict[str, float]]:
    """What the page's own arithmetic says."""
    given = msgspec.json.encode([model, settings]).decode()
    script = SCRIPT.read_text() + ASKS
    done = subprocess.run(
        [str(NODE), "-e", script], input=given, capture_output=True, text=True, timeout=60, check=True
    )
    answers: list[dict[str, float]] = json.loads(done.stdout)
    return answers


@pytest.mark.oracle
@pytest.mark.skipif(NODE is None, reason="no node to run the page's script")
def test_what_the_page_says_is_what_a_boot_takes(made: Made) -> None:
    settings = drawn(made.model, SETTINGS, 14)
    exact, off = 0, []
    for setting, told in zip(settings, by_the_script(made.model, settings), strict=True):
        fresh_ms = boot_at(made.asked, made.model.axes, made.model.curves, setting).total_ns / NS_PER_MS
        apart = abs(told["total_ms"] - fresh_ms)
        exact += not told["error_ms"]
        assert apart <= ROUNDED_MS + told["error_ms"], (setting, told, fresh_ms)
        off.append(apart)
    print(f"{len(settings)} settings, {exact} said to be exact; the others' worst {max(off):.3f} ms off")


@pytest.mark.oracle
@pytest.mark.skipif(NODE is None, reason="no node to run the page's script")
def test_the_script_and_the_model_are_one_arithmetic(made: Made) -> None:
    settings = drawn(made.model, 200, 15)
    for setting, told in zip(settings, by_the_script(made.model, settings), strict=True):
        expected = said(made.model, setting)
        assert told["total_ms"] == pytest.approx(expected.total_ms)
        assert told["error_ms"] == pytest.approx(expected.error_ms)


def test_each_slider_alone_stands_on_boots(made: Made) -> None:
    model = made.model
    own = [axis.own for axis in model.axes]
    for index, axis in enumerate(model.axes):
        assert len(axis.positions) > 1, axis
        for place in range(len(axis.positions)):
            places = [place if other == index else own[other] for other in range(3)]
            setting = Setting(places, [1.0] * len(model.curves))
            fresh_ms = boot_at(made.asked, model.axes, model.curves, setting).total_ns / NS_PER_MS
            told = said(model, setting)
            assert told.total_ms == pytest.approx(fresh_ms, abs=1e-6) and not told.error_ms


def test_a_captured_machine_says_why_it_has_no_slider() -> None:
    spec = load_machine("tiny")
    spec.acpi.raw = [b"table"]
    memory, cpus, huge = axes_of(Asked(spec, None, ""))
    assert len(memory.positions) == len(cpus.positions) == 1
    assert "captured machine keeps its map" in memory.absent
    assert "captured machine keeps its CPUs" in cpus.absent
    assert len(huge.positions) > 1 and not huge.absent


def test_huge_pages_asked_for_in_several_ways_stay_as_they_are() -> None:
    asked = Asked(load_machine("tiny"), None, "hugepagesz=2M hugepages=4 hugepagesz=1G hugepages=0")
    huge = axes_of(asked)[2]
    assert len(huge.positions) == 1 and "more than one way" in huge.absent


def test_huge_pages_asked_for_are_the_sliders_own_place() -> None:
    spec = load_machine("tiny")
    huge = axes_of(Asked(spec, None, "hugepages=32"))[2]
    assert huge.positions[huge.own].value == 32 * (2 << 20) / memory_bytes(spec) == 0.25
    assert "25% of memory, as it is" in [place.label for place in huge.positions]


def test_a_machine_that_cannot_be_is_refused() -> None:
    spec = load_machine("tiny")
    axes = axes_of(Asked(spec, None, ""))
    small = [axis.own for axis in axes]
    small[0] = 0
    with pytest.raises((InputError, MachineStopped)):
        boot_at(Asked(spec, None, "mem=1M"), axes, [], Setting(small, []))
