"""Who is which CPU, by the order and the nodes in which they were started."""

from __future__ import annotations

from pathlib import Path

import pytest

from minikern.describe.dmesg_bringup import BringUp, apic_ids, boot_cpu_node, bringup, siblings
from minikern.describe.dmesg_listed import listed_ids
from minikern.describe.dmesg_log import Log
from minikern.describe.presets import load_machine
from minikern.lab.run import boot

SPLIT = [
    ".... node  #0, CPUs:        #1  #2  #3",
    ".... node  #1, CPUs:    #4",
    "smpboot: CPU 4 Converting physical 0 to logical die 1",
    "  #5  #6  #7",
    "smp: Brought up 2 nodes, 8 CPUs",
    "  #9",
]
HYBRID = ["Linux version 6.6.8 (a@b) #1 SMP", ".... node  #0, CPUs:        #1  #3  #6  #7  #8  #9", "  #2  #4  #5"]
FOUR_NODES = """\
Linux version 6.16.0 (a@b) #1 SMP
BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
BIOS-e820: [mem 0x0000000000100000-0x000000007fffffff] usable
BIOS-e820: [mem 0x00000000fd000000-0x00000000fd01ffff] ACPI data
BIOS-e820: [mem 0x0000000100000000-0x000000017fffffff] usable
ACPI: RSDP 0x00000000000F5A20 000024 (v02 TEST  )
ACPI: XSDT 0x00000000FD001000 000044 (v01 TEST   TEST     00000001      01000013)
ACPI: FACP 0x00000000FD002000 000114 (v06 TEST   TEST     00000001 TEST 00000001)
ACPI: DSDT 0x00000000FD003000 001000 (v02 TEST   TEST     00000002 INTL 20200925)
ACPI: FACS 0x00000000FD008000 000040
ACPI: APIC 0x00000000FD00A000 000400 (v04 TEST   TEST     00000001 TEST 00000001)
ACPI: SRAT 0x00000000FD00C000 000400 (v03 TEST   TEST     00000001 TEST 00000001)
ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x3fffffff]
ACPI: SRAT: Node 1 PXM 1 [mem 0x40000000-0x7fffffff]
ACPI: SRAT: Node 2 PXM 2 [mem 0x100000000-0x13fffffff]
ACPI: SRAT: Node 3 PXM 3 [mem 0x140000000-0x17fffffff]
CPU topo: Max. logical packages:   1
CPU topo: Max. threads per core:   2
CPU topo: Num. cores per package:     4
CPU topo: Allowing 8 present CPUs plus 0 hotplug CPUs
.... node  #3, CPUs:        #1
.... node  #1, CPUs:    #2
.... node  #2, CPUs:    #3
.... node  #0, CPUs:    #4
.... node  #3, CPUs:    #5
.... node  #1, CPUs:    #6
.... node  #2, CPUs:    #7
smp: Brought up 4 nodes, 8 CPUs
"""


def test_a_list_goes_on_after_another_message() -> None:
    found = bringup(Log("a log", SPLIT))
    assert found.order == [1, 2, 3, 4, 5, 6, 7]
    assert found.nodes == {1: 0, 2: 0, 3: 0, 4: 1, 5: 1, 6: 1, 7: 1}
    assert boot_cpu_node(found, 2) == 0
    assert not bringup(Log("a log", ["  #1 #2"])).order


def test_the_boot_cpu_is_where_one_is_missing() -> None:
    lines = [".... node  #1, CPUs:   #1 #2", ".... node  #0, CPUs: #3", ".... node  #1, CPUs: #4"]
    assert boot_cpu_node(bringup(Log("a log", lines[:2])), 3) == 0  # not on node 2, which has only memory
    assert boot_cpu_node(bringup(Log("a log", [".... node  #1, CPUs:   #1"])), 2) == 0


def test_second_threads_are_started_last() -> None:
    log = Log("a log", HYBRID)
    found = bringup(log)
    pairs = siblings(log, found, 10, cores=0, threads=1)
    assert pairs == {2: 1, 4: 3, 5: 0}
    ids = apic_ids(found, pairs, 10, sockets=1)
    assert len(set(ids)) == 10 and all(ids[cpu] == ids[first] | 1 for cpu, first in pairs.items())
    assert all(ids[cpu] & 1 == 0 for cpu in range(10) if cpu not in pairs)  # cores of one thread


def test_first_threads_of_all_nodes_come_before_second_ones() -> None:
    log = Log("a log", FOUR_NODES.splitlines())
    assert siblings(log, bringup(log), 8, cores=4, threads=2) == {4: 0, 5: 1, 6: 2, 7: 3}
    older = Log("a log", ["Linux version 6.4.0 (a@b)", *FOUR_NODES.splitlines()[1:]])
    assert siblings(older, bringup(older), 8, cores=4, threads=2) == {}  # started by number, whoever they are
    assert siblings(log, bringup(log), 9, cores=4, threads=2) == {}  # one is missing
    assert siblings(log, bringup(log), 8, cores=9, threads=2) == {}  # more cores than processors: nobody is second


