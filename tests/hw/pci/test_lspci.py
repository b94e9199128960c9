from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.bus import Bus
from hw.errors import InputError
from hw.pci.assign import assign_resources
from hw.pci.config import ConfigSpace
from hw.pci.host import attach_pci
from hw.pci.lspci import LspciDevice, describe, format_lspci, parse_lspci
from hw.pci.spec import Address, load_pci

ROOT = Path(__file__).resolve().parents[3]
CORPUS = ROOT.parent / "shared" / "corpora" / "pci"
DUMPS = sorted((CORPUS / "pciutils").glob("*")) if CORPUS.is_dir() else []
ORACLES = sorted((CORPUS / "lspci-oracle").glob("*.json.gz")) if CORPUS.is_dir() else []
LSPCI = shutil.which("lspci")

needs_lspci = pytest.mark.skipif(LSPCI is None, reason="lspci is not installed")
needs_corpus = pytest.mark.skipif(not DUMPS, reason="no corpus of lspci dumps beside the project")


def lspci(*args: str) -> str:
    assert LSPCI is not None
    done = subprocess.run([LSPCI, *args], capture_output=True, text=True, check=True)
    return done.stdout


ADDRESSES = st.builds(Address, st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 255))
CONFIGS = st.sampled_from([64, 256]).flatmap(lambda size: st.binary(min_size=size, max_size=size))


@given(st.lists(st.builds(LspciDevice, ADDRESSES, st.just("0600: 8086:29c0"), CONFIGS), max_size=3))
def test_round_trip(devices: list[LspciDevice]) -> None:
    text = format_lspci(devices)
    assert parse_lspci(text) == devices
    assert format_lspci(parse_lspci(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("00: 86 80\n", "before any function"),
        ("00:00.0 x\n10: 86 80\n", "offset 0x10 after 0x0"),
        ("00:00.0 x\n00: 86 80\n10: 00\n", "offset 0x10 after 0x2"),
        ("00:3f.0 x\n", "not a PCI address"),
        ("00:00.0 x\n" * 16385, "more than 16384 functions"),
    ],
)
def test_bad_dumps(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_lspci(text)


@given(st.text(alphabet="0123456789abcdef:. \n\t", max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_lspci(text)
    except InputError as error:
        assert "lspci dump" in str(error)


@needs_corpus
@pytest.mark.oracle
@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.name)
def test_published_dumps_round_trip(path: Path) -> None:
    devices = parse_lspci(path.read_text("utf-8", "replace"))
    assert devices and all(len(device.config) in (64, 128, 176, 256, 4096) for device in devices)
    assert parse_lspci(format_lspci(devices)) == devices


@needs_corpus
@needs_lspci
@pytest.mark.oracle
@pytest.mark.parametrize("path", DUMPS, ids=lambda path: path.name)
def test_lspci_reads_our_dump_as_it_reads_the_original(path: Path, tmp_path: Path) -> None:
    ours = tmp_path / "dump"
    ours.write_text(format_lspci(parse_lspci(path.read_text("utf-8", "replace"))))
    assert lspci("-n", "-vvv", "-F", str(ours)) == lspci("-n", "-vvv", "-F", str(path))


@pytest.mark.skipif(not ORACLES, reason="no recorded lspci output beside the project")
@pytest.mark.oracle
@pytest.mark.parametrize("path", ORACLES, ids=lambda path: path.name)
def test_headings_are_what_lspci_printed(path: Path) -> None:
    recorded = json.loads(gzip.decompress(path.read_bytes()))
    dump = CORPUS / "pciutils" / path.name.removeprefix("pciutils-").removesuffix(".json.gz")
    devices = parse_lspci(dump.read_text("utf-8", "replace"))
    lines = recorded["n"].splitlines()
    named = [line.split(" ", 1)[1].split(" (prog-if")[0] for line in lines]
    ours = {describe(device.address, ConfigSpace(device.config)).title for device in devices}
    assert ours == set(named)


@needs_lspci
@pytest.mark.oracle
def test_lspci_sees_the_talk_machine(tmp_path: Path) -> None:
    topology = attach_pci(Bus(), load_pci(ROOT / "hw" / "machines" / "lpc2023-pci.toml"))
    assign_resources(topology)
    devices = [describe(function.address, function.config) for function in topology.functions()]
    dump = tmp_path / "dump"
    dump.write_text(format_lspci(devices))
    seen = lspci("-n", "-D", "-F", str(dump)).splitlines()
    assert sorted(seen) == sorted(device.heading() for device in devices)
    verbose = lspci("-n", "-vvv", "-F", str(dump))
    integrated = [function for function in topology.functions() if function.spec.kind == "rciep"]
    assert verbose.count("Root Complex Integrated Endpoint") == len(integrated)
    assert not any(word in verbose for word in ("chain broken", "chain looped", "access denied", "!!!"))
