"""The bar of a sweep: rows, rate and time left, on stderr where that is a terminal."""

from __future__ import annotations

from minikern.commands.waiting import somebody_waits


class Rate:
    """Shows how far ``total`` rows are, ``there`` of which were made before."""

    def __init__(self, total: int, there: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from minikern.host.terminal import console

        self._bar = Progress(
            TextColumn("booting"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=console(stderr=True), transient=True, disable=not somebody_waits(),
        )  # fmt: skip
        self._task = self._bar.add_task("rows", total=total, completed=there, rate="")

    def __call__(self, rows: int) -> None:
        """Some more rows are made."""
        self._bar.advance(self._task, rows)
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, rate=f"{speed:.1f} rows/s" if speed else "")

    def __enter__(self) -> Rate:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()
