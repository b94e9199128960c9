"""padata: a job divided into chunks that several threads take one after another.

Source: kernel/padata.c:padata_do_multithreaded(), padata_mt_helper() @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import simpy

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

LOAD_BALANCE_FACTOR = 4  # chunks a thread would get if all were equally fast; same source


@dataclass
class MtJob:
    """[start, start+size) to be worked through; all in the job's own unit."""

    start: int
    size: int
    align: int
    min_chunk: int
    max_threads: int

    def nworks(self) -> int:
        """Threads that are worth having."""
        return min(max(self.size // max(self.min_chunk, self.align), 1), self.max_threads)

    def chunk_size(self, nworks: int) -> int:
        """Size of a chunk for so many threads."""
        chunk = max(self.size // (nworks * LOAD_BALANCE_FACTOR), self.min_chunk, 1)
        return -(-chunk // self.align) * self.align

    def chunks(self, chunk_size: int) -> Iterator[tuple[int, int]]:
        """The pieces in the order in which they are taken: borders lie at multiples of the chunk size."""
        start, end = self.start, self.start + self.size
        while start < end:
            stop = min((start // chunk_size + 1) * chunk_size, end)
            yield start, stop
            start = stop


@dataclass
class WorkPool:
    """Work items of all jobs together, one for each possible CPU. Source: kernel/padata.c:padata_work_alloc_mt()"""

    free: int

    def take(self, nworks: int) -> int:
        """How many threads a job that wants ``nworks`` gets; the caller itself is one and needs no item."""
        helpers = min(nworks - 1, self.free)
        self.free -= helpers
        return helpers + 1

    def give_back(self, nworks: int) -> None:
        """The job is done."""
        self.free += nworks - 1


ThreadFn = Callable[[int, int, int], Generator[simpy.Event, Any, None]]


def padata_do_multithreaded(
    env: simpy.Environment, job: MtJob, pool: WorkPool, thread_fn: ThreadFn
) -> Generator[simpy.Event, Any, None]:
    """Work a job off: a process to ``yield from``. ``thread_fn(worker, start, end)`` is one chunk on one thread."""
    if job.size == 0:
        return
    nworks = job.nworks()
    if nworks == 1:
        yield from thread_fn(0, job.start, job.start + job.size)
        return
    nworks = pool.take(nworks)
    chunks = job.chunks(job.chunk_size(nworks))

    def helper(worker: int) -> Generator[simpy.Event, Any, None]:
        for start, end in chunks:  # shared by all helpers: whoever comes next takes the next chunk
            yield from thread_fn(worker, start, end)

    yield simpy.AllOf(env, [simpy.Process(env, helper(worker)) for worker in range(nworks)])
    pool.give_back(nworks)


def numa_aware_cpus(k: Kernel) -> list[int]:
    """CPUs in the order in which a NUMA-aware job's threads get them: the caller's, then one of each node in turn.

    Source: kernel/padata.c:padata_do_multithreaded() @ v6.9
    """
    by_node = [list(cpus) for _, cpus in sorted(k.cpus.node_cpus().items())]
    waiting = [[cpu for cpu in cpus if cpu] for cpus in by_node[1:] + by_node[:1]]
    order = [0]
    while any(waiting):
        order += [cpus.pop(0) for cpus in waiting if cpus]
    return order
