"""Write the cost tables of the families and the table of line prices from fitted logs.

    python -m bench.predict.make_priors SAMPLES.json [FOLDER...]

SAMPLES.json is read if it is there, else made from the logs of the folders (default: those beside the checkout).
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import tomli_w

from bench.predict.samples import collect, read, write
from minikern.core.cost_table import default_costs
from minikern.core.families import load_families
from minikern.lab.fit import line_prices
from minikern.lab.fit.pool import Sample, pooled_costs, pooled_lines

ROOT = Path(__file__).parents[2]


def write_priors(samples: list[Sample]) -> None:
    """Both tables, in their places in the sources."""
    defaults = {kind: cost.ns for kind, cost in default_costs().items()}
    for name, family in load_families().items():
        costs = pooled_costs(samples, name, defaults)
        machines = len({sample.machine for sample in samples if sample.family == name})
        body = msgspec.to_builtins(msgspec.structs.replace(family, costs=costs, machines=machines))
        (ROOT / "hw/costs/families" / f"{name}.toml").write_text(tomli_w.dumps(body))
    (ROOT / "minikern/lab/fit" / line_prices.FILE).write_text(pooled_lines(samples).text())


def main(words: list[str]) -> None:
    """See the module's text."""
    path = Path(words[0])
    if not path.is_file():
        write(collect([Path(word) for word in words[1:]] or None), path)
    write_priors(read(path))


if __name__ == "__main__":
    main(sys.argv[1:])
