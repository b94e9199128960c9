"""Timings in the format of pytest-benchmark, for ``pytest-benchmark compare`` and whatever else reads it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from minikern.lab.check import Verdict
from minikern.lab.check_time import Clocked, Timing
from minikern.report.json_text import json_text

FORMAT = "5.1.0"  # of pytest-benchmark; Source: pytest_benchmark/stats.py:Metadata.as_dict(), Stats


def benchmark_json(verdicts: Sequence[Verdict], host: Mapping[str, Any], version: str) -> str:
    """All timings of right functions, two rounds or more; ``host`` says what this ``version`` measured them on."""
    body = {
        "machine_info": _machine(host),
        "commit_info": {"id": version, "project": "minikern", "dirty": False, "time": None, "branch": None},
        "benchmarks": [
            _benchmark(verdict, verdict.clocked, timing)
            for verdict in verdicts
            if verdict.clocked
            for timing in verdict.clocked.timings
        ],
        "datetime": datetime.now(UTC).isoformat(),
        "version": FORMAT,
    }
    return json_text(body) + "\n"


def _machine(host: Mapping[str, Any]) -> dict[str, Any]:
    system, _, machine = str(host["system"]).partition(" ")
    cpu = {"brand_raw": host["cpu"], "count": host["cores"], "arch": machine}
    python = {"python_version": host["python"], "python_implementation": "CPython"}
    return {"node": "", "processor": machine, "machine": machine, "system": system, "cpu": cpu, **python}


def _benchmark(verdict: Verdict, clocked: Clocked, timing: Timing) -> dict[str, Any]:
    hook = verdict.found.hook.name
    name = f"{timing.name}[{timing.threads}]"
    extra = {"unit": clocked.unit, "amount": timing.amount, "measured_on": f"{clocked.about} {clocked.memory}".strip()}
    return {
        "group": hook,
        "name": name,
        "fullname": f"minikern check::{verdict.found.name}::{name}",
        "params": {"threads": timing.threads},
        "param": str(timing.threads),
        "extra_info": extra | {"of_roofline": timing.of_roofline},
        "options": {"min_rounds": len(timing.samples), "warmup": True, "timer": "perf_counter", "disable_gc": False},
        "stats": _stats(timing.samples),
    }


def _stats(samples: Sequence[float]) -> dict[str, Any]:
    q1, middle, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    mean, spread, iqr = statistics.mean(samples), statistics.stdev(samples), q3 - q1
    beyond = sum(abs(value - mean) > spread for value in samples)
    low, high = q1 - 1.5 * iqr, q3 + 1.5 * iqr
    far = sum(not low <= value <= high for value in samples)
    inside = [value for value in samples if low <= value <= high]
    total = sum(samples)
    return {
        "min": min(samples), "max": max(samples), "mean": mean, "stddev": spread, "rounds": len(samples),
        "median": middle, "iqr": iqr, "q1": q1, "q3": q3, "iqr_outliers": far, "stddev_outliers": beyond,
        "outliers": f"{beyond};{far}", "ld15iqr": min(inside), "hd15iqr": max(inside),
        "ops": len(samples) / total if total else 0.0, "total": total, "data": list(samples), "iterations": 1,
    }  # fmt: skip
