"""The house's one direction: who may import whom, and what the tree may not say."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Who stands on whom, highest first: a room imports only from rooms below it.
HOUSE = (
    "top", "commands", "testing", "api", "learn", "report", "lab", "init", "kexec", "kho",
    "mm.hugetlb", "mm.map", "mm.early", "mm.buddy", "smp", "pci", "acpi", "tty",
    "describe", "verify", "core", "state", "mm.page", "host", "hw",
)  # fmt: skip
LARGEST_SHARE = 0.20


def modules() -> dict[str, Path]:
    paths = (path for folder in ("hw", "minikern") for path in (ROOT / folder).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def room(module: str) -> str:
    """The room of a module; ``top`` for the command line's own files."""
    parts = module.split(".")
    if parts[0] == "hw":
        return "hw"
    if len(parts) > 2 and parts[1] == "mm":
        return f"mm.{parts[2]}"
    return parts[1] if len(parts) > 1 and (ROOT / "minikern" / parts[1]).is_dir() else "top"


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the project that a file imports, for type checking only included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def arrows() -> Iterator[tuple[str, str]]:
    """(importing module, imported module) between two rooms."""
    known = modules()
    for module, path in known.items():
        for name in imported(path, known):
            if name.split(".")[0] in ("hw", "minikern") and room(name) != room(module):
                yield module, name


def test_arrows_between_rooms_go_down() -> None:
    up = [(a, b) for a, b in arrows() if HOUSE.index(room(a)) >= HOUSE.index(room(b))]
    assert not up, up


def test_every_room_has_its_place() -> None:
    rooms = {room(module) for module in modules() if not module.endswith("minikern.mm")}
    assert rooms - {"mm"} <= set(HOUSE), rooms - set(HOUSE)


def test_no_room_is_larger_than_a_fifth() -> None:
    lines: dict[str, int] = {}
    for module, path in modules().items():
        lines[room(module)] = lines.get(room(module), 0) + len(path.read_text().splitlines())
    largest = max(lines, key=lambda name: lines[name])
    assert lines[largest] <= LARGEST_SHARE * sum(lines.values()), (largest, lines)


def test_the_verifier_shares_nothing_with_what_it_checks() -> None:
    below = {"mm.page", "core", "state", "host", "hw"}
    reached = {room(b) for a, b in arrows() if room(a) == "verify"}
    assert reached <= below, reached


def test_the_kernel_has_no_untyped_part() -> None:
    assert "Any" not in (ROOT / "minikern/core/kernel.py").read_text()
    untyped = [path for path in (ROOT / "minikern").rglob("*.py") if re.search(r"\bk: Any\b", path.read_text())]
    assert not untyped, untyped


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


def test_hardware_has_no_word_of_a_kernels_release_or_cost() -> None:
    from hw.spec import MachineSpec

    beside = {"release", "costs", "residue", "needs", "banner", "figures", "kernel"}
    assert not beside & set(MachineSpec.__struct_fields__)
