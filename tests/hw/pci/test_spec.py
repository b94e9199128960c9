from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from hw.pci.spec import BarSpec, PciFunctionSpec, PciPlace, PciSpec, check_pci, expand_place, load_pci, parse_address

LPC2023 = Path(__file__).resolve().parents[3] / "hw" / "machines" / "lpc2023-pci.toml"


@pytest.mark.parametrize(
    ("text", "name"),
    [("7e:0d.3", "0000:7e:0d.3"), ("0001:00:1f.7", "0001:00:1f.7"), ("10000:e0:00.0", "10000:e0:00.0")],
)
def test_address(text: str, name: str) -> None:
    assert str(parse_address(text, "test")) == name


@pytest.mark.parametrize("text", ["", "0:0.0", "00:20.0", "00:1f.8", "00:1f", "zz:00.0", "00:00.0 "])
def test_bad_address(text: str) -> None:
    with pytest.raises(InputError, match="not a PCI address"):
        parse_address(text, "test")


def test_places() -> None:
    assert expand_place("7f:00-01.6-7") == ["7f:00.6", "7f:00.7", "7f:01.6", "7f:01.7"]
    assert expand_place("0001:7f:1e.3") == ["0001:7f:1e.3"]
    for bad in ("7f:02-01.0", "7f:1f-20.0", "7f:00.3-2", "7f", "7f:00.8"):
        with pytest.raises(InputError, match=r"pci\.places"):
            expand_place(bad)


def test_talk_machine_is_what_the_talk_says() -> None:
    spec = load_pci(LPC2023)
    functions = spec.all_functions()
    kinds = {function.id for function in functions}
    assert len(kinds) == len(spec.kinds) == 57
    assert len(spec.needed) == len(set(spec.needed)) == 15
    assert set(spec.needed) < kinds
    assert functions[-1].bdf == "ff:1e.7"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0"), PciFunctionSpec(bdf="0000:00:00.0")]), "two functions"),
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", kind="root_port")]), "bridge needs secondary"),
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", raw=bytes(100))]), "100 raw bytes"),
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", bars=[BarSpec(0, "mem32", 48)])]), "not a power of two"),
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", bars=[BarSpec(5, "mem64", 64)])]), "does not fit"),
        (PciSpec(functions=[PciFunctionSpec(bdf="00:00.0", bars=[BarSpec(0, "mem64", 64), BarSpec(1, "io", 8)])]),
         "overlaps another"),
        (PciSpec(places=[PciPlace(kind="nope", at=["00:00.0"])]), "not one of"),
        (PciSpec(ecam_start_bus=2, ecam_end_bus=1), "ecam_end_bus"),
    ],
)
def test_refused(spec: PciSpec, words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_pci(spec, "test")


def test_unknown_key_names_file(tmp_path: Path) -> None:
    path = tmp_path / "pci.toml"
    path.write_text("[[functions]]\nbdf = '00:00.0'\ncolour = 1\n")
    with pytest.raises(InputError, match=r"pci\.toml.*colour"):
        load_pci(path)
