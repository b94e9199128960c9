"""One page that shows a whole boot: a single HTML file that needs no network, for a meeting or a mail.

What pays, where the time goes, every CPU over time, the log with what each line means and what was done before it, the
ledger, what nobody explains, and what other unit costs would change. Charts are Bokeh's, embedded; the rest is a
template with the figures as JSON in it, which a few lines of script show, sort and search.
"""

from __future__ import annotations

import html
import json
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata, resources
from string import Template
from typing import Any

import msgspec
import numpy as np

from hw.errors import InputError
from hw.units import NS_PER_MS
from minikern.core.recorder import Span
from minikern.lab.bands import Band, boot_bands
from minikern.lab.compare import PHASES, Ladder
from minikern.lab.run import Boot
from minikern.lab.what_if_machine import WhatIf
from minikern.report.explain import between_lines, explanation_of, largest_kinds
from minikern.report.picture import picture_bytes
from minikern.report.pictures.canvas import LIGHT, look_of
from minikern.report.pictures.kinds import OF_A_BOOT
from minikern.report.plot import COLOURS
from minikern.report.trace import joined, recorder_of

MOST_BARS = 12_000  # of the timeline; the shortest are left out first
LEAST_WIDTH = 0.002  # of a band, over its upper end
MOST_WORK = 4  # kinds of work that a line names
PICTURES = {"memory": "physical memory", "bringup": "CPU bring-up"}
WIDTHS = {"sizing_mode": "stretch_width", "toolbar_location": "above"}


def boot_page(done: Boot, ladder: Ladder, whatif: WhatIf, how: Sequence[str]) -> str:
    """The page of a recorded boot: its ladder, its what-if model, and a line each on how it was made."""
    from bokeh.embed import components
    from bokeh.resources import INLINE

    kernel = done.kernel
    script, charts = components({"ladder": _ladder_chart(ladder), "timeline": _timeline(done)})
    figures = {
        "lines": _lines(done),
        "ledger": [
            [entry.phase, entry.cpu, entry.kind, entry.pieces, round(entry.unit_ns, 2),
             round(entry.total_ns / NS_PER_MS, 4), "" if entry.modelled else "residue",
             "on the way" if entry.critical else "before the clock" if entry.before else "beside"]
            for entry in kernel.ledger.entries()
        ],
        "model": msgspec.to_builtins(whatif),
    }  # fmt: skip
    return Template(own_file("page.html")).substitute(
        title=html.escape(f"{done.spec.name}: {done.name}"),
        style=own_file("page.css"),
        arithmetic=own_file("what_if.js"),
        bokeh="\n".join(f"<script>{text}</script>" for text in _own_scripts(INLINE.js_raw)),
        chart_script=script,
        ladder_chart=charts["ladder"],
        timeline_chart=charts["timeline"],
        headline=html.escape(ladder.verdict or "No rung of the ladder saves anything on this machine."),
        summary=_summary(done),
        ladder_rows=_ladder_rows(ladder),
        residue_rows=_residue_rows(done),
        pictures=_pictures(done),
        how="".join(f"<li>{html.escape(line)}</li>" for line in [*how, *_made_with()]),
        figures=page_json(figures),
    )


def own_file(name: str) -> str:
    """A text that stands beside this module: a template, a style, a script."""
    return resources.files("minikern.report").joinpath(name).read_text("utf-8")


def _own_scripts(scripts: Iterable[str]) -> list[str]:
    # The core draws all that is here: no widgets, no mathematics, no WebGL.
    return [text for text in scripts if "bokeh-widgets" not in text[:400] and "mathjax" not in text[:400].lower()][:1]


def page_json(figures: object) -> str:
    """Figures as they may stand inside a script element."""
    # "</" would end the element.
    return json.dumps(figures, separators=(",", ":")).replace("</", "<\\/")


def _summary(done: Boot) -> str:
    kernel = done.kernel
    band = boot_bands(done).get("total")
    between = f" (80 % band {_between(band)})" if _between(band) else ""
    rest = kernel.ledger.residue_ns() / done.total_ns if done.total_ns else 0.0
    rows = {
        "machine": done.spec.name,
        "kernel": kernel.release.name,
        "boot": done.name,
        "command line": kernel.cmdline.text,
        "first line to /init": f"{done.total_ns / NS_PER_MS:.1f} ms simulated{between}",
        "unexplained": f"{rest:.1%} of it, by name below",
        "CPUs, memory": f"{len(kernel.cpus.online)} CPUs, {len(kernel.nodes)} nodes",
    }
    return "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in rows.items())


def _between(band: Band | None) -> str:
    # Where no cost of weight states an interval, a band without width would claim what nobody knows.
    if band is None or band.high_ms - band.low_ms <= LEAST_WIDTH * abs(band.high_ms):
        return ""
    return band.told()


