"""Files that are to be read: nothing is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hw import files


def test_what_looks_like_a_file_and_has_nothing_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As /proc/kmsg does, whose reader waits for the kernel's next message.
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(files, "_check_kind", lambda *_: None)
    with (tmp_path / "pipe").open("r+b", buffering=0):
        assert files.read_input(tmp_path / "pipe") == b""
        assert files.read_head(tmp_path / "pipe", 4) == b""
