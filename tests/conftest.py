"""One hypothesis profile for every run: the same examples on every machine, more where they are asked for."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if "MINIKERN_RANDOM" in os.environ else "repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("minikern")
    group.addoption("--kill-moments", type=int, default=40, help="Random moments at which commands are killed.")
    group.addoption("--mutants", type=int, default=600, help="Wrong memory maps that are made for the check to find.")
    group.addoption("--fuzz-minutes", type=float, default=0.0, help="Minutes of inputs for each reader; 0: a few.")
