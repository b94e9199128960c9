from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.acpi import aml
from tests.naive_acpi import eisa_text, pkg_length


@given(st.integers(0, 1 << 20))
def test_pkg_length_counts_itself(content: int) -> None:
    coded = aml.pkg_length(content)
    assert pkg_length(coded) == (content + len(coded), len(coded))


def test_pkg_length_refuses_too_much() -> None:
    with pytest.raises(ValueError, match="2\\^28"):
        aml.pkg_length(1 << 28)


@pytest.mark.parametrize(
    ("path", "coded"),
    [
        ("\\", b"\\\0"),
        ("FOO", b"FOO_"),
        ("^^BAR1", b"^^BAR1"),
        ("\\_SB", b"\\_SB_"),
        ("\\_SB.PCI0", b"\\\x2e_SB_PCI0"),
        ("A.B.C", b"\x2f\x03A___B___C___"),
    ],
)
def test_name_path(path: str, coded: bytes) -> None:
    assert aml.name_path(path) == coded


@pytest.mark.parametrize("bad", ["1ABC", "abcd", "TOOLONG", "A-B"])
def test_bad_names_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="no AML name"):
        aml.name_seg(bad)


@pytest.mark.parametrize("text", ["PNP0A08", "PNP0A03", "PNP0C0F", "PNP0103"])
def test_eisa_id(text: str) -> None:
    coded = aml.eisa_id(text)
    assert coded[0] == 0x0C
    assert eisa_text(int.from_bytes(coded[1:], "little")) == text


def test_eisa_id_of_the_specification() -> None:
    assert aml.eisa_id("PNP0A08") == b"\x0c\x41\xd0\x0a\x08"


@settings(max_examples=60)
@given(st.integers(0, (1 << 64) - 1))
def test_integer_is_shortest(value: int) -> None:
    coded = aml.integer(value)
    if value in (0, 1, (1 << 64) - 1):
        assert len(coded) == 1
    else:
        size = next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size)
        assert coded[1:] == value.to_bytes(size, "little")


def test_address_space_descriptor() -> None:
    word = aml.address_space(16, "bus", 0, 0xFF)
    assert word[:3] == b"\x88\x0d\x00"
    assert word[-2:] == (0x100).to_bytes(2, "little")
    assert len(aml.address_space(64, "mem", 1 << 32, (1 << 33) - 1, True)) == 3 + 0x2B
