"""CPUs of one package on several nodes: the warning, and what it does to the CPU list."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hw.spec import CpuSpec
from minikern.mm.page.mmzone import Pglist
from minikern.smp import siblings
from minikern.smp.cpuinfo import early_cpu_init
from minikern.state.acpi import LapicEntry
from minikern.state.cpus import CacheIds
from minikern.state.numa import Numa
from tests.smp.harness import boot, make_kernel, texts

FOUR = CpuSpec(count=4, sockets=1, cores=4)


def split(spec: CpuSpec, release: str, per_node: int, append: str = "lpj=4000000"):
    """A kernel whose firmware puts ``per_node`` APIC ids in each node."""
    lapics = [LapicEntry(place.apic_id, n, True, True) for n, place in enumerate(spec.topology())]
    k = make_kernel(spec, append, release=release, lapics=lapics)
    k.numa = Numa(apicid_to_node={entry.apic_id: entry.apic_id // per_node for entry in lapics})
    k.nodes = [Pglist(n, 0, 0, []) for n in range(-(-spec.count // per_node))]
    return k


def whole(k):
    """The same boot on a processor whose last-level cache no node splits, by its signature."""
    for cpu in k.machine.cpus:
        leaf1 = cpu._cpuid[1, 0]
        cpu._cpuid[1, 0] = leaf1._replace(eax=leaf1.eax & ~0xF00F0 | 0x300F0)  # Haswell-EP
    early_cpu_init(k)
    return k


def warning(k) -> list[str]:
    lines = texts(k)
    at = lines.index("------------[ cut here ]------------")
    assert lines[at + 2] == "---[ end trace 0000000000000000 ]---"
    assert lines.count(lines[at]) == 1
    return [lines[at - 1], lines[at + 1], *lines[at + 3 : at + 5]]


def test_old_kernels_list_is_broken_by_the_warning() -> None:
    before, said, after, *_ = warning(boot(whole(split(FOUR, "debian-6.1", 2))))
    assert before == ".... node  #1, CPUs:   #2"
    assert said == (
        "sched: CPU #2's llc-sibling CPU #0 is not on the same node! [node: 1 != 0]. Ignoring dependency."
    )
    assert after == " #3"


def test_a_line_that_another_message_ended_is_ended_once_more() -> None:
    """With a node for each CPU the newline of the list finds no open line after the warning: an empty one comes."""
    lines = texts(boot(whole(split(FOUR, "debian-6.1", 1))))
    at = lines.index("---[ end trace 0000000000000000 ]---")
    assert lines[at + 1 : at + 3] == ["", ".... node  #2, CPUs:   #2"]


def test_new_kernels_have_listed_all_before() -> None:
    k = boot(whole(split(FOUR, "debian-6.12", 2)))
    _, said, after, *_ = warning(k)
    assert "CPU #2's llc-sibling CPU #0" in said and not after.startswith(" #")
    assert texts(k).index(".... node  #1, CPUs:   #2 #3") < texts(k).index(said)


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_intel_may_split_a_package(release: str) -> None:
    assert not any("not on the same node" in line for line in texts(boot(split(FOUR, release, 2))))


@pytest.mark.parametrize("release", ["debian-6.1", "debian-6.12"])
def test_threads_of_a_core_on_two_nodes(release: str) -> None:
    k = boot(split(CpuSpec(count=4, sockets=1, cores=2, threads=2), release, 1))
    assert any("CPU #1's smt-sibling CPU #0 is not on the same node! [node: 1 != 0]" in line for line in texts(k))


def test_one_node_says_nothing() -> None:
    assert not any("not on the same node" in line for line in texts(boot(whole(split(FOUR, "debian-6.1", 8)))))


@pytest.mark.parametrize(
    ("vendor", "known", "node"), [("AuthenticAMD", False, 0), ("AuthenticAMD", True, 1), ("GenuineIntel", False, 1)]
)
def test_amd_without_affinity_takes_the_caches_number(
    vendor: str, known: bool, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So CPUs dealt to made-up nodes in turn, which share a cache, are on one node again when they start."""
    boot_cpu, place = SimpleNamespace(vendor=vendor), SimpleNamespace(apic_id=1)
    topo = SimpleNamespace(caches={1: CacheIds(0, None)})
    maps = SimpleNamespace(topo=topo, boot=boot_cpu, node={1: 1}, ids={1: place})
    numa = SimpleNamespace(apic_to_node=lambda apic_id: 1 if known else -1)
    kernel = SimpleNamespace(cpus=maps, numa=numa, nodes=[SimpleNamespace(nid=0), SimpleNamespace(nid=1)])
    assert siblings.srat_detect_node(kernel, 1) == node  # type: ignore[arg-type]
