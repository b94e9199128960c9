"""``minikern bench``."""

from __future__ import annotations

import platform
from typing import Any

import click

from minikern.commands.common import reported
from minikern.commands.numbers import Count
from minikern.commands.waiting import Waiting

MAX_THREADS = 256
MAX_PAGES = 1 << 30  # of 64 bytes: 64 GiB


@click.group()
def bench() -> None:
    """Measure this computer: struct-page kernels against C and against its memory.

    \b
    Example:
      minikern bench pages --pages 4194304
    """


@bench.command()
@click.option("--pages", type=Count(1, MAX_PAGES), default=None, metavar="N", help="Struct pages; 2 GiB by default.")
@click.option(
    "--threads", type=Count(1, MAX_THREADS), default=None, metavar="N", help="Only this many threads."
)
@click.option("--rounds", type=Count(1, 1000), default=5, show_default=True, help="Rounds; the best counts.")
@click.option("--json", "as_json", is_flag=True, help="Print results and raw samples as JSON.")
@reported
def pages(pages: int | None, threads: int | None, rounds: int, as_json: bool) -> None:
    """Time each way to write, free and check struct pages, on one thread and on all cores.

    Figures are measured on this computer, never simulated. The roofline is the better of memset and a fill past the
    cache, of the same buffer with the same threads in the same run; the check's is reading the buffer. A buffer that
    fits into the last-level cache has none, and it is said. Spread is how much slower the median round was.

    \b
    Example:
      minikern bench pages --pages 4194304 --json | jq '.results[] | [.kernel, .ratio_to_c]'
    """
    from minikern.lab.bench import default_threads, run_pages
    from minikern.mm.page.mmzone import PAGES_PER_SECTION

    if pages is not None:
        pages = -(-pages // PAGES_PER_SECTION) * PAGES_PER_SECTION
    with Waiting("measuring struct-page kernels"):
        report = run_pages(pages, [threads] if threads else default_threads(), rounds)
    if as_json:
        _print_json(report)
        return
    _print_table(report)


def _print_json(report: Any) -> None:
    from minikern.report.json_text import json_text

    results = [
        {
            "kernel": r.kernel,
            "about": r.about,
            "threads": r.threads,
            "pages": r.pages,
            "pages_per_s": r.pages_per_s,
            "bytes_per_s": r.bytes_per_s,
            "ratio_to_c": r.ratio_to_c,
            "ratio_to_roofline": r.ratio_to_roofline,
            "spread": r.spread,
            "samples": r.samples,
            "samples_s": r.samples,
        }
        for r in report.results
    ]
    body = {"clock": "measured", "host": host(), "pages": report.pages, "bytes": report.pages * 64}
    body |= {"compiler": report.compiler or None, "note": report.note or None}
    body |= {"memory": report.memory, "in_cache": report.in_cache, "results": results}
    click.echo(json_text(body))


def _print_table(report: Any) -> None:
    from rich.table import Table

    from minikern.host.terminal import console
    from minikern.lab.rooflines import beyond_cache_bytes

    beyond = beyond_cache_bytes() // 64
    title = f"{report.pages} struct pages, measured on {host()['cpu']}\n{report.memory}"
    table = Table(title=title, title_justify="left")
    for name in ("kernel", "what it does"):
        table.add_column(name)
    for name in ("threads", "Mpages/s", "GB/s", "spread", "of roofline", "ratio to C"):
        table.add_column(name, justify="right")
    for r in report.results:
        roof = "" if r.ratio_to_roofline is None else f"{r.ratio_to_roofline:.0%}"
        ratio = "" if r.ratio_to_c is None else f"{r.ratio_to_c:.2f}"
        rates = (f"{r.pages_per_s / 1e6:.0f}", f"{r.bytes_per_s / 1e9:.1f}", f"{r.spread:.0%}")
        table.add_row(r.kernel, r.about, str(r.threads), *rates, roof, ratio)
    # Piped output is as wide as its contents; a terminal folds.
    plain = console()
    (plain if plain.is_terminal else console(width=120)).print(table)
    if report.in_cache:
        click.echo(f"minikern: {report.pages} pages are {report.memory}; --pages {beyond} is beyond it", err=True)
    if report.note:
        click.echo(f"minikern: {report.note}", err=True)


def host() -> dict[str, Any]:
    """What the figures were measured on."""
    import os

    import numba

    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


def _cpu_name() -> str:
    from contextlib import suppress
    from pathlib import Path

    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
