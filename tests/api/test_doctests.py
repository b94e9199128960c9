"""The examples in the docstrings of what ``import minikern`` offers, run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

import minikern

MODULES = ("boots", "comparisons", "fits", "machines", "records")
LENIENT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_are_true(name: str) -> None:
    result = doctest.testmod(import_module(f"minikern.api.{name}"), optionflags=LENIENT)
    assert result.attempted and not result.failed


def test_what_is_offered_can_be_had() -> None:
    assert {name for name in minikern.__all__ if getattr(minikern, name).__doc__} == set(minikern.__all__)
    assert set(minikern.__all__) <= set(dir(minikern))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        minikern.nothing  # noqa: B018
