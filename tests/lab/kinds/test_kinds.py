"""Each kind: its right one passes, planted mistakes are found and shown, what crashes or never ends is contained."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from hw.errors import InputError
from minikern.commands.check import check
from minikern.host import jit
from minikern.lab import kinds
from minikern.lab.algorithms import Found
from minikern.lab.check import Trial, check_algorithm
from minikern.lab.kinds.kind import Kind
from minikern.lab.kinds.registry import KINDS
from minikern.lab.kinds.template import function_name, template
from tests.lab.kinds.planted import PLANTED

EXAMPLES = 40


def loaded(kind: Kind, text: str) -> Found:
    """The function of a file's text, without the file."""
    names: dict[str, Any] = {}
    exec(compile(text, "mine.py", "exec"), names)
    return Found("mine", kind.hook, names[function_name(kind)])


def bodied(kind: Kind, *lines: str) -> str:
    """A file whose function does something else."""
    return template(kind).replace(kind.example, "".join(f"    {line}\n" for line in lines))


@pytest.mark.parametrize("name", KINDS)
def test_the_template_is_right(name: str) -> None:
    kind = KINDS[name]
    found = loaded(kind, template(kind))
    assert tuple(inspect.signature(found.function).parameters) == kind.hook.arguments
    verdict = check_algorithm(found, made_up=EXAMPLES)
    assert verdict.wrong is None, verdict.wrong
    assert verdict.compared > 0 and verdict.made_up >= EXAMPLES
    assert verdict.clocked is not None
    assert {"mine", *kind.builtins()} <= {timing.name for timing in verdict.clocked.timings}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("hvo", {"mine": 512 * 7, "built-in": 512 * 7}),
        ("zone-fallback", {"mine": 63, "built-in": 1}),  # by number all fall upon node 0; Linux lets each have its own
        # 31.25 sections each; padata cuts 250 chunks of 8 sections, so that some threads get four of them
        ("deferred-split", {"mine": 1_024_000, "built-in": 32 * 32768}),
    ],
)
def test_what_a_right_one_achieves_is_counted(name: str, counts: dict[str, int]) -> None:
    verdict = check_algorithm(loaded(KINDS[name], template(KINDS[name])), made_up=0)
    assert verdict.merits == counts


@pytest.mark.parametrize("name", PLANTED)
def test_the_built_in_ones_are_right_by_the_same_judge(name: str) -> None:
    kind = KINDS[name]
    for label, function in kind.builtins().items():
        trial = Trial(Found(label, kind.hook, function))
        for case in kind.corners():
            if case.size < 5000 or not jit.DISABLED:
                wrong = trial.first_wrong(case)
                assert wrong is None, f"{label} on {case.describe()}: {wrong}"


@pytest.mark.parametrize(
    ("name", "old", "new"), [(name, *pair) for name, found in PLANTED.items() for pair in found], ids=str
)
def test_a_planted_mistake_is_found_and_shown(name: str, old: str, new: str) -> None:
    kind = KINDS[name]
    assert old in kind.example
    mistaken = loaded(kind, template(kind).replace(old, new))
    verdict = check_algorithm(mistaken, made_up=0)
    if verdict.wrong is None:  # too rare for the hand-picked inputs
        verdict = check_algorithm(mistaken, made_up=EXAMPLES)
    wrong = verdict.wrong
    assert wrong is not None
    assert wrong.expected != wrong.found
    assert wrong.picture and all(len(line) <= 120 for line in wrong.picture)
    assert wrong.case.size <= max(case.size for case in kind.corners())
    assert verdict.clocked is None


def test_each_kind_has_five_mistakes_or_more() -> None:
    assert all(len(found) >= 5 for found in PLANTED.values())


def run(path: Path, text: str, *more: str) -> Any:
    path.write_text(text)
    return CliRunner().invoke(check, [str(path), "--examples", "3", *more])


