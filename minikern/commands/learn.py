"""``minikern learn``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hw.errors import InputError
from minikern.commands.common import EXIT_FAILED, reported
from minikern.commands.numbers import SECONDS, SEED
from minikern.commands.standard_input import typed_line

READING_WIDTH = 80
Show = Callable[[str], None]


@click.group()
def learn() -> None:
    """Lessons that run: text, questions the emulator answers, things to break, functions to write.

    \b
    Example:
      minikern learn list
      minikern learn start e820
    """


@learn.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the lessons as JSON.")
@reported
def learn_list(as_json: bool) -> None:
    """List the lessons in the order in which they build on each other.

    \b
    Example:
      minikern learn list
    """
    from minikern.learn.text import QUESTION, TASK, load_lessons

    lessons = load_lessons()
    if as_json:
        import json

        rows = [
            {"number": one.number, "name": one.name, "title": one.title, "minutes": one.minutes,
             "questions": one.named(QUESTION), "tasks": one.named(TASK)} for one in lessons
        ]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    for one in lessons:
        click.echo(f"{one.number:2d}  {one.name:<12s} {one.minutes:2d} min  {one.title}")


@learn.command("start")
@click.argument("lesson", metavar="NAME|NUMBER")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Other machines, other numbers.")
@click.option("--answer", multiple=True, metavar="TEXT", help="Answers in order, instead of typing; also hint, skip.")
@click.option("--solution", is_flag=True, help="Show the answers instead of asking.")
@click.option("--score", type=click.Path(path_type=Path), metavar="FILE", help="Add what was answered to this file.")
@reported
def start(lesson: str, seed: int, answer: tuple[str, ...], solution: bool, score: Path | None) -> None:
    """Go through a lesson. Answer its questions, or type hint, solution or skip.

    Answers come from --answer, then from standard input. The exit status is 1 if one was wrong.

    \b
    Example:
      minikern learn start e820 --seed 7
      minikern learn start kexec --answer 3 --answer 128
    """
    from minikern.learn.score import add_score
    from minikern.learn.session import run_lesson
    from minikern.learn.text import load_lesson

    found = load_lesson(lesson)
    rows = list(run_lesson(found, seed, shown(), _answers(answer), solution))
    if score is not None and rows:
        add_score(score, rows)
    if rows:
        right = sum(row.right for row in rows)
        click.echo(f"minikern: {right} of {len(rows)} right, seed {seed}", err=True)
        if right < len(rows):
            sys.exit(EXIT_FAILED)


def shown() -> Show:
    """Prints Markdown: as it is where nobody reads a screen, laid out where somebody does."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return click.echo
    from rich.markdown import Markdown

    from minikern.host.terminal import console

    screen = console()
    screen.width = min(screen.width, READING_WIDTH)
    return lambda text: screen.print(Markdown(text), "")


def _answers(given: tuple[str, ...]) -> Callable[[], str | None]:
    waiting = iter(given)

    def ask() -> str | None:
        word = next(waiting, None)
        if word is not None:
            return word
        terminal = sys.stdin is not None and sys.stdin.isatty()
        if given and not terminal:
            return None
        if terminal:
            click.echo("your answer (or hint, solution, skip): ", nl=False, err=True)
        return typed_line()

    return ask


@learn.command("task")
@click.argument("name", metavar="NAME")
@reported
def task(name: str) -> None:
    """Print a Python file to begin a task with.

    \b
    Example:
      minikern learn task tidy > tidy.py
    """
    from minikern.learn.tasks import task_named

    click.echo(task_named(name).template(), nl=False)


@learn.command("judge")
@click.argument("name", metavar="NAME")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE.py")
@click.option("--timeout", type=SECONDS, default=10.0, show_default=True, help="Seconds a call has.")
@reported
def judge_command(name: str, file: Path, timeout: float) -> None:
    """Judge a task's function against the emulator's own; the shortest case that fails is shown.

    \b
    Example:
      minikern learn judge tidy tidy.py
    """
    from minikern.learn.judge import judge
    from minikern.learn.tasks import task_named

    verdict = judge(task_named(name), file, timeout)
    if verdict.right:
        click.echo(f"{name}: right, {verdict.tried} cases")
        return
    click.echo(f"{name}: wrong\n  {verdict.shown}\n  expected  {verdict.expected}\n  found     {verdict.found}")
    sys.exit(EXIT_FAILED)


