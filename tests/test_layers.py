"""Files are written, files are read, processes are started and terminals are drawn on in one place each."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OUTPUT, CHILDREN, TERMINAL = "minikern/host/output.py", "minikern/host/children.py", "minikern/host/terminal.py"
CACHES = ("minikern/host/jit.py", "minikern/host/sealed.py")  # compiled code, for this program alone
PICTURE = "minikern/report/picture.py"  # draws into memory
WRITERS = {
    "write_text", "mkdir", "makedirs", "rmdir", "unlink", "rename", "replace_file", "symlink_to", "touch", "savefig",
    "tofile", "mkdtemp", "mkstemp", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "rmtree", "copyfile",
}  # fmt: skip
STARTERS = {"fork", "Popen", "Process", "ProcessPoolExecutor", "system", "popen", "spawnv", "posix_spawn", "forkpty"}
READERS = {"read_text", "read_bytes"}
NOT_FILES = ("bus", "memory", "self", "lzma", "log", "store")
OWN = {  # files that come with the package, or are this computer's own
    "minikern/host/backing.py", "minikern/host/jit.py", "minikern/host/nodes.py", "minikern/core/families.py",
    "minikern/core/cost_table.py", "minikern/core/forks.py", "minikern/core/parameters.py",
    "minikern/core/data_files.py",
    "minikern/describe/presets.py", "minikern/describe/cpu_names.py", "minikern/lab/figures_table.py",
    "minikern/lab/downtime.py",
    "minikern/lab/fit/line_prices.py", "minikern/report/explain.py", "minikern/commands/bench.py",
    "minikern/commands/capture.py", "minikern/host/children.py", "minikern/host/sealed.py", "minikern/lab/rooflines.py",
    "minikern/report/page.py", "minikern/learn/text.py", "minikern/learn/glossary.py", "minikern/pci/device_quirks.py",
    "minikern/host/jit_numba.py",
}  # fmt: skip


def calls(path: Path) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of a file as (what it is called on, the name, the call)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            where = node.func
            if isinstance(where, ast.Attribute):
                yield ast.unparse(where.value), where.attr, node
            elif isinstance(where, ast.Name):
                yield "", where.id, node


def opens_to_write(on: str, call: ast.Call) -> bool:
    words = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes) and on != "tarfile"


def found(path: Path) -> Iterator[str]:
    name = str(path.relative_to(ROOT))
    for on, what, call in calls(path):
        writes = what in WRITERS or (what == "open" and opens_to_write(on, call)) or (on, what) == ("os", "open")
        writes = writes or (what == "write_bytes" and name.startswith("minikern") and not on.endswith("bus"))
        if writes and name not in (OUTPUT, *CACHES, PICTURE, "hw/files.py") and (on, what) != ("os", "open"):
            yield f"{name}:{call.lineno}: {what}: files are written by {OUTPUT}"
        if (on == "subprocess" or (what in STARTERS and on in ("os", "multiprocessing", ""))) and name != CHILDREN:
            yield f"{name}:{call.lineno}: {what}: processes are started by {CHILDREN}"
        if what == "Console" and not name.startswith("minikern/tty/") and name != TERMINAL:
            yield f"{name}:{call.lineno}: {what}: text goes to terminals by {TERMINAL}"
        reads = what in READERS or (what == "open" and on != "tarfile" and not writes)
        alien = name.startswith("minikern") and name not in (*OWN, OUTPUT)
        if reads and alien and not on.endswith(NOT_FILES):
            yield f"{name}:{call.lineno}: {what}: files are read by hw/files.py"
        if what in ("isdigit", "isnumeric"):
            yield f"{name}:{call.lineno}: {what}: digits that int() does not take, see hw/numbers.py"


@pytest.mark.parametrize("folder", ["hw", "minikern"])
def test_one_place_for_each(folder: str) -> None:
    wrong = [line for path in sorted((ROOT / folder).rglob("*.py")) for line in found(path)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "Path('x').write_text('y')", "open('x', 'w')", "path.open(mode='ab')", "figure.savefig('x')", "os.fork()",
        "subprocess.run(['true'])", "Console()", "'7'.isdigit()", "path.write_bytes(b'')",
        "path.read_bytes()", "open('x')", "path.open('rb')",
    ],
)  # fmt: skip
def test_what_it_finds(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "minikern").mkdir()
    (tmp_path / "minikern/mine.py").write_text(text)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert len(list(found(tmp_path / "minikern/mine.py"))) == 1
