"""Options that change a machine: virtme-ng's and QEMU's spellings of CPUs, memory and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hw.errors import InputError
from hw.memmap import place_nodes
from hw.numbers import is_count, starts_with_digit
from hw.spec import MAX_CPUS, parse_cpulist
from hw.units import parse_size
from minikern.core.families import costs_of, family_of
from minikern.describe.case import Case
from minikern.describe.cpu_names import is_guest, set_cpu

SECTION = 128 << 20  # nodes are cut at section boundaries; Source: arch/x86/include/asm/sparsemem.h
MAX_MEMORY = 64 << 40  # what four levels of page tables map; Source: arch/x86/include/asm/sparsemem.h


@dataclass(frozen=True)
class Adjustments:
    """What the command line says about the machine, unparsed; empty means unchanged."""

    cpus: str = ""
    memory: str = ""
    numa: Sequence[str] = ()
    numa_distance: Sequence[str] = ()
    cpu: str = ""
    nodes: int = 0  # with equal shares of memory and CPUs

    def __bool__(self) -> bool:
        return bool(self.cpus or self.cpu or self.memory or self.numa or self.numa_distance or self.nodes)


def adjust(spec: Case, options: Adjustments) -> None:
    """Apply the options to ``spec``. InputError names the option and what it takes."""
    if options.cpu:
        set_cpu(spec.cpus, options.cpu)
        spec.costs, spec.residue = costs_of(spec.cpus, family_of(spec.cpus, is_guest(spec.cpus))), []
    if options.cpus:
        _set_cpus(spec, options.cpus)
    if options.memory:
        _set_memory(spec, parse_size(options.memory, "--memory"))
    if options.nodes and options.numa:
        raise InputError("--nodes: expected either equal shares or --numa, not both")
    if options.nodes:
        _set_nodes(spec, _equal_nodes(spec, options.nodes))
    if options.numa:
        _set_nodes(spec, options.numa)
    if options.numa_distance:
        _set_distances(spec, options.numa_distance)
    if options:
        spec.figures = ""  # they were published for another machine


def _set_cpus(spec: Case, text: str) -> None:
    # "8,sockets=2,cores=2,threads=2", the value of QEMU's -smp
    fields = {"cpus": 0, "sockets": 0, "dies": 0, "cores": 0, "threads": 0}
    for index, part in enumerate(text.split(",")):
        name, equals, value = part.partition("=")
        if not equals and index == 0:
            name, value = "cpus", part
        if name not in fields or not is_count(value) or int(value) < 1:
            raise InputError(f"--cpus: {part!r} is not a positive count, sockets=N, dies=N, cores=N or threads=N")
        fields[name] = int(value)
    # Cores are counted a die, as QEMU does, dies a socket.
    threads, sockets, dies = fields["threads"] or 1, fields["sockets"] or 1, fields["dies"] or 1
    count = fields["cpus"] or sockets * dies * (fields["cores"] or 1) * threads
    if count > MAX_CPUS:
        raise InputError(f"--cpus: {count} CPUs: expected at most {MAX_CPUS}")
    cores = (fields["cores"] or -(-count // (sockets * dies * threads))) * dies
    if sockets * cores * threads > max(MAX_CPUS, 2 * count):
        raise InputError(f"--cpus: room for {sockets * cores * threads} CPUs: expected at most {MAX_CPUS}")
    if sockets * cores * threads < count:
        raise InputError(f"--cpus: {count} CPUs do not fit {sockets} sockets x {cores} cores x {threads} threads")
    cpus = spec.cpus
    cpus.count, cpus.sockets, cpus.cores, cpus.threads, cpus.dies = count, sockets, cores, threads, dies
    if cpus.cpuid:
        raise InputError("--cpus: a captured machine keeps its CPUs: its CPUID leaves are data")
    for node in spec.nodes:
        node.cpus = ""
    if spec.nodes:
        _spread_cpus(spec)


def _spread_cpus(spec: Case) -> None:
    # Whole packages to a node, or where there are more nodes than packages, parts of one.
    places = spec.cpus.topology()
    cores = sorted({(place.package, place.core) for place in places})
    node_of = {core: index * len(spec.nodes) // len(cores) for index, core in enumerate(cores)}
    lists: list[list[int]] = [[] for _ in spec.nodes]
    for index, place in enumerate(places):
        lists[node_of[place.package, place.core]].append(index)
    for node, cpus in zip(spec.nodes, lists, strict=True):
        node.cpus = ",".join(map(str, cpus))


def _set_memory(spec: Case, size: int) -> None:
    if size > MAX_MEMORY:
        raise InputError(f"--memory: {size >> 40} TiB: expected at most {MAX_MEMORY >> 40} TiB")
    shares = [sum(part.length for part in node.memory) for node in spec.nodes]
    spec.memory, spec.e820 = str(size), []
    _forget_places(spec)
    if not shares:
        return
    total = sum(shares)
    sizes = [size * share // total // SECTION * SECTION for share in shares]
    last = max(index for index, share in enumerate(shares) if share)
    sizes[last] += size - sum(sizes)
    spec.nodes = place_nodes(sizes, [node.cpus for node in spec.nodes], "--memory")


def _forget_places(spec: Case) -> None:
    # Addresses that belonged to the old map.
    spec.acpi.base = spec.acpi.size = 0
    spec.boot.ramdisk_address = spec.boot.ramdisk_bytes = 0
    spec.boot.setup_data = []
    if spec.acpi.raw:
        raise InputError("--memory: a captured machine keeps its map: its tables lie at fixed addresses")


def _equal_nodes(spec: Case, count: int) -> list[str]:
    # Equal shares of memory, cut at sections, and of CPUs, in order.
    memory, cpus = spec.memory_bytes(), spec.cpus.count
    share = memory // count // SECTION * SECTION
    if not share or count > cpus:
        raise InputError(f"--nodes: {count} nodes: too many for {cpus} CPUs and {memory >> 20} MiB")
    edges = [index * cpus // count for index in range(count + 1)]
    shares = [share] * (count - 1) + [(memory - share * (count - 1)) // SECTION * SECTION]
    return [f"{size},cpus={low}-{high - 1}" for size, low, high in zip(shares, edges, edges[1:], strict=False)]


def _set_nodes(spec: Case, options: Sequence[str]) -> None:
    # "2G,cpus=0-3,cpus=7" a node, virtme-ng's --numa; where no node names CPUs, they are shared out in order
    sizes: list[int] = []
    lists: list[str] = []
    for text in options:
        first, *rest = text.split(",")
        size = 0 if first.strip() == "0" else parse_size(first, "--numa")
        cpus: list[str] = []
        for part in rest:
            name, equals, value = part.partition("=")
            if name == "cpus" and equals:
                cpus.append(value)
            elif part and cpus and starts_with_digit(part):
                cpus.append(part)
            else:
                raise InputError(f"--numa: {part!r} is not cpus=LIST, as in --numa 2G,cpus=0-3")
        joined = ",".join(cpus)
        parse_cpulist(joined, "--numa")
        sizes.append(size)
        lists.append(joined)
    nodes = place_nodes(sizes, lists, "--numa")
    _set_memory(spec, sum(sizes))
    spec.nodes, spec.distances = nodes, []
    if not any(lists):
        _spread_cpus(spec)


def _set_distances(spec: Case, options: Sequence[str]) -> None:
    count = len(spec.nodes)
    if not count:
        raise InputError("--numa-distance: the machine has no nodes: give --numa first")
    table = spec.distances or [[10 if a == b else 20 for b in range(count)] for a in range(count)]
    for text in options:
        pair, equals, value = text.partition("=")
        source, comma, target = pair.partition(",")
        numbers = (source, target, value)
        if not equals or not comma or not all(is_count(number) for number in numbers):
            raise InputError(f"--numa-distance: {text!r} is not SRC,DST=VALUE, as in 0,1=21")
        a, b, distance = map(int, numbers)
        if a >= count or b >= count or not 10 <= distance <= 254:
            raise InputError(f"--numa-distance: {text!r}: expected nodes 0 to {count - 1} and a value of 10 to 254")
        table[a][b] = table[b][a] = distance
    spec.distances = table
