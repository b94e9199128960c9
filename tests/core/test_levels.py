"""The level of every line, against what real kernels gave the same lines."""

from __future__ import annotations

import lzma
import re
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from tests.support import CAPTURES

RAW = sorted(CAPTURES.glob("**/dmesg-raw.txt.xz"))
LINE = re.compile(r"<(\d+)>\[ *\d+\.\d+\](?:\[[^\]]*\])? ?(.*)")


@pytest.mark.parametrize("path", RAW, ids=lambda path: str(path.parent.name))
def test_levels_are_the_real_ones(path: Path) -> None:
    real: dict[str, set[int]] = {}
    for match in map(LINE.match, lzma.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()):
        if match:
            real.setdefault(match[2], set()).add(int(match[1]) & 7)
    kernel = boot(load_machine(str(path.parent))).kernel
    known = [line for line in kernel.log.lines if line.text in real]
    assert len(known) > 150
    assert [(line.level, line.text) for line in known if line.level not in real[line.text]] == []
    kernel.release_memory()
