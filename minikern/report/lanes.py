"""CPU bring-up as a picture: one lane a CPU, what each did when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.lab.run import Boot
from minikern.report.picture import write_picture
from minikern.report.plot import FORMATS
from minikern.report.trace import joined, recorder_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_LINE, LAST_LINE = "smp: Bringing up", "smp: Brought up"
PREPARE, WAIT = "boot CPU: prepares and wakes", "boot CPU: waits"
WAKE, UNEXPLAINED = "STARTUP to running", "STARTUP to running, beyond what is explained"
MICROCODE, ALIVE = "loads microcode", "alive, waits to be called"
STARTING, SYNC, DELAY, ONLINE = "identifies, sets up", "TSC test", "delay calibration", "hotplug thread"
COLOURS = {
    PREPARE: "#4477aa",
    WAIT: "#dde6f0",
    WAKE: "#ccbb44",
    UNEXPLAINED: "#e8dfa4",
    MICROCODE: "#aa3377",
    ALIVE: "#dddddd",
    STARTING: "#66ccee",
    SYNC: "#ee6677",
    DELAY: "#772233",
    ONLINE: "#228833",
}  # Paul Tol's bright scheme, pale for waiting
KINDS = {
    "sipi_to_alive": WAKE,
    "sipi_to_alive_sibling": WAKE,
    "ap_wakeup_unexplained": UNEXPLAINED,
    "trampoline_stack": WAKE,
    "microcode_load": MICROCODE,
    "microcode_check": MICROCODE,
    "local_apic_setup": STARTING,
    "identify_cpu": STARTING,
    "tsc_sync_ms": SYNC,
    "delay_calibration_ns": DELAY,
    "cpuhp_thread_wakeup": ONLINE,
    "smpboot_threads_unpark": ONLINE,
    "sched_activate": ONLINE,
    "first_sibling_static_key": ONLINE,
}
SEEN_FROM = 0.0008  # of the picture's width: about a pixel
EVERY_LABEL_UP_TO = 40  # lanes; beyond, every eighth is labelled
MAX_GROUPS = 16
LONG_WAIT = 0.7  # of the picture: a wait for a CPU that does not come


class Group(NamedTuple):
    """Neighbouring lanes of one package that are all first threads, or all siblings."""

    text: str
    first: int
    last: int


class Scale(NamedTuple):
    """The time axis in ms, with one long wait of everybody, ``cut_from`` to ``cut_to``, drawn as wide as ``kept``."""

    cut_from: float = 0.0
    cut_to: float = 0.0
    kept: float = 0.0

    def shown(self, ms: float) -> float:
        """Where on the axis."""
        if ms <= self.cut_from:
            return ms
        if ms >= self.cut_to:
            return ms - (self.cut_to - self.cut_from) + self.kept
        return self.cut_from + (ms - self.cut_from) / (self.cut_to - self.cut_from) * self.kept

    def label(self, at: float) -> str:
        """What a tick there says; nothing inside the cut."""
        if at <= self.cut_from:
            return f"{at:g}"
        return f"{at + self.cut_to - self.cut_from - self.kept:g}" if at >= self.cut_from + self.kept else ""


class Bar(NamedTuple):
    """One stretch of a lane, ns on the machine's clock."""

    cpu: int
    what: str
    start_ns: int
    end_ns: int


def lane_bars(boot: Boot) -> list[Bar]:
    """Everything the CPUs did between the first and the last line of the bring-up, by CPU and start.

    InputError: the boot kept no record, or brought up no CPUs.
    """
    first, last = boot.kernel.log.find(FIRST_LINE), boot.kernel.log.find(LAST_LINE)
    if first is None or last is None:
        raise InputError("nothing to plot: this boot has no CPU bring-up")
    recorder = recorder_of(boot)
    bars = list(_waits(boot))
    running: dict[int, str] = {}  # callbacks belong to the section they run in
    for span in joined(recorder.spans):
        end = span.start_ns + span.total_ns
        if span.phase != "smp" or end <= first.at_ns or span.start_ns >= last.at_ns:
            continue
        if span.cpu == 0:
            what = WAIT if span.kind == "smp_wait_ns" else PREPARE
        else:
            what = running[span.cpu] = KINDS.get(span.kind, running.get(span.cpu, STARTING))
        bars.append(Bar(span.cpu, what, max(span.start_ns, first.at_ns), min(end, last.at_ns)))
    return _merged(bars)


