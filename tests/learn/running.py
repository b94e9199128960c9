"""Running what the lessons show: console blocks with small pipes, and Python examples."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Callable
from typing import Any

from click.testing import CliRunner

from minikern.cli import main

LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PROMPT = "$ "
STAMP = re.compile(r"^\[ *(\d+\.\d{6})\]", re.MULTILINE)
TIME = re.compile(r"(?<![\w.])\d[\d,]*\.\d+(?![\w.])|(?<![\w.])\d[\d,]*(?= ms\b)")  # with a point, or in ms


def console(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith(PROMPT):
            found.append((line[len(PROMPT) :], []))
        else:
            found[-1][1].append(line)
    return [(command, "".join(f"{line}\n" for line in lines)) for command, lines in found]


def run_command(command: str) -> str:
    """What a terminal shows for a command: messages first, then the product behind its pipes."""
    first, *filters = split_pipes(command)
    words = shlex.split(first)
    assert words[0] == "minikern", command
    width = None if filters else "80"  # a pipe takes any
    result = CliRunner().invoke(main, words[1:], env={"COLUMNS": width, "NO_COLOR": "1"}, catch_exceptions=False)
    assert result.exit_code in (0, 1, 3) and "Traceback" not in result.output, result.output
    lines = result.stdout.splitlines()
    for words in map(shlex.split, filters):
        lines = FILTERS[words[0]](words[1:], lines)
    return result.stderr + "".join(f"{line.rstrip()}\n" for line in lines)


def split_pipes(command: str) -> list[str]:
    """The parts between pipes that stand outside quotes."""
    return ["".join(part).strip() for part in re.findall(r"((?:\"[^\"]*\"|'[^']*'|[^|\"'])+)", command)]


def agree(shown: str, now: str) -> bool:
    """True if two texts say the same: all words and counts, times to within 2 %, the log's stamps to within a fifth."""
    if TIME.sub("T", STAMP.sub("S", shown)) != TIME.sub("T", STAMP.sub("S", now)):
        return False
    stamps = zip(STAMP.findall(shown), STAMP.findall(now), strict=True)
    times = zip(TIME.findall(STAMP.sub("", shown)), TIME.findall(STAMP.sub("", now)), strict=True)
    return all(_close(a, b, 0.2) for a, b in stamps) and all(_close(a, b, 0.02) for a, b in times)


def _close(shown: str, now: str, share: float) -> bool:
    a, b = float(shown.replace(",", "")), float(now.replace(",", ""))
    return abs(a - b) <= max(share * max(abs(a), abs(b)), 0.1 if max(abs(a), abs(b)) >= 1 else 0.001)


class Checker(doctest.OutputChecker):
    """Takes what agrees for what was expected."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return agree(want, got) or super().check_output(want, got, optionflags)


def grep(words: list[str], lines: list[str]) -> list[str]:
    options = "".join(word[1:] for word in words if (word.startswith("-") and not word[1:2].isupper()) or word == "-E")
    after = next((int(word[2:]) for word in words if re.fullmatch(r"-A\d+", word)), 0)
    pattern = re.compile(words[-1], re.IGNORECASE if "i" in options else 0)
    hits = {at for at, line in enumerate(lines) if pattern.search(line)}
    if "c" in options:
        return [str(len(hits))]
    shown = {at + more for at in hits for more in range(after + 1)}
    return [line for at, line in enumerate(lines) if at in shown]


FILTERS: dict[str, Callable[[list[str], list[str]], list[str]]] = {
    "grep": grep,
    "head": lambda words, lines: lines[: int(words[-1].lstrip("-n"))],
    "tail": lambda words, lines: lines[-int(words[-1].lstrip("-n")) :],
}


def run_examples(text: str, names: dict[str, Any], where: str) -> str:
    """Run a block of ``>>>`` examples; returns what doctest reports, empty if all is as shown."""
    test = doctest.DocTestParser().get_doctest(text, names, where, None, 0)
    test.globs = names
    report: list[str] = []
    doctest.DocTestRunner(Checker(), optionflags=LENIENT, verbose=False).run(test, out=report.append, clear_globs=False)
    return "".join(report)
