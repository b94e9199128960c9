"""The oldest versions that pyproject.toml says are enough, as constraints for pip.

    python tests/supply/lowest.py EXTRA... > lowest.txt && pip install --constraint lowest.txt '.[EXTRA]'
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
_BOUND = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9][0-9a-z.]*)")


def lowest(extras: Sequence[str]) -> Iterator[str]:
    """One line a dependency, each at its lower bound. ValueError: one has another kind of bound."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    for requirement in sorted(set(wanted)):
        match = _BOUND.fullmatch(requirement)
        if match is None:
            raise ValueError(f"{requirement}: expected NAME>=VERSION")
        yield f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    print("\n".join(lowest(sys.argv[1:])))
