"""libfdt's binding has no wheel: where nobody could compile it, only Kexec HandOver is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from minikern.cli import main
from minikern.state import fdt


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The binding cannot be imported."""
    monkeypatch.setitem(sys.modules, "libfdt", None)
    fdt._libfdt.cache_clear()
    yield
    fdt._libfdt.cache_clear()


@pytest.mark.usefixtures("without")
def test_only_kexec_handover_is_missing() -> None:
    assert CliRunner().invoke(main, ["boot", "tiny"]).exit_code == 0
    done = CliRunner().invoke(main, ["boot", "laptop", "--variant", "kho-7.2"])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("minikern: Kexec HandOver's trees need libfdt: pip install pylibfdt")
