"""Host time of a counted boot against CPUs and against memory: a table, and a picture.

    PYTHONPATH=. python bench/scale/growth.py growth.svg

Time is on the processor, the best of three boots of one warm process, so that other work on the computer matters less.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minikern.core.kernel import BootOptions
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

MACHINE, KERNEL = "lpc2023", "debian-6.12"  # whose configuration has room for 8,192 CPUs
CPUS = ("16", "64", "256", "1024", "4096", "8192")
MEMORY = ("64G", "512G", "4T", "24T", "64T")
ROUNDS = 3


def seconds(cpus: str = "", memory: str = "", nodes: int = 0, rounds: int = ROUNDS) -> float:
    """Time on the processor of one boot."""
    spec = load_machine(MACHINE)
    adjust(spec, Adjustments(cpus, memory, nodes=nodes))
    found = []
    for _ in range(rounds):
        begin = time.process_time()
        done = boot(spec, release=KERNEL, options=BootOptions(vmemmap="counted"))
        found.append(time.process_time() - begin)
        done.kernel.release_memory()
    return min(found)


def _growth(sizes: Sequence[float], spent: Sequence[float]) -> str:
    grown = spent[-1] / spent[0]
    allowed = sizes[-1] * math.log2(sizes[-1]) / (sizes[0] * math.log2(sizes[0]))
    return f"{grown:.1f} times for {sizes[-1] / sizes[0]:.0f} times the size; n log n would be {allowed:.0f} times"


def _bytes(text: str) -> float:
    return float(text[:-1]) * {"G": 1, "T": 1024}[text[-1]]


def main(picture: Path) -> None:
    """Measure, print and draw."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    seconds()
    of_memory = [seconds(memory=size) for size in MEMORY]
    of_cpus = [seconds(cpus=count, rounds=2) for count in CPUS]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    large = seconds("8192", "64T", 32, rounds=1)
    last = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True)
    for axis, names, sizes, spent, what in (
        (axes[0], CPUS, [float(count) for count in CPUS], of_cpus, "CPUs"),
        (axes[1], MEMORY, [_bytes(size) for size in MEMORY], of_memory, "GiB of memory"),
    ):
        print(what, *(f"{name}:{value:.2f}s" for name, value in zip(names, spent, strict=True)), _growth(sizes, spent))
        axis.loglog(sizes, spent, "o-")
        axis.set_xlabel(what)
        axis.grid(visible=True, which="both", alpha=0.3)
    print(f"64T, 32 nodes, 8192 CPUs: {large:.1f}s; peak {peak} MiB before it, {last} MiB with it")
    axes[0].set_ylabel("seconds on the processor")
    figure.savefig(picture, bbox_inches="tight")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
