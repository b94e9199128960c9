"""The house's one direction: who may import whom, and what the tree may not say."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUTER_ROOMS = ("minikern.lab", "minikern.report", "minikern.cli", "minikern.commands", "minikern.testing")
KERNEL_FOLDERS = ("mm", "smp", "acpi", "pci", "kexec")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_machine_knows_no_kernel() -> None:
    for path in (ROOT / "hw").rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] == "minikern"], path


def test_kernel_rooms_know_no_lab_report_or_command_line() -> None:
    files = [path for folder in KERNEL_FOLDERS for path in (ROOT / "minikern" / folder).rglob("*.py")]
    for path in [*files, *(ROOT / "minikern").glob("*.py")]:
        if path.name not in ("cli.py", "__main__.py", "__init__.py"):
            assert not [name for name in imported(path) if name.startswith(OUTER_ROOMS)], path


def test_no_star_imports() -> None:
    for folder in ("hw", "minikern", "tests", "bench"):
        for path in (ROOT / folder).rglob("*.py"):
            nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom))
            assert not [node for node in nodes if node.names[0].name == "*"], path


def test_every_cost_has_one_declaration_and_a_source() -> None:
    seen: dict[str, str] = {}
    for path in sorted((ROOT / "hw" / "costs").glob("*.toml")):
        for kind, cost in tomllib.loads(path.read_text()).items():
            assert kind not in seen, f"{kind} in {path.name} and {seen[kind]}"
            seen[kind] = path.name
            assert cost["ns"] >= 0 and cost["source"]


def test_every_module_says_what_it_is() -> None:
    for folder in ("hw", "minikern"):
        for path in (ROOT / folder).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path
