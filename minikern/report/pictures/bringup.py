"""CPU bring-up as a chart of states over time: a line for each CPU, a step for each thing that happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.lab.run import Boot
from minikern.report.pictures.canvas import WHEEL, Look
from minikern.report.trace import recorder_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The marks a boot leaves, in the order in which a CPU goes through them, and what they say.
STAGES = (
    ("INIT", "told to reset (INIT)"),
    ("SIPI", "told to start (SIPI)"),
    ("started", "first instruction"),
    ("stack_taken", "on the trampoline's stack"),
    ("stack_left", "off it, in long mode"),
    ("microcode", "microcode loaded"),
    ("ALIVE", "alive"),
    ("SHOULD_ONLINE", "told to go on"),
    ("AP_ONLINE_IDLE", "in its idle loop"),
    ("ONLINE", "online"),
)
MANY = 16  # CPUs up to which each has a label


def draw_bringup(boot: Boot, look: Look) -> Figure:
    """The chart. InputError: the boot brought up no CPU."""
    from matplotlib import pyplot

    level = {name: at for at, (name, _) in enumerate(STAGES)}
    marks = [mark for mark in recorder_of(boot).marks if mark.name in level]
    if not marks:
        raise InputError("nothing to draw: this boot has no CPU bring-up")
    zero = min(mark.at_ns for mark in marks)
    end = max(mark.at_ns for mark in marks)
    cpus = sorted({mark.cpu for mark in marks})
    ids = boot.kernel.cpus.ids
    figure, axis = pyplot.subplots(figsize=(11.0, 5.0))
    for number, cpu in enumerate(cpus):
        steps: dict[str, float] = {}
        for mark in marks:
            if mark.cpu == cpu:
                steps.setdefault(mark.name, (mark.at_ns - zero) / NS_PER_MS)
        times = list(steps.values())
        sibling = ids[cpu].thread > 0
        axis.step([*times, (end - zero) / NS_PER_MS], [*(level[name] for name in steps), level[list(steps)[-1]]],
                  where="post", color=WHEEL[number % len(WHEEL)], linestyle="--" if sibling else "-", linewidth=1.3,
                  alpha=0.9, label=f"CPU {cpu}" + (" (sibling)" if sibling else ""))  # fmt: skip
    axis.set_yticks(range(len(STAGES)), [text for _, text in STAGES])
    axis.set_xlabel("simulated ms since the first INIT")
    axis.grid(linewidth=0.4, color=look.line)
    axis.set_axisbelow(True)
    if len(cpus) <= MANY:
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    online = len(boot.kernel.cpus.online)
    dashed = "; siblings dashed" if any(ids[cpu].thread for cpu in cpus) else ""
    axis.set_title(f"{boot.spec.name}, {boot.name}: {online} CPUs online{dashed}")
    figure.tight_layout()
    return figure
