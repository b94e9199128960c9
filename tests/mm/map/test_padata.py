from __future__ import annotations

from collections.abc import Generator
from typing import Any

import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from minikern.mm.map.padata import MtJob, WorkPool, padata_do_multithreaded
from tests.naive_mm import padata_chunks


def all_chunks(job: MtJob) -> list[tuple[int, int]]:
    nworks = job.nworks()
    return [(job.start, job.start + job.size)] if nworks == 1 else list(job.chunks(job.chunk_size(nworks)))


@settings(max_examples=300)
@given(st.integers(0, 500), st.integers(1, 3000), st.integers(1, 64), st.integers(1, 100), st.integers(1, 20))
def test_chunks_against_naive(start: int, size: int, align: int, min_chunk: int, threads: int) -> None:
    job = MtJob(start, size, align, min_chunk, threads)
    assert all_chunks(job) == padata_chunks(start, size, align, min_chunk, threads)


def test_the_talk_s_node() -> None:
    job = MtJob(0x8000, 67_076_096, 32768, 32768, 64)
    assert job.nworks() == 64
    assert job.chunk_size(64) == 262144
    chunks = list(job.chunks(262144))
    assert len(chunks) in (256, 257)
    assert chunks[0] == (0x8000, 262144)


@settings(max_examples=50)
@given(st.integers(1, 5000), st.integers(1, 8), st.integers(0, 8), st.lists(st.integers(1, 9), min_size=8, max_size=8))
def test_every_piece_is_done_once(size: int, threads: int, items: int, speeds: list[int]) -> None:
    env = simpy.Environment()
    pool = WorkPool(items)
    done: list[tuple[int, int]] = []
    workers: set[int] = set()

    def chunk(worker: int, start: int, end: int) -> Generator[simpy.Event, Any, None]:
        workers.add(worker)
        yield env.timeout((end - start) * speeds[worker])
        done.append((start, end))

    job = MtJob(100, size, 10, 10, threads)
    env.process(padata_do_multithreaded(env, job, pool, chunk))
    env.run()
    assert sorted(p for low, high in done for p in range(low, high)) == list(range(100, 100 + size))
    assert pool.free == items
    assert len(workers) <= min(threads, items + 1)


def test_pool_is_shared_by_jobs() -> None:
    pool = WorkPool(100)
    assert [pool.take(64), pool.take(64), pool.take(64)] == [64, 38, 1]
    pool.give_back(38)
    assert pool.free == 37