@pytest.mark.parametrize("name", PLANTED)
def test_one_that_never_ends_is_ended(name: str, tmp_path: Path) -> None:
    done = run(tmp_path / "mine.py", bodied(KINDS[name], "while True:", "    pass"), "--timeout", "0.3")
    assert (done.exit_code, len(done.output.splitlines())) == (1, 2), done.output
    assert done.output.endswith(": still running after 0.3 s\n")


@pytest.mark.parametrize("name", PLANTED)
def test_one_that_returns_for_ever_is_cut_short(name: str, tmp_path: Path) -> None:
    done = run(tmp_path / "mine.py", bodied(KINDS[name], "while True:", "    yield (1, 1)"), "--timeout", "5")
    assert done.exit_code in (1, 2), done.output
    assert "still running" not in done.output


@pytest.mark.parametrize("name", PLANTED)
def test_one_that_crashes_is_told_in_a_line(name: str, tmp_path: Path) -> None:
    done = run(tmp_path / "mine.py", bodied(KINDS[name], "import ctypes", "ctypes.string_at(0)"))
    assert (done.exit_code, len(done.output.splitlines())) == (1, 2), done.output
    assert "crashed: signal 11" in done.output


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_no_answer_is_bad_input(name: str) -> None:
    for value in ("'no answer'", "5.5", "[[1, 2, 3], None]"):
        with pytest.raises(InputError, match=r"^mine: .* returned .*: expected "):
            check_algorithm(loaded(KINDS[name], bodied(KINDS[name], f"return {value}")), made_up=0)


def test_an_exception_is_told_with_its_line(tmp_path: Path) -> None:
    done = run(tmp_path / "mine.py", bodied(KINDS["bring-up"], "return cpus[5000]"))
    assert done.exit_code == 1
    assert "(call): expected no exception, found IndexError: index 5000 is out of bounds" in done.output
    assert "of mine.py: return cpus[5000]" in done.output


ODD = (-(1 << 70), -1, 0, 1, 3, 8, 11, 64, 1000, 0x20000, 1 << 40, 1 << 70)
SHAPES: dict[str, Any] = {
    "bring-up": lambda rng: [rng.choice(ODD) for _ in range(rng.randrange(5))],
    "digest": lambda rng: [rng.choice(ODD) for _ in range(rng.randrange(40))],
    "hvo": lambda rng: [rng.choice(ODD) for _ in range(rng.choice([1, 2, 8, 9]))],
    "memblock": lambda rng: rng.choice(ODD),
}


@pytest.mark.parametrize("name", PLANTED)
def test_no_answer_breaks_the_judge_or_its_picture(name: str) -> None:
    kind, rng = KINDS[name], Random(name)
    shape = SHAPES.get(name, lambda rng: [(rng.choice(ODD), rng.choice(ODD)) for _ in range(rng.randrange(4))])
    for case in kind.corners():
        if case.size > 5000:
            continue
        for _ in range(20):
            trial = Trial(Found("mine", kind.hook, lambda *_: shape(rng)))
            wrong = trial.first_wrong(case)
            assert wrong is None or all(len(line) < 400 for line in (str(wrong), *wrong.picture))


DECLARATIONS = {"minikern.mm.page.mmzone", "minikern.mm.page.struct_page"}  # sizes and layouts, no algorithm
TIMED = {"builtins", "builtins_of"}  # where the kernel rooms' own functions may be fetched


def test_judges_share_no_code_with_the_kernel_rooms() -> None:
    for path in sorted(Path(kinds.__path__[0]).glob("*.py")):
        tree = ast.parse(path.read_text())
        inside = {id(node) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name in TIMED
                  for node in ast.walk(one)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and id(node) not in inside:
                name = node.module or ""
                outside = name.startswith("minikern.") and not name.startswith(("minikern.lab.", "minikern.host."))
                assert not outside or name in DECLARATIONS, f"{path.name}: {name}"