def _waits(boot: Boot) -> Iterator[Bar]:
    since: dict[int, int] = {}
    for mark in recorder_of(boot).marks:
        if mark.name == "ALIVE":
            since[mark.cpu] = mark.at_ns
        elif mark.name == "SHOULD_ONLINE" and mark.cpu in since:
            yield Bar(mark.cpu, ALIVE, since.pop(mark.cpu), mark.at_ns)


def _merged(bars: list[Bar]) -> list[Bar]:
    out: list[Bar] = []
    for bar in sorted(bars, key=lambda item: (item.cpu, item.start_ns, item.end_ns)):
        if out and out[-1][:2] == bar[:2] and bar.start_ns <= out[-1].end_ns:
            out[-1] = out[-1]._replace(end_ns=max(bar.end_ns, out[-1].end_ns))
        elif bar.end_ns > bar.start_ns:
            out.append(bar)
    return out


def scale_of(bars: list[Bar], start: int) -> Scale:
    """ms since ``start``. Cuts out the longest time in which nobody works, where that is most of the picture."""
    end = max(bar.end_ns for bar in bars)
    busy = sorted((bar.start_ns, bar.end_ns) for bar in bars if bar.what not in (WAIT, ALIVE))
    since, longest = start, (0, start)
    for begin, finish in [*busy, (end, end)]:
        longest = max(longest, (begin - since, since))
        since = max(since, finish)
    length, since = longest
    if length < LONG_WAIT * (end - start):
        return Scale()
    rest = (end - start - length) / NS_PER_MS
    at = (since - start) / NS_PER_MS
    return Scale(at, at + length / NS_PER_MS, 0.15 * rest)


def lane_groups(boot: Boot, lanes: list[int]) -> list[Group]:
    """How the lanes fall into packages and threads, top to bottom; none where that says nothing or is too much."""
    ids = boot.kernel.cpus.ids
    groups: list[Group] = []
    for number, cpu in enumerate(lanes):
        thread = "siblings" if ids[cpu].thread else "first threads"
        text = f"package {ids[cpu].package}, {thread}"
        if groups and groups[-1].text == text:
            groups[-1] = groups[-1]._replace(last=number)
        else:
            groups.append(Group(text, number, number))
    long_enough = all(group.last - group.first >= 7 for group in groups)
    return groups if 1 < len(groups) <= MAX_GROUPS and long_enough else []


