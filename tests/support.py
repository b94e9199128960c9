"""What several tests use: boots in one call, captured folders, the log comparison."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minikern.core.behaviour import Behaviour
from minikern.core.forks import changed
from minikern.core.moduleparam import Kind
from minikern.core.param_table import ParameterTable
from minikern.core.release import load_release
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_machine
from minikern.lab.run import Boot, boot
from minikern.report.dmesg import format_dmesg

SHARED = Path(__file__).parents[1] / "../shared"
CAPTURES = SHARED / "captures"

_DURATION = re.compile(r"^(HugeTLB: allocation took) \d+ms")  # how fast the host emulated the machine


def run(machine: str, variant: str = "", append: str = "", release: str = "", **changes: object) -> Boot:
    """Boot a machine; ``changes`` are the fields of :class:`minikern.describe.adjust.Adjustments`."""
    spec = load_machine(machine)
    adjust(spec, Adjustments(**changes))  # type: ignore[arg-type]
    return boot(spec, load_variant(variant) if variant else None, release, append)


def behaviour_of(release: str, **changes: object) -> Behaviour:
    """The behaviours of a release that comes with minikern, some of them set otherwise."""
    return changed(load_release(release).behaviour, changes)


def texts(done: Boot) -> list[str]:
    """The log's lines without time stamps."""
    return [line.text for line in done.kernel.log.lines]


def case_page(folder: Path, case: str) -> str:
    """What a given case says of itself; the test is skipped where it does not lie beside the checkout."""
    path = folder / case / "README.md"
    if not path.is_file():
        pytest.skip(f"no {case} beside the checkout")
    return path.read_text()


def early_options(k: Any, *rooms: Any) -> None:
    """Hand the early options of ``k.cmdline`` to the handlers that ``rooms`` declare."""
    table: ParameterTable[Any] = ParameterTable(one for room in rooms for one in room.PARAMETERS)
    for name, value in k.cmdline.args:
        list(table.handed_over(Kind.EARLY, k, name, value))


def captured_folders() -> list[str]:
    """Names of the captured boots that lie beside the checkout."""
    if not CAPTURES.is_dir():
        return []
    return sorted(str(path.parent.relative_to(CAPTURES)) for path in CAPTURES.glob("**/boot_params.bin"))


@cache
def logmatch() -> ModuleType:
    """The tool that holds an emulated log against a real one."""
    path = SHARED / "tools" / "logmatch.py"
    if not path.is_file():
        pytest.skip("no shared/tools/logmatch.py beside the checkout")
    spec = importlib.util.spec_from_file_location("logmatch", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def class_lines(text: str, name: str, folder: Path) -> list[str]:
    """The lines of ``text`` that belong to one class, masked and without time stamps."""
    tool = logmatch()
    path = folder / "log.txt"
    path.write_text(text)
    lines = [_DURATION.sub(r"\1 Nms", line) for line in tool.lines(str(path))]
    return [str(line) for line in tool.pick(lines, tool.CLASSES[name])]


__all__ = ["CAPTURES", "SHARED", "captured_folders", "class_lines", "format_dmesg", "logmatch", "run", "texts"]
