"""What a published figure proves follows from what the costs that carry it were made from."""

from __future__ import annotations

import pytest

from minikern.core.cost_table import default_costs
from minikern.core.costs import Cost
from minikern.core.kernel import BootOptions
from minikern.describe.presets import load_preset
from minikern.lab.figures_table import Figure, Measure, figure_names, load_figures, status
from minikern.lab.run import Boot, boot

ACPI = Measure("phase", phase="acpi")
WHOLE = Measure("total")
EARLY = Measure("lines", first="Linux version", last="Memory: ")


@pytest.fixture(scope="module")
def done() -> Boot:
    spec = load_preset("tiny")
    known = default_costs()["aml_term"]
    spec.costs = {"aml_term": Cost(100 * known.ns, "a test", fitted_on=["tables"])}
    return boot(spec, options=BootOptions(vmemmap="counted"))


@pytest.mark.parametrize(
    ("figure", "measure", "expected"),
    [
        ("tables", ACPI, "fitted"),
        ("all", ACPI, "checked"),
        ("tables", WHOLE, "fitted"),
        ("tables", EARLY, "predicted"),
        ("tables", Measure("work", phase="acpi", work=["aml_term"]), "fitted"),
        ("tables", Measure("work", phase="smp", work=["smp_wait_ns"]), "predicted"),
    ],
)
def test_status_is_computed(done: Boot, figure: str, measure: Measure, expected: str) -> None:
    assert status(Figure(figure, "a figure", "tiny", 1.0, 0.1, measure), done) == expected


@pytest.mark.parametrize("name", figure_names())
def test_figures_have_ids_of_their_own_and_costs_name_only_those(name: str) -> None:
    ids = [row.id for row in load_figures(name).row]
    assert len(ids) == len(set(ids))
    spec = load_preset(name)
    named = {origin for item in (*spec.costs.values(), *spec.residue) for origin in item.fitted_on}
    assert named <= {*ids, "log", "components"}  # another line of the same publication; parts of a figure
