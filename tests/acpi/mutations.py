"""Mutated DSDTs, loaded, initialised and evaluated by the real kernel.

    python -m tests.acpi.mutations 10000 [SEED [FIRST]]
"""

from __future__ import annotations

import random
import resource
import sys
import time
from dataclasses import dataclass
from functools import cache

from hw.acpi import aml
from hw.acpi.layout import TableIds, sdt
from hw.acpi.spec import AcpiSpec
from hw.acpi.tables import build_tables
from hw.spec import CpuSpec
from minikern.acpi.acpi_init import acpi_initialize_objects, acpi_update_all_gpes
from minikern.acpi.aml_load import acpi_load_tables
from minikern.acpi.evaluate import evaluate
from minikern.acpi.interpreter import Interpreter
from minikern.acpi.loaded import loaded_interpreter
from minikern.acpi.processor_setup import acpi_early_processor_control_setup, acpi_processor_init
from minikern.acpi.region_buffers import buffered_spaces
from minikern.acpi.scan import acpi_bus_scan
from minikern.acpi.values import AmlError
from minikern.core.kernel import Kernel
from minikern.describe.acpidump import DumpedTable
from minikern.lab.acpi_source import bare_kernel
from minikern.state.acpi import AcpiState, Table
from minikern.state.cpuinfo import CpuInfo
from minikern.state.cpus import CpuMaps

HEADER = 36
MOST_FLIPS = 12
EVALUATED = 200  # objects of each namespace
PATIENCE = 100_000  # terms a mutant's endless loops get together: simulated time still runs to its limit


@dataclass
class Outcome:
    """Of so many mutants: those whose namespace is another than the sound table's, that ran into a limit of loops,
    calls or memory; the most objects any had, what the slowest took, and the memory the process came to."""

    mutants: int = 0
    changed: int = 0
    limits: int = 0
    most_objects: int = 0
    longest_ms: int = 0
    peak_mib: int = 0  # beyond what the process had taken before


@cache
def sound() -> bytes:
    """A server's DSDT with loops, recursion, fields, packages and concatenation that run while it is initialised."""
    spec = AcpiSpec(base=0x10_0000, size=0x2_0000, dsdt_standin=2048)
    tables = build_tables(spec, CpuSpec(count=2, cores=2).topology())
    dsdt = next(bytes(content) for _, content in tables if content[:4] == b"DSDT")
    return sdt("DSDT", 2, dsdt[HEADER:] + _busy(), TableIds())


def _busy() -> bytes:
    count, depth = aml.local(0), aml.arg(0)
    loop = aml.while_(aml.less(count, aml.integer(9)), [aml.increment(count), aml.store(count, aml.name_path("KEPT"))])
    deeper = aml.call("\\RECU", aml.add(depth, aml.ONES, b"\0"))
    grow = aml.while_(aml.less(count, aml.integer(5)), [
        aml.increment(count), b"\x73" + aml.local(1) + aml.local(1) + aml.local(1)])  # fmt: skip
    return b"".join([
        aml.name("KEPT", aml.integer(7)),
        aml.method("RECU", 1, [aml.if_(depth, [aml.return_(deeper)]), aml.return_(aml.ONE)]),
        aml.method("GROW", 0, [aml.store(aml.string("ABCD"), aml.local(1)), aml.store(aml.ZERO, count), grow]),
        aml.device("BUSY", [
            aml.name("_ADR", aml.ZERO),
            aml.method("_INI", 0, [aml.store(aml.ZERO, count), loop, aml.call("\\RECU", aml.integer(5)),
                                   aml.call("\\GROW")]),
            aml.method("_STA", 0, [aml.return_(aml.integer(0x0F))]),
        ]),
    ])  # fmt: skip


def mutant(draw: random.Random) -> bytes:
    """The sound table with a few bytes changed, cut out, doubled or exchanged; its length and checksum stay right."""
    body = bytearray(sound()[HEADER:])
    for _ in range(draw.randint(1, MOST_FLIPS)):
        at = draw.randrange(len(body))
        match draw.randrange(6):
            case 0:
                del body[at : at + draw.randint(1, 4)]
            case 1:
                body[at:at] = body[at : at + draw.randint(1, 16)]
            case 2:
                body[at] ^= 1 << draw.randrange(8)
            case _:
                body[at] = draw.randrange(256)
    return sdt("DSDT", 2, bytes(body), TableIds())


def loaded(kernel: Kernel, data: bytes, patience: int = PATIENCE) -> Interpreter:
    """A DSDT loaded and initialised as a boot does it; endless loops get ``patience`` terms together."""
    kernel.log.lines.clear()
    kernel.acpi = AcpiState(tables=[Table("DSDT", 1, len(data), data)])
    acpi_load_tables(kernel, slack=True, spaces=buffered_spaces(0))
    run = loaded_interpreter(kernel)
    run.patience = patience
    acpi_initialize_objects(kernel, run)
    return run


def run_table(kernel: Kernel, data: bytes) -> bool:
    """Do with a table what a boot does, then evaluate its objects; True when a limit was met."""
    run = loaded(kernel, data)
    acpi_early_processor_control_setup(kernel, run)
    acpi_update_all_gpes(kernel)
    acpi_bus_scan(kernel, lambda root: None)
    acpi_processor_init(kernel)
    limited = False
    for node in list(run.namespace.walk())[:EVALUATED]:
        try:
            evaluate(run, node, [1])
        except AmlError as problem:
            limited = limited or problem.status in ("AE_AML_LOOP_TIMEOUT", "AE_AML_METHOD_LIMIT", "AE_NO_MEMORY")
    run.namespace.check()
    return limited


def names(kernel: Kernel) -> dict[str, str]:
    """Path and type of every object."""
    return {node.path: node.kind.value for node in loaded_interpreter(kernel).namespace.walk()}


def run_mutants(count: int, seed: int, first: int = 0) -> Outcome:
    """Run the mutants from ``first`` to ``count``. Any exception is a finding: the seed and number are in its text."""
    draw, kernel, found = random.Random(seed), bare_kernel([DumpedTable("DSDT", 0, sound())]), Outcome()
    kernel.cpus = CpuMaps(CpuInfo("GenuineIntel", 6, 1, 1, "", 0, 0, frozenset({"apic"})))
    run_table(kernel, sound())
    expected = names(kernel)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        data = mutant(draw)
        if number < first:
            continue
        begin = time.perf_counter_ns()
        try:
            limited = run_table(kernel, data)
        except Exception as problem:
            raise AssertionError(f"mutant {number} of seed {seed}: {type(problem).__name__} {problem}") from problem
        found.longest_ms = max(found.longest_ms, (time.perf_counter_ns() - begin) // 1_000_000)
        now = names(kernel)
        found.mutants += 1
        found.changed += now != expected
        found.limits += limited or any("TIMEOUT" in line.text or "LIMIT" in line.text for line in kernel.log.lines)
        found.most_objects = max(found.most_objects, len(now))
    found.peak_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) >> 10
    return found


if __name__ == "__main__":
    print(run_mutants(*(int(word) for word in (*sys.argv[1:], "1")[: max(2, len(sys.argv) - 1)])))
