"""The tool that measures phases, where it lies beside the checkout."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

PHASEMATCH = Path(__file__).parents[2] / "../shared/tools/phasematch.py"


def phasematch() -> ModuleType:
    """The module. FileNotFoundError where there is none."""
    spec = importlib.util.spec_from_file_location("phasematch", PHASEMATCH)
    if spec is None or spec.loader is None or not PHASEMATCH.is_file():
        raise FileNotFoundError(PHASEMATCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