def test_nodes_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "dmesg.txt"
    path.write_text(FOUR_NODES)
    lines = [line.text for line in boot(load_machine(str(path))).kernel.log.lines]
    told = [line for line in FOUR_NODES.splitlines() if "SRAT: Node" in line or "node  #" in line]
    assert [line for line in lines if "SRAT: Node" in line] == told[:4]
    assert [line.split() for line in lines if ".... node" in line] == [line.split() for line in told[4:]]


OLD = "Linux version 5.4.0 (a@b) #1 SMP"
SMT_ON = "MDS CPU bug present and SMT on, data leak possible. See https://example.org/mds.html for more details."


@pytest.mark.parametrize(
    ("lists", "pairs"),
    [
        ((" #1 #2", " #3"), {2: 0, 3: 1}),  # first threads of two cores, then the second ones
        ((" #1", " #2 #3"), {1: 0, 3: 2}),  # neighbours
        ((" #1 #2 #3", ""), {}),
    ],
)
def test_before_parallel_starts_a_message_tells_the_first_second_thread(
    lists: tuple[str, str], pairs: dict[int, int]
) -> None:
    log = Log("a log", [OLD, f".... node  #0, CPUs:     {lists[0]}", SMT_ON, lists[1], "smp: Brought up 1 node"])
    found = bringup(log)
    assert siblings(log, found, 4, 0, 1) == pairs


def test_dies_have_a_field_of_their_own_in_the_ids() -> None:
    found = BringUp(list(range(1, 12)), dict.fromkeys(range(1, 12), 0))
    pairs = {cpu: cpu - 6 for cpu in range(6, 12)}
    assert apic_ids(found, pairs, 12, 1, 2) == [0, 2, 4, 8, 10, 12, 1, 3, 5, 9, 11, 13]


def test_ids_beyond_254_stay_beside_numbers_beyond_255(tmp_path: Path) -> None:
    """Two packages of 128 threads whose ids leave a hole: first threads of both are listed before the second ones."""
    count = 2 * 80 * 2
    lists = [range(1, 80), range(80, 160), range(160, 240), range(240, 320)]
    text = FOUR_NODES.split("ACPI: SRAT: Node 0")[0]
    text = text.replace("000400 (v04", "001800 (v04").replace("000400 (v03", "002800 (v03")
    text += "ACPI: IVRS 0x00000000FD010000 000200 (v02 TEST   TEST     00000001 TEST 00000001)\n"
    text += "ACPI: SRAT: Node 0 PXM 0 [mem 0x00000000-0x7fffffff]\n"
    text += "ACPI: SRAT: Node 1 PXM 1 [mem 0x100000000-0x17fffffff]\n"
    text += "CPU topo: Max. logical packages:   2\nCPU topo: Max. threads per core:   2\n"
    text += f"CPU topo: Num. cores per package:    80\nCPU topo: Allowing {count} present CPUs plus 0 hotplug CPUs\n"
    text += "smpboot: CPU0: AMD EPYC (family: 0x19, model: 0x11, stepping: 0x1)\nAMD-Vi: Interrupt remapping enabled\n"
    for place, numbers in enumerate(lists):
        text += f".... node  #{place % 2}, CPUs:  " + " ".join(f"#{cpu}" for cpu in numbers) + "\n"
    (tmp_path / "dmesg.txt").write_text(text + f"smp: Brought up 2 nodes, {count} CPUs\n")
    spec = load_machine(str(tmp_path / "dmesg.txt"))
    assert max(spec.cpus.apic_ids) > 0xFF and len(set(spec.cpus.apic_ids)) == count
    log = [line.text for line in boot(spec).kernel.log.lines]
    assert f"smp: Brought up 2 nodes, {count} CPUs" in log


def test_a_crash_kernel_on_another_cpu(tmp_path: Path) -> None:
    """Its lines about the CPUs it leaves alone come again: the firmware's own first one, and those beyond its limit."""
    told = [
        "CPU topo: Boot CPU APIC ID not the first enumerated APIC ID: 21 != 0",
        "CPU topo: Crash kernel detected. Disabling real BSP to prevent machine INIT",
        "CPU topo: CPU limit of 1 reached. Ignoring further CPUs",
        "CPU topo: Allowing 1 present CPUs plus 0 hotplug CPUs",
        "CPU topo: Rejected CPUs 6",
        "smp: Brought up 1 node, 1 CPU",
    ]
    text = FOUR_NODES.split("ACPI: SRAT")[0].replace("6.16.0", "6.12.0") + "\n".join(told) + "\n"
    text = text.replace("BIOS-e820:", "Command line: nr_cpus=1 quiet\nBIOS-e820:", 1)
    (tmp_path / "dmesg.txt").write_text(text)
    log = [line.text for line in boot(load_machine(str(tmp_path / "dmesg.txt"))).kernel.log.lines]
    assert [line for line in log if line in told] == told


def test_cpus_beyond_a_limit_are_listed_where_they_were() -> None:
    """As older kernels tell it, which keep a place for the boot CPU."""
    beyond = "APIC: NR_CPUS/possible_cpus limit of 1 {}reached. {}Processor {}/0x{:x} ignored."
    keep = "Keeping one slot for boot cpu.  "
    log = Log("a log", [beyond.format("almost ", keep, 0, 0), beyond.format("", "", 1, 4)])
    assert listed_ids(log, [2]) == [0, 2, 4]