def _ladder_chart(ladder: Ladder) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    rungs = [rung for rung in ladder.rungs if not rung.failed]
    names = [rung.variant for rung in rungs]
    data: dict[str, Any] = {"variant": names, "total": [rung.total_ms for rung in rungs]}
    data |= {phase: [rung.phases[phase] for rung in rungs] for phase in PHASES}
    chart = figure(
        y_range=names[::-1], height=120 + 30 * len(names), title="simulated ms to /init, by phase", tools="hover,save",
        tooltips="@variant: $name @$name{0.0} ms of @total{0.0}", **WIDTHS,
    )  # fmt: skip
    chart.yaxis.major_label_text_font_size = "12px"
    colours = [COLOURS[phase] for phase in PHASES]
    chart.hbar_stack(
        list(PHASES), y="variant", height=0.7, color=colours, source=ColumnDataSource(data), legend_label=list(PHASES)
    )
    chart.x_range.start = 0
    chart.legend.orientation, chart.legend.location = "horizontal", "bottom_right"
    chart.add_layout(chart.legend[0], "below")
    return _see_through(chart)


def _timeline(done: Boot) -> Any:
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    spans = sorted(joined(recorder_of(done).spans), key=lambda span: -span.total_ns)[:MOST_BARS]
    zero = done.kernel.log.clock_zero_ns or 0
    starts = np.array([(span.start_ns - zero) / NS_PER_MS for span in spans])
    lengths = np.array([span.total_ns / NS_PER_MS for span in spans])
    source = ColumnDataSource(
        {
            "cpu": [span.cpu for span in spans], "left": starts, "right": starts + lengths, "ms": lengths,
            "kind": [span.kind for span in spans], "phase": [span.phase for span in spans],
            "pieces": [span.pieces for span in spans],
            "unit": [span.total_ns / span.pieces if span.pieces else 0.0 for span in spans],
            "colour": [COLOURS.get(span.phase, "#999999") for span in spans],
        }
    )  # fmt: skip
    cpus = max((span.cpu for span in spans), default=0) + 1
    chart = figure(
        height=min(160 + 8 * cpus, 560), title="what each CPU did, simulated ms on the log's clock",
        tools="xpan,xwheel_zoom,xbox_zoom,hover,reset,save", active_scroll="xwheel_zoom",
        y_range=(cpus - 0.4, -0.6), tooltips="CPU @cpu, @phase: @pieces x @kind, @unit{0.0} ns each, @ms{0.000} ms",
        x_axis_label="ms", y_axis_label="CPU", **WIDTHS,
    )  # fmt: skip
    chart.hbar(y="cpu", left="left", right="right", height=0.8, color="colour", line_width=0, source=source)
    return _see_through(chart)


def _see_through(chart: Any) -> Any:
    # The page's own colours show through, light and dark.
    chart.background_fill_alpha = chart.border_fill_alpha = 0
    for axis in chart.axis:
        axis.axis_label_text_color = axis.major_label_text_color = "#808080"
    chart.title.text_color = "#808080"
    chart.grid.grid_line_alpha = 0.3
    for legend in chart.legend:
        legend.background_fill_alpha, legend.label_text_color = 0, "#808080"
    return chart


def _lines(done: Boot) -> list[list[Any]]:
    """Each line of the log: ms, phase, text, function, sentence, what the boot CPU did since the line before."""
    lines = done.kernel.log.lines
    work = ["", *(_told(spans) for _, _, spans in between_lines(lines, recorder_of(done)))]
    found = []
    for line, before in zip(lines, work, strict=True):
        item = explanation_of(line.text)
        said = [item.function, item.says] if item else ["", ""]
        found.append([round(line.ts_ns / NS_PER_MS, 3), line.phase, line.text, *said, before])
    return found


def _told(spans: Sequence[Span]) -> str:
    largest = largest_kinds(spans, MOST_WORK)
    return ", ".join(f"{pieces:,} x {kind} {ns / NS_PER_MS:.3f} ms" for kind, (pieces, ns) in largest if ns)


def _ladder_rows(ladder: Ladder) -> str:
    rows = []
    for rung in ladder.rungs:
        name = html.escape(rung.variant)
        if rung.failed:
            rows.append(f"<tr><th scope=row>{name}</th><td colspan=4>no boot: {html.escape(rung.failed)}</td></tr>")
            continue
        saved = "" if rung.saved_ms is None else f"{rung.saved_ms:.1f}"
        texts = (f"{rung.total_ms:.1f}", _between(rung.band), saved, _between(rung.saved_band))
        cells = "".join(f"<td>{text}</td>" for text in texts)
        rows.append(f"<tr><th scope=row>{name}</th>{cells}</tr>")
    return "".join(rows)


def _residue_rows(done: Boot) -> str:
    found = sorted((entry for entry in done.kernel.ledger.entries() if not entry.modelled), key=lambda e: -e.total_ns)
    return "".join(
        f"<tr><th scope=row>{html.escape(entry.kind)}</th><td>{html.escape(entry.phase)}</td>"
        f"<td>{entry.total_ns / NS_PER_MS:.2f}</td></tr>"
        for entry in found
        if entry.total_ns
    ) or "<tr><td colspan=3>nothing: all time is counted work</td></tr>"


def _pictures(done: Boot) -> str:
    found = []
    for kind, text in PICTURES.items():
        try:
            with look_of(LIGHT):
                picture = picture_bytes(OF_A_BOOT[kind](done, LIGHT), "svg").decode()
        except InputError:
            continue  # one CPU has no bring-up to draw
        picture = picture[picture.index("<svg") :].replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
        found.append(f"<figure><figcaption>{text}</figcaption>{picture}</figure>")
    return "".join(found)


def _made_with() -> list[str]:
    names = ("minikern", "numpy", "numba", "bokeh")
    told = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    return [f"made with {told}, Python {platform.python_version()}"]
