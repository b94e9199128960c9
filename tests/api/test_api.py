"""``import minikern``: boots, comparisons and fits as a notebook uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import minikern
from tests.support import SHARED, run

LOG = SHARED / "corpora/timed/e7250-4cpu-5.4-initcall.log.gz"


@pytest.fixture(scope="module")
def tiny() -> minikern.Boot:
    return minikern.boot("tiny", numa=["128M,cpus=0", "128M,cpus=1"], append="quiet")


def test_importing_loads_neither_numpy_nor_the_kernel() -> None:
    code = "import minikern, sys; print(len([m for m in sys.modules if m.split('.')[0] in ('numpy', 'numba', 'hw')]))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"


def test_a_boot_is_that_of_the_command_line(tiny: minikern.Boot) -> None:
    other = run("tiny", numa=["128M,cpus=0", "128M,cpus=1"], append="quiet")
    assert [line.text for line in tiny.log] == [line.text for line in other.kernel.log.lines]
    assert tiny.done.total_ns == other.total_ns


def test_ledger_and_timeline_hold_the_same_time(tiny: minikern.Boot) -> None:
    booked = sum(row.total_ns for row in tiny.ledger if row.modelled)
    spans = sum(row.total_ns for row in tiny.timeline if not row.kind.startswith("residue: "))
    assert booked == spans
    assert sum(tiny.phases.values()) * 1e6 == pytest.approx(tiny.done.total_ns)
    assert {zone.nid for zone in tiny.kernel.zones} == {0, 1}


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_frames_of_either_library(tiny: minikern.Boot, library: str) -> None:
    pytest.importorskip(library)
    frame = tiny.ledger.to_frame(library)
    assert type(frame).__module__.split(".")[0] == library
    assert list(frame.columns) == list(tiny.ledger.names) and len(frame) == len(tiny.ledger)
    assert len(tiny.phases.to_frame(library)) == len(tiny.phases)


def test_a_frame_of_nothing_known_is_refused(tiny: minikern.Boot) -> None:
    with pytest.raises(minikern.InputError, match="expected one of polars, pandas, pyarrow"):
        tiny.log.to_frame("excel")


def test_notebooks_get_tables_with_nothing_unescaped() -> None:
    found = minikern.boot("tiny", append="a=<script>")
    assert "<script>" not in found.log._repr_html_() and "&lt;script&gt;" in found.log._repr_html_()
    for part in (found, found.phases, found.ledger, found.timeline):
        text = part._repr_html_()
        assert text.count("<table>") == text.count("</table>") == 1
        assert text.count("<tr>") == text.count("</tr>") > 3


def test_a_comparison_by_rung() -> None:
    found = minikern.compare("tiny", variants=["baseline", "deferred", "hvo-skip"])
    frame = found.to_frame("polars")
    assert frame["variant"].to_list() == ["baseline", "deferred", "hvo-skip"]
    phases = frame.select([name for name in frame.columns if name.endswith("_ms")])
    assert phases.width == 12
    failed = [rung for rung in found.rungs if rung.failed]
    assert all(rung.total_ms is None for rung in failed)
    assert found._repr_html_().count("<tr>") == 1 + len(found.rungs) - len(failed)


def test_a_machine_saved_is_the_machine(tmp_path: Path) -> None:
    path = minikern.machine("tiny", memory="512M").save(tmp_path / "mine.toml")
    assert minikern.boot(path).done.total_ns == minikern.boot("tiny", memory="512M").done.total_ns
    with pytest.raises(minikern.InputError, match="cannot be written"):
        minikern.machine("tiny").save(tmp_path / "no" / "mine.toml")


def test_a_machine_at_hand_is_left_as_it_is() -> None:
    tiny = minikern.machine("tiny")
    before = msgspec.json.encode(tiny.spec)
    minikern.boot(tiny, cpus=4)
    minikern.boot(tiny.spec, memory="512M")
    assert msgspec.json.encode(tiny.spec) == before


@pytest.mark.oracle
def test_a_fit_boots_as_its_log(tmp_path: Path) -> None:
    if not LOG.is_file():
        pytest.skip("no shared/corpora/timed beside the checkout")
    found = minikern.fit(LOG)
    assert any(cost.status == "fitted" for cost in found.costs)
    saved = found.machine.save(tmp_path / "mine.toml")
    total_ns = minikern.boot(saved).done.total_ns
    assert total_ns == minikern.boot(LOG).done.total_ns
    assert abs(total_ns / found.fitted.real_total_ns - 1) < 0.05


def test_pictures_for_notebooks_and_files(tiny: minikern.Boot, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    drawn = tiny.picture("memory")
    assert "<svg" in drawn._repr_svg_() and drawn._repr_svg_() != tiny.picture("memory", dark=True)._repr_svg_()
    assert drawn.save(tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    for wrong in (lambda: tiny.picture("nothing"), lambda: drawn.save(tmp_path / "memory.doc")):
        with pytest.raises(minikern.InputError):
            wrong()
    with pytest.raises(minikern.InputError, match="no huge page"):
        tiny.picture("memory-map")._repr_svg_()
