"""``minikern acpi``: tables from everywhere, looked into by the command itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from minikern.cli import main
from minikern.describe.acpidump import DumpedTable, write_acpidump
from tests.acpi import acpiexec
from tests.support import SHARED


def call(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["acpi", *words])
    assert done.exit_code == status, done.output
    return done


def read(*words: str) -> Any:
    return json.loads(call(*words, "--json").stdout)


def table(*terms: bytes, signature: str = "DSDT", ids: TableIds | None = None) -> bytes:
    return sdt(signature, 2, b"".join(terms), ids or TableIds())


TEMPLATE = bytes.fromhex("4701600060000101220200" + "7900")
DSDT = table(
    aml.device("DEV0", [
        aml.name("_HID", aml.hardware_id("PNP0A08")),
        aml.name("_UID", aml.integer(3)),
        aml.name("_CRS", aml.buffer(TEMPLATE)),
        aml.method("_STA", 0, [aml.return_(aml.integer(15))]),
        aml.method("FAIL", 0, [aml.return_(aml.call("GONE"))]),
        aml.method("SUM2", 2, [aml.return_(aml.add(aml.arg(0), aml.arg(1)))]),
    ]),
)  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The same tables in every form a user may have them."""
    ssdt = table(aml.name("MORE", aml.integer(7)), signature="SSDT")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "SSDT.dat").write_bytes(ssdt)
    (folder / "DSDT.dat").write_bytes(DSDT)
    dump = tmp_path / "acpidump.txt"
    dump.write_text(write_acpidump([DumpedTable("SSDT", 0x1000, ssdt), DumpedTable("DSDT", 0x2000, DSDT)]))
    return {"folder": str(folder), "dump": str(dump), "dsdt": str(folder / "DSDT.dat"), "root": str(tmp_path)}


def test_every_form_of_the_tables_has_the_same_namespace(files: dict[str, str]) -> None:
    trees = [
        [(row["path"], row["type"]) for row in read("tree", *sources)]
        for sources in ([files["folder"]], [files["dump"]], [files["dsdt"], files["folder"] + "/SSDT.dat"])
    ]
    assert trees[0] == trees[1] == trees[2]
    assert ("\\DEV0._CRS", "Buffer") in trees[0] and ("\\MORE", "Integer") in trees[0]
    assert ("\\MORE", "Integer") not in [(row["path"], row["type"]) for row in read("tree", files["dsdt"])]


def test_tree_says_what_a_device_is(files: dict[str, str]) -> None:
    (row,) = read("tree", files["folder"], "--type", "device", "--path", "\\DEV0")
    assert row == {"path": "\\DEV0", "type": "Device", "owner": 1, "ids": ["PNP0A08"], "status": 15,
                   "driver": "pci_root"}  # fmt: skip
    assert "DEV0 Device      PNP0A08  <- pci_root" in call("tree", files["folder"]).stdout


def test_eval_gives_value_type_and_meaning(files: dict[str, str]) -> None:
    found = read("eval", files["dump"], "\\DEV0._CRS")
    assert (found["path"], found["type"], found["value"]) == ("\\DEV0._CRS", "Buffer", {"buffer": TEMPLATE.hex()})
    assert found["decoded"] == ["I/O 0x60-0x60", "irq 1 edge high"]
    assert read("eval", files["dump"], "\\DEV0.SUM2", "40", "0x2")["value"] == 42
    assert read("eval", files["dump"], "DEV0.SUM2"[:0] + "\\DEV0._HID")["decoded"] == ["PNP0A08"]
    assert "irq 1 edge high" in call("eval", files["dump"], "\\DEV0._CRS").stdout


def test_eval_traces_terms_with_their_places(files: dict[str, str]) -> None:
    terms = read("eval", files["dsdt"], "\\DEV0.SUM2", "1", "2", "--trace")["trace"]
    assert [line.split()[-1] for line in terms] == ["Return", "Add", "Arg0", "Arg1"]
    offsets = [int(line.split()[-2], 16) for line in terms]
    assert [DSDT[offset] for offset in offsets] == [0xA4, 0x72, 0x68, 0x69]


def test_a_failed_evaluation_says_where(files: dict[str, str]) -> None:
    done = call("eval", files["dsdt"], "\\DEV0.FAIL", status=1)
    assert done.stderr.splitlines()[-1].startswith("minikern: \\DEV0.FAIL: AE_NOT_FOUND in \\DEV0.FAIL, before offset")
    assert any("Could not resolve symbol [\\DEV0.FAIL.GONE]" in line for line in done.stderr.splitlines())


