"""A night's run: a million inputs over all readers, in a child process each, with limits; goes on where it stopped.

    python -m tests.fuzz.night --inputs 1000000 --seed 1 -o night.json

Every input follows from the seed, its reader and its number, so that ``--reader NAME --number N`` tries it again. What
ended in a way that nobody foresaw is kept as a file beside the figures. Some commands run in processes of their own.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import pickle
import resource
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz import command
from tests.fuzz.outcomes import LIMIT_SECONDS, Tally
from tests.fuzz.readers import READERS, Reader

MILLION = 1_000_000
APART = Reader("commands apart", command.words, command.run_apart, 150)
ALL = (*READERS, APART)
MEMORY_BYTES = 2 << 30  # beyond what the process has once it is warm
FULL_BYTES = 500 << 20  # beyond the same
GRACE_SECONDS = 3
STEP = 500  # inputs between two reports of a child
WARM = 5


def made(reader: Reader, seed: int, number: int) -> Any:
    """One input."""
    return reader.make(Random(f"{seed} {reader.name} {number}"))


def _size_bytes(field: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


def _child(reader: Reader, seed: int, numbers: range, to: Connection, parents: Connection) -> None:
    """Feed inputs; told are (next number, counts, unforeseen ends with their inputs)."""
    parents.close()  # so that what is told to a parent that is gone ends this process
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number in range(-WARM, 0):
            Tally(reader.name).feed(partial(reader.read, place), made(reader, seed, number))
        if reader is not APART:  # the address space is no measure of one that starts others
            resource.setrlimit(resource.RLIMIT_AS, (_size_bytes(0) + MEMORY_BYTES, resource.RLIM_INFINITY))
        gc.freeze()  # what a large parent brought along is nobody's garbage here
        tally, since, warm = Tally(reader.name), time.process_time(), _size_bytes(1)
        for number in numbers:
            to.send((number, None, None))
            used = time.process_time()
            resource.setrlimit(resource.RLIMIT_CPU, (int(used) + LIMIT_SECONDS + GRACE_SECONDS, resource.RLIM_INFINITY))
            tally.feed(partial(reader.read, place), made(reader, seed, number))
            if _size_bytes(1) > warm + FULL_BYTES:
                gc.collect()  # boots that stopped leave their memory map in circles
            tally.longest_s = max(tally.longest_s, time.process_time() - used)
            if (number + 1) % STEP == 0 or number == numbers[-1]:
                figures = {"cpu_s": time.process_time() - since, "longest_s": tally.longest_s,
                           "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}  # fmt: skip
                to.send((number + 1, {**tally.counts, **figures}, tally.unforeseen))
                tally, since = Tally(reader.name), time.process_time()


class Night:
    """The figures of a run, in a file that is written after every step."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.kept = path, path.with_suffix(".inputs")
        told = json.loads(path.read_text()) if path.exists() else {"seed": seed, "readers": {}}
        self.seed: int = told["seed"]
        self.readers: dict[str, dict[str, Any]] = told["readers"]

    def of(self, reader: Reader) -> dict[str, Any]:
        """The figures of one reader."""
        return self.readers.setdefault(reader.name, {"next": 0, "counts": {}, "unforeseen": {}})

    def add(self, reader: Reader, following: int, counts: dict[str, Any], unforeseen: dict[str, Any]) -> None:
        """Count a step, keep what nobody foresaw, and write it all down."""
        row = self.of(reader)
        row["next"] = following
        before = row["counts"]
        for name, value in counts.items():
            most = name in ("longest_s", "peak_bytes")
            before[name] = max(before.get(name, 0), value) if most else before.get(name, 0) + value
        for what, given in unforeseen.items():
            if row["unforeseen"].setdefault(what, following) != following:
                continue  # one of each kind is kept
            self.kept.mkdir(exist_ok=True)
            name = f"{reader.name.replace(' ', '-').replace(',', '')}-{len(row['unforeseen'])}.pickle"
            (self.kept / name).write_bytes(pickle.dumps((reader.name, what, given)))
        self.path.write_text(json.dumps({"seed": self.seed, "readers": self.readers}, indent=1))

    def run(self, reader: Reader, until: int) -> None:
        """Feed a reader up to number ``until``; a child that died is one unforeseen end, and the next goes on."""
        while (begin := self.of(reader)["next"]) < until:
            receiving, sending = multiprocessing.Pipe(duplex=False)
            child = multiprocessing.Process(target=_child, args=(reader, self.seed, range(begin, until), sending,
                                                                  receiving))
            child.start()
            sending.close()
            number = self._listen(reader, receiving, begin)
            child.join()
            if child.exitcode:
                what = f"the process ended with {child.exitcode}"
                given = made(reader, self.seed, number)
                self.add(reader, number + 1, Counter(inputs=number + 1 - self.of(reader)["next"], unforeseen=1),
                         {what: given})  # fmt: skip

    def _listen(self, reader: Reader, receiving: Connection, number: int) -> int:
        while True:
            try:
                told, counts, unforeseen = receiving.recv()
            except EOFError:
                return number
            if counts is None:
                number = told
            else:
                self.add(reader, told, counts, unforeseen)

    def table(self) -> str:
        """The figures of all readers, and their sum."""
        names = ("inputs", "executed", "refused", "unforeseen")
        rows = [(reader.name, self.of(reader)["counts"]) for reader in ALL]
        whole = {name: sum(counts.get(name, 0) for _, counts in rows) for name in (*names, "cpu_s")}
        whole |= {name: max(counts.get(name, 0) for _, counts in rows) for name in ("longest_s", "peak_bytes")}
        lines = [f"{'reader':26}" + "".join(f"{name:>11}" for name in (*names, "CPU s", "longest s", "peak MiB"))]
        for name, counts in (*rows, ("all", whole)):
            figures = "".join(f"{counts.get(key, 0):11}" for key in names)
            times = "".join(f"{counts.get(key, 0):11.1f}" for key in ("cpu_s", "longest_s"))
            lines.append(f"{name:26}{figures}{times}{counts.get('peak_bytes', 0) >> 20:11}")
        return "\n".join(lines)


def main() -> None:
    """The command line of a night."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=MILLION)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="Each reader gets its share in so many parts.")
    parser.add_argument("--reader", action="append", help="Only this one; repeatable, in this order.")
    parser.add_argument("--number", type=int, help="Only this input, here: with its traceback.")
    parser.add_argument("-o", "--output", type=Path, default=Path("night.json"))
    asked = parser.parse_args()
    by_name = {one.name: one for one in ALL}
    readers = [by_name[name] for name in asked.reader or by_name]
    if asked.number is not None:
        with tempfile.TemporaryDirectory() as folder:
            readers[0].read(Path(folder), made(readers[0], asked.seed, asked.number))
        return
    night = Night(asked.output, asked.seed)
    for part in range(1, asked.rounds + 1):
        for reader in readers:
            night.run(reader, asked.inputs * reader.share * part // (MILLION * asked.rounds))
    print(night.table())
    sys.exit(any(night.of(reader)["unforeseen"] for reader in readers))


if __name__ == "__main__":
    main()
