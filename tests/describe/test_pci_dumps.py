"""Dumps of pciutils boot with every function, and lspci says the same of what is dumped again."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hw.pci.lspci import parse_lspci
from minikern.describe.beside import Beside, lay_over
from minikern.describe.presets import load_machine
from minikern.host.output import new_folder
from minikern.lab.run import boot
from minikern.report.machine_files import dump_machine
from tests.support import SHARED

DUMPS = SHARED / "corpora" / "pci" / "pciutils"
CHANGED = re.compile(r"IOVCtl:|Number of VFs:|System Page Size|ExtTag|I/O behind bridge|DevCtl:|RlxdOrd|^\tLatency:")
"""What the kernel itself sets: virtual functions off, extended tags on, ports for hot plug."""
DRIVEN = re.compile(r"(BusMaster|DisINTx|MSI: Enable|MSI-X: Enable)[+-]")
"""What the driver of ports sets."""
MOVED = ("PCI-X-bridges-and-domains",)  # bridges whose windows lie at 0, where no PC has any


def dumps() -> list[Path]:
    return sorted(DUMPS.iterdir()) if DUMPS.is_dir() else [Path("none")]


def lspci(dump: Path, *options: str) -> list[str]:
    run = subprocess.run(["lspci", "-F", str(dump), *options], capture_output=True, text=True, check=False)
    return run.stdout.splitlines()


@pytest.mark.oracle
@pytest.mark.parametrize("dump", dumps(), ids=lambda path: path.name)
def test_every_function_boots_and_reads_the_same(dump: Path, tmp_path: Path) -> None:
    if not dump.is_file():
        pytest.skip("no shared/corpora beside the checkout")
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(dump)))
    done = boot(spec)
    functions = parse_lspci(dump.read_text(errors="replace"))
    assert {dev.name for dev in done.kernel.pci.devices} == {str(one.address) for one in functions}
    assert not [line.text for line in done.kernel.log.lines if "can't size" in line.text]
    if shutil.which("lspci") is None:
        pytest.skip("no lspci on this computer")
    with new_folder(tmp_path / "again") as draft:
        dump_machine(done, draft)
    again = tmp_path / "again" / "pci" / "lspci-xxxx.txt"
    for options in (["-n"], ["-t"], ["-vmmn"]):
        assert lspci(again, *options) == lspci(dump, *options), options
    if dump.name not in MOVED:
        told = (lspci(one, "-vvvn") for one in (dump, again))
        before, after = ([DRIVEN.sub(r"\1", line) for line in lines if not CHANGED.search(line)] for lines in told)
        assert after == before
