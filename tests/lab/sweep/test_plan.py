"""Plans and their values: the product, its order, and what is refused."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.lab.sweep.plan import Plan, grid, is_plan, read_plan
from minikern.lab.sweep.vary import values_of

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cpus", "16,64,256", [16, 64, 256]),
        ("cpus", "8,sockets=2,16,sockets=4", ["8,sockets=2", "16,sockets=4"]),
        ("cpus", [1, 2, 2], [1, 2]),
        ("memory", "64G,1T", [64 * GIB, 1024 * GIB]),
        ("memory", "1G..4G:lin:4", [GIB, 2 * GIB, 3 * GIB, 4 * GIB]),
        ("memory", "1G..16G:log:5", [GIB, 2 * GIB, 4 * GIB, 8 * GIB, 16 * GIB]),
        ("nodes", "1..4:lin:4", [1, 2, 3, 4]),
        ("costs.struct_page_init", "1.5,3", [1.5, 3.0]),
    ],
)
def test_values(name: str, given: object, expected: list[object]) -> None:
    assert values_of(name, given, ["struct_page_init"]) == expected  # type: ignore[arg-type]


def test_logarithmic_values_lie_on_sections_and_between_the_ends() -> None:
    found = values_of("memory", "64G..24T:log:13", [])
    assert len(found) == 13
    assert (found[0], found[-1]) == (64 * GIB, 24 * 1024 * GIB)
    assert all(isinstance(size, int) and size % (128 << 20) == 0 for size in found)
    ratios = [int(b) / int(a) for a, b in pairwise(found)]  # type: ignore[arg-type]
    assert max(ratios) - min(ratios) < 0.01


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("memery", "1G", "memory"),
        ("memory", "", "no value"),
        ("memory", "1G..4G:log", "no range"),
        ("memory", "4G..1G:log:3", "that grow"),
        ("memory", "1G..4G:log:99999", "2 to"),
        ("memory", "128T", "at most 64T"),
        ("cpus", "0", "1 to"),
        ("cpus", "²", "not a count"),
        ("cpus", "9" * 5000, "not a count"),
        ("nodes", "5000", "1 to 1024"),
        ("costs.struct_page_initt", "1", "struct_page_init"),
        ("costs.struct_page_init", "inf", "no unit cost"),
    ],
)
def test_values_refused(name: str, given: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        values_of(name, given, ["struct_page_init"])
    assert len(str(caught.value)) < 300


def test_the_product_is_the_table() -> None:
    plan = Plan(["tiny", "laptop"], variants=["as-is", "quiet"], vary={"cpus": [1, 2], "memory": "1G,2G"}, draws=3)
    table = grid(plan)
    assert len(table) == 2 * 2 * 2 * 2 * 3
    points = list(table.points(range(len(table))))
    said = [(one.machine, *(value for _, value in one.vary), one.variant, one.draw) for one in points]
    assert said == list(product(["tiny", "laptop"], [1, 2], [GIB, 2 * GIB], ["as-is", "quiet"], [0, 1, 2]))
    assert [one.row for one in points] == list(range(len(table)))


def test_same_plan_same_digest() -> None:
    assert grid(Plan(["tiny"], seed=1)).digest() == grid(Plan(["tiny"], seed=1)).digest()
    assert grid(Plan(["tiny"], seed=1)).digest() != grid(Plan(["tiny"], seed=2)).digest()


def test_a_plans_files_are_looked_for_beside_it(tmp_path: Path) -> None:
    (tmp_path / "fleet").mkdir()
    for name in ("b", "a"):
        (tmp_path / "fleet" / f"{name}.toml").write_text("name = 'x'\n")
    (tmp_path / "mine.toml").write_text("append = 'quiet'\n")
    (tmp_path / "plan.toml").write_text('machines = ["fleet/*.toml", "tiny"]\nvariants = ["mine.toml"]\n')
    assert is_plan(tmp_path / "plan.toml")
    assert not is_plan(tmp_path / "mine.toml")
    table = grid(read_plan(tmp_path / "plan.toml"), tmp_path)
    assert table.machines == (str(tmp_path / "fleet" / "a.toml"), str(tmp_path / "fleet" / "b.toml"), "tiny")
    assert table.variants == (str(tmp_path / "mine.toml"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('machines = ["tiny"]\nvariantss = ["quiet"]\n', "variantss"),
        ('machines = ["tiny"]\nvariants = ["quite"]\n', "quiet"),
        ('machines = ["tiny"]\nkernels = ["linux-6.99"]\n', "linux-6.99"),
        ('machines = ["tiny"]\nmetrics = ["totl"]\n', "total"),
        ('machines = ["nothing-*.toml"]\n', "at least one"),
        ("machines = []\n", "at least one"),
        ('machines = ["a**b"]\n', "no pattern of names"),
        ('machines = ["tiny"]\ndraws = -1\n', "draws"),
        ('machines = ["tiny"\n', "not TOML"),
    ],
)
def test_plans_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        grid(read_plan(path), tmp_path)


@pytest.mark.parametrize("field", ["machines", "variants", "kernels"])
def test_a_name_that_no_file_can_have(field: str, tmp_path: Path) -> None:
    names = {"machines": ["tiny"], field: ["9" * 5000]}
    text = "".join(f"{key} = {value!r}\n" for key, value in names.items())
    (tmp_path / "plan.toml").write_text(text)
    if field == "machines":
        assert grid(read_plan(tmp_path / "plan.toml"), tmp_path).machines == ("9" * 5000,)
    else:
        with pytest.raises(InputError, match="unknown"):
            grid(read_plan(tmp_path / "plan.toml"), tmp_path)
    assert not is_plan(tmp_path / f"{'9' * 300}.toml")