def check_plot_path(path: Path) -> None:
    """InputError if no picture can be written to ``path``; said before a boot, not after it."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"--plot: {path}: expected a file ending in {', '.join(FORMATS)}")


def plot_lanes(boot: Boot, path: Path) -> None:
    """Draw the bring-up. InputError: no matplotlib, an ending it cannot write, nothing to draw."""
    check_plot_path(path)
    bars = lane_bars(boot)
    try:
        import matplotlib
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'minikern[plot]'") from error
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "minikern"  # same input, same file
    from matplotlib import pyplot
    from matplotlib.patches import Rectangle

    lanes = sorted({bar.cpu for bar in bars} | set(boot.kernel.cpus.present))
    height = min(60.0, max(3.2, 1.9 + (0.3 if len(lanes) <= EVERY_LABEL_UP_TO else 0.085) * len(lanes)))
    figure, axis = pyplot.subplots(figsize=(11.0, height))
    _draw(axis, boot, bars, lanes)
    used = _visible(bars)
    handles = [Rectangle((0, 0), 1, 1, color=COLOURS[what]) for what in used]
    figure.legend(handles, used, loc="lower center", ncols=min(5, len(used)), frameon=False, fontsize=9)
    figure.tight_layout(rect=(0, 0.55 / height, 1, 1))
    write_picture(figure, path)
    pyplot.close(figure)


def _visible(bars: list[Bar]) -> list[str]:
    # What is too short to be seen anywhere needs no colour in the legend.
    start, end = min(bar.start_ns for bar in bars), max(bar.end_ns for bar in bars)
    whole = scale_of(bars, start).shown((end - start) / NS_PER_MS) * NS_PER_MS
    longest = {what: max((b.end_ns - b.start_ns for b in bars if b.what == what), default=0) for what in COLOURS}
    return [what for what in COLOURS if longest[what] > whole * SEEN_FROM]


def _draw(axis: Axes, boot: Boot, bars: list[Bar], lanes: list[int]) -> None:
    first, last = boot.kernel.log.find(FIRST_LINE), boot.kernel.log.find(LAST_LINE)
    assert first is not None and last is not None
    zero, total_ms = first.at_ns, (last.at_ns - first.at_ns) / NS_PER_MS
    scale, at = scale_of(bars, zero), {cpu: number for number, cpu in enumerate(lanes)}
    width = scale.shown(total_ms)
    thickness = 0.8 if len(lanes) <= EVERY_LABEL_UP_TO else 0.92
    grouped: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for bar in bars:
        left, right = (scale.shown((ns - zero) / NS_PER_MS) for ns in (bar.start_ns, bar.end_ns))
        grouped.setdefault((bar.cpu, bar.what), []).append((left, right - left))
    for (cpu, what), stretches in grouped.items():
        axis.broken_barh(stretches, (at[cpu] - thickness / 2, thickness), color=COLOURS[what], linewidth=0, snap=False)
    step = 1 if len(lanes) <= EVERY_LABEL_UP_TO else 8
    axis.set_yticks([at[cpu] for cpu in lanes[::step]], [f"CPU {cpu}" for cpu in lanes[::step]], fontsize=8)
    axis.set_ylim(len(lanes) - 0.4, -0.6)
    axis.set_xlim(0, max(width, 1e-3) * 1.005)
    if scale.kept:
        _draw_cut(axis, scale, len(lanes))
    axis.set_xlabel(f"simulated ms since '{FIRST_LINE} secondary CPUs ...'")
    online = len(boot.kernel.cpus.online)
    axis.set_title(f"{boot.spec.name}, {boot.name}: {online} CPUs online after {total_ms:.1f} ms", fontsize=11)
    for group in lane_groups(boot, lanes):
        axis.axhline(group.last + 0.5, color="#888888", linewidth=0.5)
        middle = (group.first + group.last) / 2
        place = axis.get_yaxis_transform()
        axis.text(1.01, middle, group.text, transform=place, rotation=270, fontsize=8, va="center", color="#555555")
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", linewidth=0.4, color="#bbbbbb")
    axis.set_axisbelow(True)
    _say_who_is_missing(axis, boot, at, width)


def _draw_cut(axis: Axes, scale: Scale, lanes: int) -> None:
    left, right = scale.cut_from, scale.cut_from + scale.kept
    axis.axvspan(left, right, facecolor="#f4f4f4", edgecolor="#888888", hatch="///", linewidth=0.0, alpha=0.6, zorder=3)
    text = f"{(scale.cut_to - scale.cut_from) / 1000:.1f} s of waiting"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 2.0}
    middle = ((left + right) / 2, (lanes - 1) / 2)
    axis.text(*middle, text, rotation=90, fontsize=9, ha="center", va="center", bbox=box, zorder=4)
    axis.xaxis.set_major_formatter(lambda at, _: scale.label(at))


def _say_who_is_missing(axis: Axes, boot: Boot, at: dict[int, int], width: float) -> None:
    online = set(boot.kernel.cpus.online)
    for cpu, lane in at.items():
        if cpu not in online:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            place = (width * 0.995, lane)
            axis.text(*place, "not online", fontsize=8, color="#bb2233", ha="right", va="center", bbox=box, zorder=5)
