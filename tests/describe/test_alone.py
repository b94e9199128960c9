"""One kind of file alone is a machine: ACPI tables, or the kernel's resource tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.acpi.layout import FADT_V6
from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.errors import InputError
from hw.spec import CpuSpec, NodeMemory
from minikern.describe.acpidump import DumpedTable, write_acpidump, write_dat_folder
from minikern.describe.presets import is_log, load_machine
from minikern.lab.run import boot

TREE = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-3ffdffff : System RAM
  01000000-01ffffff : Kernel code
{acpi}100000000-17fffffff : System RAM
"""


def tables() -> list[tuple[str, bytes]]:
    spec = AcpiSpec(base=0x7FE0_0000, size=1 << 20)
    nodes = [(7, [0, 1], [NodeMemory(0, 2 << 30)]), (8, [2, 3], [NodeMemory(4 << 30, 2 << 30)])]
    built = build_tables(spec, CpuSpec(count=4, cores=4).topology(), nodes)
    return [(data[:4].decode(), data) for _, data in built if data[:4] != b"RSD "]


@pytest.mark.parametrize("folder", [False, True])
def test_acpi_tables_alone(tmp_path: Path, folder: bool) -> None:
    if folder:
        path = tmp_path / "acpi"
        path.mkdir()
        write_dat_folder(path, tables())
    else:
        path = tmp_path / "acpidump.txt"
        path.write_text(write_acpidump(DumpedTable(name, 0, data) for name, data in tables()))
    assert not is_log(str(path))
    spec = load_machine(str(path))
    assert [note.split(": ")[0] for note in spec.notes] == ["read", "missing", "assumed"]
    log = [line.text for line in boot(spec).kernel.log.lines]
    assert "ACPI: SRAT: Node 0 PXM 7 [mem 0x00000000-0x7fffffff]" in log
    assert "ACPI: SRAT: Node 1 PXM 8 [mem 0x100000000-0x17fffffff]" in log
    assert "smp: Brought up 2 nodes, 4 CPUs" in log
    dsdt = next(line for line in log if line.startswith("ACPI: DSDT 0x"))
    told = FADT_V6.get(dict(tables())["FACP"], "x_dsdt")
    assert int(dsdt.split()[2], 16) == told


def test_the_resource_tree_alone(tmp_path: Path) -> None:
    path = tmp_path / "iomem.txt"
    path.write_text(TREE.format(acpi="3ffe0000-3fffffff : ACPI Tables\n"))
    spec = load_machine(str(path))
    log = [line.text for line in boot(spec).kernel.log.lines]
    assert "BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data" in log
    assert "  node   0: [mem 0x0000000100000000-0x000000017fffffff]" in log
    path.write_text(TREE.format(acpi=""))
    assert any(entry.type == 3 for entry in load_machine(str(path)).e820)


def test_an_ordinary_users_tree_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "iomem"
    path.write_text("00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n")
    with pytest.raises(InputError, match="no memory in it: /proc/iomem shows addresses to root only"):
        load_machine(str(path))


def test_an_empty_file_is_no_machine(tmp_path: Path) -> None:
    (tmp_path / "nothing").write_text("")
    with pytest.raises(InputError, match="no boot log"):
        load_machine(str(tmp_path / "nothing"))


LOG = """\
Linux version 6.1.0 (a@b) #1 SMP
Command line: quiet
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000003ffdffff] usable
BIOS-e820: [mem 0x000000003ffe0000-0x000000003fffffff] ACPI data
smpboot: Allowing 2 CPUs, 0 hotplug CPUs
"""


def test_a_collectors_folder(tmp_path: Path) -> None:
    report = tmp_path / "sosreport-box"
    for place, text in (("sos_commands/kernel/dmesg", LOG), ("boot/config-6.1.0", "CONFIG_HZ=100\n")):
        (report / place).parent.mkdir(parents=True)
        (report / place).write_text(text)
    spec = load_machine(str(report))
    assert spec.name == "sosreport-box" and spec.cpus.count == 2 and "missing: lspci's text" in spec.notes
    assert spec.build is not None and spec.build.config["CONFIG_HZ"] == 100


def test_a_folder_of_proc_and_sys(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/iomem").write_text(TREE.format(acpi=""))
    spec = load_machine(str(tmp_path))
    assert any("missing: a boot log" in note for note in spec.notes)
    assert sum(entry.type == 1 for entry in spec.e820) >= 3
