"""The log with explanations: under the first line of each kind, what it means and which function prints it."""

from __future__ import annotations

import re
from importlib import resources

import msgspec

from hw.toml_file import decode_toml
from minikern.core.kernel import Kernel
from minikern.report.dmesg import format_dmesg

STAMP = re.compile(r"^\[ *\d+\.\d+\] ")
INDENT = " " * 15


class Explanation(msgspec.Struct, forbid_unknown_fields=True):
    """One kind of line: a regular expression over its start, Linux's function, and one sentence."""

    line: str
    function: str
    says: str


class Explanations(msgspec.Struct, forbid_unknown_fields=True):
    """The data file."""

    explain: list[Explanation]


def load_explanations() -> list[tuple[re.Pattern[str], Explanation]]:
    """All explanations in the order of the file, patterns compiled."""
    data = resources.files("minikern.report").joinpath("explain.toml").read_bytes()
    table = decode_toml(data, Explanations, "minikern/report/explain.toml")
    return [(re.compile(item.line), item) for item in table.explain]


def explained_dmesg(kernel: Kernel) -> str:
    """format_dmesg() with an indented line ``# function(): sentence`` after the first line of each kind."""
    known = load_explanations()
    said: set[int] = set()
    out: list[str] = []
    for line in format_dmesg(kernel).splitlines():
        out.append(line)
        text = STAMP.sub("", line)
        for number, (pattern, item) in enumerate(known):
            if pattern.match(text):
                if number not in said:
                    said.add(number)
                    out.append(f"{INDENT}# {item.function}: {item.says}")
                break
    return "".join(f"{line}\n" for line in out)
