"""Declarative registers."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw import registers
from hw.registers import Bits, Register


class Example(Register, width=16):
    vector = Bits(7, 0)
    mode = Bits(10, 8)
    mask = Bits(15)


def test_the_example_in_the_documentation() -> None:
    result = doctest.testmod(registers)
    assert result.attempted > 0 and result.failed == 0


def test_declaration() -> None:
    assert list(Example.fields) == ["vector", "mode", "mask"]
    assert Example.defined == 0x87FF and Example.mask.mask == 0x8000


@given(st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(0, 7), st.integers(0, 1))
def test_fields_are_independent(word: int, vector: int, mode: int, mask: int) -> None:
    register = Example(word)
    register.vector, register.mode, register.mask = vector, mode, mask
    assert (register.vector, register.mode, register.mask) == (vector, mode, mask)
    assert register.reserved == word & 0x7800
    assert register == Example(word).replace(mask=mask, vector=vector, mode=mode)
    assert hash(register) == hash(Example(register.value))


def test_values_are_cut_to_the_width() -> None:
    assert Example(0x1_2345).value == 0x2345


@pytest.mark.parametrize("value", [8, -1])
def test_a_value_too_wide_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit bits 10:8"):
        Example.of(mode=value)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError):
        Example.of(nothing=1)


def test_wrong_declarations_are_refused() -> None:
    with pytest.raises(TypeError, match="overlap"):
        type("Overlap", (Register,), {"a": Bits(3, 0), "b": Bits(5, 3)})
    with pytest.raises(TypeError, match="width"):
        type("Wide", (Register,), {"a": Bits(32)})
    with pytest.raises(TypeError, match="wrong way"):
        Bits(0, 3)


def test_repr_names_every_field() -> None:
    assert repr(Example(0x8123)) == "Example(0x8123: vector=0x23 mode=0x1 mask=0x1)"
