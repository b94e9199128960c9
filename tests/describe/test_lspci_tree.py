"""The tree of lspci -t as a machine's PCI."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.errors import InputError
from hw.pci.lspci import parse_lspci
from minikern.describe.beside import Beside, lay_over
from minikern.describe.lspci_tree import UNKNOWN_ID, parse_tree, pci_of_tree
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.support import SHARED

PLAIN = """\
-+-[0000:80]-+-01.0-[81]----00.0
 |           \\-05.0
 \\-[0000:00]-+-00.0
             +-01.0-[01-04]----00.0-[02-04]--+-00.0-[03]--+-00.0
             |                               |            \\-00.1
             |                               \\-08.0-[04]--
             +-1c.0-[05-06]----00.0-[06]----03.0
             +-1e.0-[07]--+-01.0
             |            \\-02.0
             \\-1f.0
"""
KINDS = {
    "0000:00:01.0": "root_port", "0000:01:00.0": "upstream", "0000:02:00.0": "downstream", "0000:03:00.1": "endpoint",
    "0000:00:1c.0": "root_port", "0000:05:00.0": "pcie_pci_bridge", "0000:06:03.0": "conventional",
    "0000:00:1e.0": "pci_bridge", "0000:07:02.0": "conventional", "0000:80:05.0": "conventional",
}  # fmt: skip
DUMPS = SHARED / "corpora" / "pci" / "pciutils"


def test_buses_bridges_and_kinds() -> None:
    spec = pci_of_tree(PLAIN, "tree")
    assert [(one.first_bus, one.last_bus, one.name) for one in spec.host_bridges] == [
        (0x80, 0xFF, "PCI0"), (0, 0x7F, "PCI1")
    ]  # fmt: skip
    found = {one.bdf: one for one in spec.functions}
    assert len(found) == 17
    assert {bdf: found[bdf].kind for bdf in KINDS} == KINDS
    assert (found["0000:00:01.0"].secondary, found["0000:00:01.0"].subordinate) == (1, 4)
    assert (found["0000:02:08.0"].secondary, found["0000:02:08.0"].subordinate) == (4, 4)
    assert {one.id for one in found.values()} == {UNKNOWN_ID}


def test_names_and_ids_behind_functions() -> None:
    line = "-[0000:00]-+-00.0  Intel Corporation 82G33 [Bearlake] DRAM [8086:29c0]\n           +-01.0  8086:1234\n"
    functions = pci_of_tree(f"{line}           \\-02.0  Red Hat, Inc. Virtio [1000] device\n", "tree").functions
    assert [one.id for one in functions] == ["8086:29c0", "8086:1234", UNKNOWN_ID]
    assert functions[0].class_code == 0x060000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("-[0000:00]-+-00.0\n    \\-01.0\n", "tree:2: '    .*hangs on no branch"),
        ("-[0000:00]-+-01.0-[01-00]----00.0\n", "tree:1: bus .01-00. behind bus 00: expected larger numbers"),
        ("-[0000:00]-+-02.0\n           \\-01.0\n", "tree:2: function 0000:00:01.0 after 0000:00:02.0"),
        ("-+-[0000:80]---01.0\n \\-[0000:80]---02.0\n", "tree:2: root bus .0000:80. a second time"),
        ("-[0000:00]-+-01.0x\n", "tree:1: 'x': expected a name or a bus"),
        ("-[0000:00]-+-zz.0\n", "tree:1: 'zz.0': expected a bus .01. or a function 00.0"),
    ],
)
def test_what_is_no_tree_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        pci_of_tree(text, "tree")


@given(st.integers(0, len(PLAIN)), st.text(alphabet="-+\\|[]: 0123456789af.\n", max_size=8))
def test_damaged_trees_end_in_one_line(at: int, more: str) -> None:
    try:
        parse_tree(PLAIN[:at] + more + PLAIN[at:], "tree")
    except InputError as error:
        assert str(error).startswith("tree:")


def test_every_function_of_the_tree_boots(tmp_path: Path) -> None:
    (tmp_path / "tree.txt").write_text(PLAIN)
    spec = load_machine("tiny")
    lay_over(spec, Beside(pci=str(tmp_path / "tree.txt")))
    assert {dev.name for dev in boot(spec).kernel.pci.devices} == {one.bdf for one in pci_of_tree(PLAIN, "").functions}
    assert any("no vendor of 17" in note for note in spec.notes)


def test_a_logs_functions_keep_what_the_log_tells(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(format_dmesg(boot(load_machine("laptop")).kernel))
    logged = {one.bdf: one for one in load_machine(str(tmp_path / "log.txt")).pci.functions}
    rows = sorted({bdf.rpartition(":")[2] for bdf in logged if bdf.startswith("0000:00:")} | {"13.0"})
    branches = [f"{'-[0000:00]-' if row == rows[0] else ' ' * 11}+-{row}" for row in rows]
    (tmp_path / "tree.txt").write_text("\n".join(branches) + "\n")
    spec = load_machine(str(tmp_path / "log.txt"))
    lay_over(spec, Beside(pci=str(tmp_path / "tree.txt")))
    found = {one.bdf: one for one in spec.pci.functions}
    assert found.pop("0000:00:13.0").id == UNKNOWN_ID
    assert found == {bdf: one for bdf, one in logged.items() if bdf in found} and found


def test_a_tree_alone_is_a_machine(tmp_path: Path) -> None:
    (tmp_path / "tree.txt").write_text(PLAIN)
    spec = load_machine(str(tmp_path / "tree.txt"))
    assert len(spec.pci.functions) == 17 and any(note.startswith("missing: processors") for note in spec.notes)
    (tmp_path / "lspci.txt").write_text("00:1f.0 Class 0601: 8086:2918\n")
    assert [one.id for one in load_machine(str(tmp_path / "lspci.txt")).pci.functions] == ["8086:2918"]
    (tmp_path / "names.txt").write_text("00:1f.0 ISA bridge: Intel Corporation\n")
    with pytest.raises(InputError, match="no function with its bytes or ids"):
        load_machine(str(tmp_path / "names.txt"))


@pytest.mark.oracle
@pytest.mark.parametrize("option", ["-t", "-tv", "-tvn", "-tvnn", "-Dt"])
def test_lspcis_own_trees(option: str) -> None:
    if not DUMPS.is_dir() or shutil.which("lspci") is None:
        pytest.skip("no lspci on this computer, or no shared/corpora beside the checkout")
    for dump in sorted(DUMPS.iterdir()):
        run = subprocess.run(["lspci", "-F", str(dump), option], capture_output=True, text=True, check=True)
        wanted = {str(one.address) for one in parse_lspci(dump.read_text(errors="replace"))}
        assert {one.bdf for one in pci_of_tree(run.stdout, dump.name).functions} == wanted, dump.name
