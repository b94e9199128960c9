"""Published before/after figures: is what a change saves foretold from the figure before it?

    python -m bench.predict.published [FILE.toml]

Each row's machine is described by its CPUs, nodes, memory and processor, as the command line would; its time before the
change counts as measured, the time after it is predicted and never looked at. What the figures mean is in the file
(../shared/published.toml where that lies beside the checkout).
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from minikern.core.costs import Measured
from minikern.core.kernel import BootOptions
from minikern.core.variant import load_variant
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case
from minikern.describe.presets import load_preset
from minikern.lab.fit.measured import fit_measured
from minikern.lab.run import boot

FILE = Path(__file__).parents[2] / "../shared/published.toml"
PHASES = (
    ("deferred pages", "deferred"),
    ("hugepages", "hugepages"),
    ("SMP bring-up|cpu_up", "smp"),
    ("host bridge", "pci"),
    ("boot|/init", "total"),
)
CHANGES = (
    ("node('s)? thread alone", "deferred-one-thread", "deferred"),
    ("DEFERRED_STRUCT_PAGE_INIT on", "baseline", "deferred"),
    ("2 MiB hugepages at boot in parallel", "hugetlb-2m-6.7", "hugetlb-2m-6.9"),
    ("delay calibration of CPU 0 reused", "deferred", "serial-reuse"),
    ("tsc=reliable", "parallel-smp", "parallel-tsc-reliable"),
    ("HVO on: tail struct pages skipped", "hugepages", "hvo-skip"),
    ("HVO off: tail struct pages skipped", "hugepages-noskip-hvo-off", "hugepages-skip-hvo-off"),
    ("parallel|part 1 and delay", "deferred", "parallel-smp"),
)


class Outcome(NamedTuple):
    """One row: ms before (as the fitted boot has it), predicted after."""

    before_ms: float
    after_ms: float


def first(table: Any, text: str) -> Any:
    """What the first pattern that is found in ``text`` stands for; None where none is."""
    return next((row[1:] for row in table if re.search(row[0], text)), None)


def described(row: dict[str, Any]) -> Case:
    """The machine of a row."""
    spec = load_preset("tiny")
    named = row["cpu_model"].split(",")[0]
    named = named if re.search("Xeon|EPYC|Ryzen|Core|lake", named) else "Xeon"
    shape = f"{row['cpus']},sockets={row['sockets']},cores={row['cores_per_socket']},threads={row['threads_per_core']}"
    size = int(re.sub(r"\D", "", row["memory"] or "192G")) * (1024 if row["memory"].endswith("T") else 1)
    numa = [f"{size // row['nodes']}G"] * row["nodes"]
    adjust(spec, Adjustments(shape, numa=numa, cpu=named + (",guest" if row["virtual"] else "")))
    return spec


def predicted(row: dict[str, Any]) -> Outcome | None:
    """The row's times as predicted; None where what changed has no variants."""
    change, phase = first(CHANGES, row["change"]), first(PHASES, row["phase"])
    if change is None or phase is None:
        return None
    spec = described(row)
    spec.measured = [Measured(phase[0], float(row["before_ms"]), row["source"], change[0])]
    spec = fit_measured(spec)
    times = []
    for name in change:
        done = boot(spec, load_variant(name), options=BootOptions(vmemmap="counted")).kernel
        spent = done.phase_ns()
        times.append((sum(spent.values()) if phase[0] == "total" else spent.get(phase[0], 0)) / 1e6)
        done.release_memory()
    return Outcome(*times)


def main(path: Path) -> None:
    """See the module's text."""
    errors = []
    for row in tomllib.loads(path.read_text())["row"]:
        found = predicted(row)
        if found is None:
            print(f"{row['id']:28} no variants for: {row['change']}")
            continue
        real, told = row["before_ms"] - row["after_ms"], found.before_ms - found.after_ms
        error = told / real - 1
        errors += [] if row["seen"] else [abs(error)]
        note = " (fitted: no proof)" if row["seen"] else ""
        print(
            f"{row['id']:28} before {row['before_ms']:7.1f} as {found.before_ms:7.1f}  after {row['after_ms']:7.1f}"
            f" predicted {found.after_ms:7.1f}  saving {real:7.1f} predicted {told:7.1f} ({error:+.0%}){note}",
            flush=True,
        )
    print(f"{len(errors)} rows nobody fitted: median error {median(errors):.0%}, worst {max(errors):.0%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
