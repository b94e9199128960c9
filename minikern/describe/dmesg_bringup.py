"""What the lines of CPU bring-up say: in which order CPUs were started, on which nodes, and who shares a core."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from hw.errors import InputError
from minikern.core.forks import behaviour_at
from minikern.core.version import banner_version
from minikern.describe.dmesg_log import Log

MAX_LINES = 1 << 16

_NODE = re.compile(r"\.\.\.\. node +#(\d+), CPUs:")
_NUMBERS = re.compile(r"\s*#\d{1,5}(?:\s+#\d{1,5})*(?:\s|$)")
_SMT_ON = re.compile(r"^(?:MDS|TAA|L1TF|MMIO Stale Data) CPU bug present and SMT on")
_END = re.compile(r"^(?:smp: )?(?:Brought up|Total of \d+ processors)|^smpboot: Total of ")


@dataclass
class BringUp:
    """CPU numbers in the order they were started, the boot CPU left out, and the node of each."""

    order: list[int] = field(default_factory=list)
    nodes: dict[int, int] = field(default_factory=dict)
    smt_on: int = 0  # started CPUs when the kernel first said that two of them share a core; 0: it did not

    def complete(self, count: int) -> bool:
        """True if all CPUs but the first of ``count`` are named once."""
        return sorted(self.order) == list(range(1, count))


def bringup(log: Log) -> BringUp:
    """The lists of started CPUs. Other messages may stand between two parts of one list."""
    found = BringUp()
    node = -1
    places = [index for index, line in enumerate(log.lines) if _NODE.search(line)]
    for line in log.lines[places[0] : places[-1] + MAX_LINES] if places else []:
        if _END.match(line):
            break
        if _SMT_ON.match(line) and not found.smt_on:
            found.smt_on = len(found.order)
        if match := _NODE.search(line):
            node, line = int(match[1]), line[match.end() :]
        if match := _NUMBERS.match(line):
            numbers = [int(number) for number in re.findall(r"#(\d+)", match[0])]
            found.order += numbers
            found.nodes |= dict.fromkeys(numbers, node)
    return found


def boot_cpu_node(found: BringUp, nodes: int) -> int:
    """Node of the CPU that is in no list: one that is a CPU short of the others, else the first."""
    counts = Counter(found.nodes.values())
    full = max(counts.values(), default=0)
    return next((node for node in range(nodes) if counts[node] == full - 1), 0)


def siblings(log: Log, found: BringUp, count: int, cores: int, threads: int) -> dict[int, int]:
    """Which CPU is the second thread of which other one; empty if the order does not tell.

    Since 6.5 first threads are started before all others, both in the order of their numbers. ``cores`` is how many
    there are where the log says so, else 0. Source: kernel/cpu.c:cpuhp_bringup_cpus_parallel() @ v6.5
    """
    if not found.complete(count):
        return {}
    falls = [at for at in range(1, count - 1) if found.order[at] < found.order[at - 1]]
    if len(falls) == 1:
        firsts, others = [0, *found.order[: falls[0]]], found.order[falls[0] :]
    elif not falls and threads == 2 and _in_parallel(log):
        cores = cores or count // 2
        firsts, others = [0, *found.order[: cores - 1]], found.order[cores - 1 :]
    elif not falls and not _in_parallel(log):
        return _paired_by_message(found, count)
    else:
        return {}
    return _paired(firsts, others, found) if 0 < len(others) <= len(firsts) else {}


def _in_parallel(log: Log) -> bool:
    try:
        return behaviour_at(banner_version(log.lines[0])).smp_scheme == "split"
    except InputError:
        return False


def _paired_by_message(found: BringUp, count: int) -> dict[int, int]:
    """Before 6.5 the first second thread is the last CPU started before the message about SMT; so firmware lists that
    many first threads, and then as many others. Source: kernel/cpu.c:cpu_up(), bugs.c:cpu_bugs_smt_update() @ v6.1"""
    firsts = found.smt_on
    if not firsts or count % (2 * firsts):
        return {}
    return {cpu: cpu - firsts for cpu in range(count) if cpu // firsts % 2}


def _paired(firsts: list[int], others: list[int], found: BringUp) -> dict[int, int]:
    # Firmware lists a core's threads together, or all first threads of a node before the second ones.
    free = list(firsts)
    pairs: dict[int, int] = {}
    apart = min(others) > max(firsts)
    for cpu in others:
        near = [first for first in free if first < cpu and found.nodes.get(first, found.nodes[cpu]) == found.nodes[cpu]]
        if not near:
            return {}
        pairs[cpu] = near[0] if apart else near[-1]
        free.remove(pairs[cpu])
    return pairs


def apic_ids(found: BringUp, pairs: dict[int, int], count: int, sockets: int, dies: int = 1) -> list[int]:
    """APIC ids by CPU number for such cores: packages take equal shares of the nodes, else of the cores.

    The cores of a package are shared out to its ``dies``, in their order.
    """
    firsts = [cpu for cpu in range(count) if cpu not in pairs]
    nodes = sorted(set(found.nodes.values()))
    home = {cpu: found.nodes.get(cpu, nodes[0]) for cpu in firsts}
    ids: dict[int, int] = {}
    by_package: dict[int, list[int]] = {}
    for rank, cpu in enumerate(firsts):
        place, places = (nodes.index(home[cpu]), len(nodes)) if len(nodes) >= sockets else (rank, len(firsts))
        share = place * sockets // places
        by_package.setdefault(share, []).append(cpu)
    cores = max(len(cpus) for cpus in by_package.values())
    a_die = -(-cores // dies)
    shift = 1 + (a_die - 1).bit_length()
    for package, cpus in by_package.items():
        base = package << shift + (dies - 1).bit_length()
        ids |= {cpu: base | core // a_die << shift | core % a_die << 1 for core, cpu in enumerate(cpus)}
    ids |= {cpu: ids[first] | 1 for cpu, first in pairs.items()}
    return [ids[cpu] for cpu in range(count)]