def test_tables_tell_damage_and_repetition(tmp_path: Path) -> None:
    damaged = bytearray(table(aml.name("MORE", aml.ONE), signature="SSDT"))
    damaged[9] ^= 1
    newer = table(aml.name("ELSE", aml.ONE), signature="SSDT", ids=TableIds(oem_revision=99))
    for number, data in enumerate((DSDT, bytes(damaged), bytes(damaged), newer)):
        (tmp_path / f"{data[:4].decode()}{number}.dat").write_bytes(data)
    rows = read("tables", str(tmp_path))
    assert [row["signature"] for row in rows] == ["DSDT", "SSDT", "SSDT", "SSDT"]
    assert rows[0]["checksum"] == "ok" and rows[0]["devices"] == 1
    assert rows[1]["checksum"] == f"0x{damaged[9]:02X}, should be 0x{damaged[9] ^ 1:02X}"
    assert rows[2]["note"] == "the same bytes as an earlier table: not loaded again"
    assert rows[3]["note"] == "the ids of an earlier table, newer than it"


def test_cost_adds_up(files: dict[str, str], tmp_path: Path) -> None:
    flame = tmp_path / "flame.json"
    found = read("cost", "lpc2023", "--flame", str(flame))
    tree = json.loads(flame.read_text())
    assert tree["value"] == found["total_ns"] == sum(child["value"] for child in tree["children"])
    assert sum(row["terms"] for row in found["by_device"]) == sum(row["terms"] for row in found["by_method"])
    assert found["by_device"] == sorted(found["by_device"], key=lambda row: (-row["ns"], row["device"]))
    assert call("cost", files["folder"]).stdout.startswith("total ")


def test_diff_names_what_moved(files: dict[str, str], tmp_path: Path) -> None:
    other = tmp_path / "other.dat"
    other.write_bytes(DSDT.replace(b"DEV0", b"DEV9").replace(b"SUM2", b"SUM3"))
    found = read("diff", files["dsdt"], str(other))
    assert found["moved"] == [{"id": "PNP0A08", "from": "\\DEV0", "to": "\\DEV9"}]
    assert found["appeared"] == found["vanished"] == []
    same = read("diff", files["dsdt"], files["dsdt"])
    assert not any(same.values())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tree", "nosuch"], "unknown machine 'nosuch'"),
        (["tree", "{root}/folder/SSDT.dat"], "no DSDT among the tables (found: SSDT)"),
        (["tree", "{dsdt}", "nosuch"], "nosuch: no such file"),
        (["tree", "{dsdt}", "--type", "Foo"], "--type Foo: expected one of Untyped, Integer"),
        (["tree", "{dsdt}", "--path", "\\DEV0.NOPE"], "\\DEV0.NOPE: no such object (\\DEV0 has FAIL, SUM2, _CRS"),
        (["tree", "{dsdt}", "--fill", "300"], "--fill 300: expected a byte"),
        (["eval", "{dsdt}", "DEV0"], "expected a source and a path that begins with a backslash"),
        (["eval", "{dsdt}", "\\DEV0.SUM2", "1", "2", "3"], "3 arguments given, 2 expected"),
        (["eval", "{dsdt}", "\\DEV0.SUM2", "(xy)"], "expected bytes in hexadecimal"),
        (["eval", "{dsdt}", "\\DEV0.SUM2", "99999999999999999999"], "expected a number below 2**64"),
        (["tables", "{root}/short.dat"], "the table says it has"),
        (["tables", "{root}/broken.txt"], "expected 'SIGN @ 0xADDRESS' or a hex row"),
    ],
)
def test_bad_input_is_one_line(files: dict[str, str], words: list[str], text: str) -> None:
    Path(files["root"], "short.dat").write_bytes(DSDT[:60])
    Path(files["root"], "broken.txt").write_text("DSDT @ 0x0000000000001000\n    0000: XY\n")
    done = call(*(word.format(**files) for word in words), status=2)
    assert len(done.stderr.splitlines()) == 1 and text in done.stderr


DUMPS = sorted((SHARED / "corpora" / "acpi" / "acpidump").glob("*.gz"))


@pytest.mark.oracle
@pytest.mark.skipif(not DUMPS, reason="no corpora beside the checkout")
def test_a_servers_dump_is_read_as_acpiexec_reads_it() -> None:
    oracle = acpiexec.verdict(DUMPS[-1])
    rows = [(row["path"], row["type"]) for row in read("tree", str(DUMPS[-1]))]
    assert sorted(rows) == sorted((path, kind) for path, kind, *_ in oracle["namespace"] if "_TI_" not in path)
