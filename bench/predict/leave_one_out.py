"""Leave one machine out: how well priors of all other machines foretell its boots, whose stamps are hidden.

    python -m bench.predict.leave_one_out SAMPLES.json [MACHINE...]

Phases and figures are phasematch's (../shared/tools), where that lies beside the checkout.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import ModuleType

import msgspec

from bench.predict.judge import phasematch
from bench.predict.logs import machine_logs
from bench.predict.samples import read
from minikern.core.cost_table import default_costs
from minikern.core.costs import Cost
from minikern.core.families import GUEST, as_cost, family_of, over_host
from minikern.describe.case import Case
from minikern.describe.presets import load_machine
from minikern.lab.fit.calibrate import read_timeline
from minikern.lab.fit.kind import family_of_log
from minikern.lab.fit.pool import Sample, pooled_costs, pooled_lines
from minikern.lab.fit.predict import predict
from minikern.lab.run import boot

MECHANISM = (
    "memory", "smp", "deferred", "aml", "interpreter", "acpi-scan", "pci-scan", "iommu", "initramfs", "console",
)  # fmt: skip


@dataclass
class Score:
    """|ln(predicted / real)| by phase, over all boots."""

    phases: dict[str, list[float]] = field(default_factory=dict)

    def add(self, result: dict[str, object], name: str) -> None:
        """One boot's comparison."""
        rows = [row for row in result["phases"] if "ln_ratio" in row]  # type: ignore[attr-defined]
        for row in rows:
            self.phases.setdefault(row["phase"], []).append(row["ln_ratio"])
        print(name, " ".join(f"{row['phase']} {row['ln_ratio']:+.2f}" for row in rows), flush=True)

    def table(self) -> str:
        """The figures, a phase a line."""
        mechanism = [abs(value) for name in MECHANISM for value in self.phases.get(name, [])]
        every = [abs(value) for name, values in self.phases.items() if name != "total" for value in values]
        lines = [f"{name:12} {len(values):3} {median(map(abs, values)):6.2f}" for name, values in self.phases.items()]
        worst = max(map(abs, self.phases.get("total", [0.0])))
        lines.append(f"with a mechanism {median(mechanism):.2f}, all {median(every):.2f}, worst total {worst:.2f}")
        return "\n".join(lines)


def hidden(path: Path, samples: list[Sample], machine: str) -> list[tuple[float, str]]:
    """Predicted (seconds, text) of a boot, from all machines but its own."""
    kernel = boot(hidden_machine(path, samples, machine)).kernel
    kernel.release_memory()
    return [(line.ts_ns / 1e9, line.text) for line in kernel.log.lines]


def hidden_machine(path: Path, samples: list[Sample], machine: str) -> Case:
    """The machine a log tells of, with times from all machines but its own."""
    others = [sample for sample in samples if sample.machine != machine]
    spec, real = load_machine(str(path)), read_timeline(str(path))
    family = family_of_log(spec, real)
    defaults = {kind: cost.ns for kind, cost in default_costs().items()}
    costs = _costs(others, family, defaults)
    if family == GUEST:
        costs = over_host(costs, _costs(others, family_of(spec.cpus, guest=False), defaults))
    return predict(str(path), [], msgspec.structs.replace(spec, costs=costs), pooled_lines(others))


def _costs(samples: list[Sample], family: str, defaults: dict[str, float]) -> dict[str, Cost]:
    return {kind: as_cost(cost, family) for kind, cost in pooled_costs(samples, family, defaults).items()}


def run(samples: list[Sample], only: list[str]) -> Score:
    """All machines, or those named."""
    tool: ModuleType = phasematch()
    score = Score()
    for machine, paths in machine_logs().items():
        for path in paths if not only or machine in only else []:
            try:
                real = tool.lines_of(str(path))
            except ValueError:  # no stamps
                continue
            score.add(tool.compare(real, hidden(path, samples, machine)), path.name)
    return score


if __name__ == "__main__":
    print(run(read(Path(sys.argv[1])), sys.argv[2:]).table())