@learn.command("export")
@click.argument("lessons", nargs=-1, metavar="[NAME...]")
@click.option("--seeds", default="1", show_default=True, metavar="LIST", help="Seeds, as 1,2 or 1-30.")
@click.option("--no-answers", is_flag=True, help="Leave the answers out.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.md", help="Write it there.")
@reported
def export(lessons: tuple[str, ...], seeds: str, no_answers: bool, output: Path | None) -> None:
    """Questions and answers as Markdown, for a teacher: one sheet a seed, answers behind all sheets.

    \b
    Example:
      minikern learn export e820 numa --seeds 1-30 -o sheets.md
    """
    from hw.spec import parse_cpulist
    from minikern.host.output import write_file
    from minikern.learn.export import export_markdown
    from minikern.learn.text import LESSONS, load_lesson

    numbers = parse_cpulist(seeds, "--seeds")
    if not numbers:
        raise InputError("--seeds: expected at least one, as 1 or 1-30")
    text = export_markdown(map(load_lesson, lessons or LESSONS), numbers, not no_answers)
    if output is None:
        click.echo(text, nl=False)
        return
    write_file(output, text)


@learn.command("score")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Print the answers as JSON.")
@reported
def score_command(file: Path, as_json: bool) -> None:
    """Sum a score file up by lesson.

    \b
    Example:
      minikern learn score mine.jsonl
    """
    from minikern.learn.score import read_scores

    rows = read_scores(file)
    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(rows))
        return
    by_lesson: dict[str, list[Any]] = {}
    for row in rows:
        by_lesson.setdefault(row.lesson, []).append(row)
    for lesson, found in by_lesson.items():
        right, hints = sum(row.right for row in found), sum(row.hints for row in found)
        click.echo(f"{lesson:<12s} {right:3d} of {len(found):3d} right, {hints} hints")


@learn.command("glossary")
@click.argument("term", required=False, metavar="[TERM]")
@click.option("--json", "as_json", is_flag=True, help="Print all terms as JSON.")
@reported
def glossary(term: str | None, as_json: bool) -> None:
    """Say what a term means, where it is in Linux and here, and which lesson explains it; or list all terms.

    \b
    Example:
      minikern learn glossary HVO
    """
    from minikern.learn.glossary import load_terms, term_named

    if as_json:
        from minikern.report.json_text import json_text

        click.echo(json_text(load_terms()))
    elif term is None:
        for one in load_terms():
            click.echo(f"{one.name:<20s} {one.lesson}")
    else:
        found = term_named(term)
        click.echo(click.wrap_text(f"{found.name}: {found.says}", READING_WIDTH))
        for head, place in (("in Linux", found.linux), ("in minikern", found.here), ("lesson", found.lesson)):
            if place:
                click.echo(f"  {head:<12s} {place}")


@learn.command("book")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR", help="A new folder.")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Seed of the book's questions.")
@click.option("--no-pictures", is_flag=True, help="Leave the pictures out.")
@reported
def book(output: Path, seed: int, no_pictures: bool) -> None:
    """Make the lessons, the glossary and the Python interface into a book of static pages, with notebooks.

    Needs the extra `book`. The pages fetch nothing from elsewhere and can be opened from a disk.

    \b
    Example:
      minikern learn book -o book && xdg-open book/index.html
    """
    from minikern.api import offered
    from minikern.learn.book import api_page, build_book

    api = api_page(offered.__doc__ or "", {name: offered.offered(name) for name in offered.HOMES})
    pages = build_book(output, api, seed, not no_pictures)
    click.echo(f"{output}: {pages} pages")


@learn.command("notebook")
@click.argument("lesson", metavar="NAME|NUMBER")
@click.option("--seed", type=SEED, default=1, show_default=True, help="Seed of its questions.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE.ipynb", help="Write it there.")
@reported
def notebook(lesson: str, seed: int, output: Path | None) -> None:
    """Make a lesson a Jupyter notebook. Needs the extra `book`.

    \b
    Example:
      minikern learn notebook zones -o zones.ipynb
    """
    from minikern.host.output import write_file
    from minikern.learn.notebooks import notebook as made
    from minikern.learn.text import load_lesson

    text = made(load_lesson(lesson), seed)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_file(output, text)
