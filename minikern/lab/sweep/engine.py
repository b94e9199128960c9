"""The engine of a sweep: Dask runs the rows, on this computer by default, on a cluster where one is named.

Work is shipped by reference (a point names its files), in batches that grow until one takes about two seconds; only a
few batches a worker are under way at a time, so that memory stays bounded however many rows there are. What a lost
worker was at is done again by another one; a batch that keeps killing workers is taken apart, and costs the one row
that does it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hw.errors import InputError
from minikern.host.children import quiet_tracker
from minikern.lab.sweep.plan import Grid, Point
from minikern.lab.sweep.rows import Row, failed_row, make_rows

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "processes"  # an embedded cluster of one process a core
AHEAD = 3  # batches under way for each worker
BATCH_S, LARGEST_BATCH = 2.0, 256
WORKERS_A_CPU = 8  # more only wait for each other, and each holds its machines in memory
CONNECT_S = 5
MANY_ROWS = 1 << 31


@contextlib.contextmanager
def client(scheduler: str = LOCAL, workers: int | None = None, rows: int = MANY_ROWS) -> Iterator[Client]:
    """A Dask client: of the scheduler at an address, or of a cluster of ``workers`` processes on this computer.

    There are no more of them than ``rows`` to make. InputError: Dask is not installed, nobody answers at the address,
    or far more workers than CPUs.
    """
    cpus = os.cpu_count() or 1
    if workers is not None and workers > WORKERS_A_CPU * cpus:
        most = f"{WORKERS_A_CPU * cpus}, {WORKERS_A_CPU} for each CPU of this computer"
        raise InputError(f"--workers: {workers}: expected at most {most}")
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError("sweep needs Dask: pip install 'minikern[sweep]'") from error
    if scheduler != LOCAL and "://" not in scheduler:
        raise InputError(f"--scheduler: {scheduler!r:.80}: expected tcp://HOST:PORT, or {LOCAL} for this computer")
    quiet = {"distributed.logging.distributed": "critical", "distributed.scheduler.allowed-failures": 2}
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        if scheduler == LOCAL:
            stack.enter_context(quiet_tracker())
            cluster: Any = LocalCluster(
                n_workers=min(workers or cpus, rows), threads_per_worker=1, dashboard_address=None, host="127.0.0.1",
                silence_logs=logging.CRITICAL, scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            )  # fmt: skip
            yield stack.enter_context(Client(stack.enter_context(cluster)))
            return
        try:
            made = Client(scheduler, timeout=CONNECT_S)
        except (OSError, ValueError) as error:
            raise InputError(f"--scheduler: {scheduler}: nobody answers there ({error})") from error
        yield stack.enter_context(made)


def run(grid: Grid, rows: Sequence[int], on: Client) -> Generator[list[Row], None, None]:
    """Make ``rows`` of the table, in any order; yields what is finished as it comes."""
    from distributed import as_completed

    queue, todo = deque[list[Point]](), iter(rows)
    size, left = 1, len(rows)
    under_way: dict[Future, tuple[list[Point], float]] = {}
    finished = as_completed()

    def submit(points: list[Point]) -> None:
        # Not pure: the same names may stand for other bytes tomorrow, so no result is taken from an earlier run.
        future = on.submit(make_rows, points, pure=False)
        under_way[future] = (points, time.monotonic())
        finished.add(future)

    def more() -> bool:
        if queue:
            submit(queue.popleft())
            return True
        points = [grid.point(row) for _, row in zip(range(size), todo, strict=False)]
        if points:
            submit(points)
        return bool(points)

    while left:
        while len(under_way) < _room(on) and more():
            pass
        future = next(finished)
        points, since = under_way.pop(future)
        done = _result(future, points, queue.append)
        future.release()
        if done:
            left -= len(done)
            size = _next_size(len(points), (time.monotonic() - since) / AHEAD)
            yield done


def _room(on: Client) -> int:
    return AHEAD * max(1, len(on.scheduler_info(n_workers=-1)["workers"]))


def _next_size(rows: int, seconds: float) -> int:
    return max(1, min(LARGEST_BATCH, 2 * rows, round(rows * BATCH_S / max(seconds, 1e-3))))


def _result(future: Future, points: list[Point], again: Callable[[list[Point]], None]) -> list[Row]:
    # A worker that died takes nothing with it but the row that killed it (and that three times).
    try:
        made: list[Row] = future.result()
        return made
    except Exception as error:
        if len(points) == 1:
            return [failed_row(points[0], f"no worker survived it: {type(error).__name__}")]
        for point in points:
            again([point])
        return []

