"""What a log tells of its kernel's build, and what follows for lines that came and went."""

from __future__ import annotations

from minikern.describe.dmesg_kernel import kernel_facts
from minikern.describe.dmesg_log import Log

TABLES = [
    "TCP established hash table entries: 524288 (order: 10, 4194304 bytes, vmalloc)",
    "tcp_listen_portaddr_hash hash table entries: 32768 (order: 9, 2359296 bytes, linear)",
    "futex hash table entries: 8192 (524288 bytes on 1 NUMA nodes, total 512 KiB, linear).",
    "UDP hash table entries: 65536 (order: 11, 12582912 bytes, vmalloc)",
]


def test_buckets_are_as_large_as_logged() -> None:
    facts = kernel_facts(Log("a log", TABLES))
    assert facts.bucket_bytes["tcp_listen_portaddr_hash"] == 72  # with a checked lock
    assert (facts.bucket_bytes["UDP"], facts.bucket_bytes["futex"]) == (192, 64)
    assert facts.mptcp is False  # beside its neighbour UDP
    assert kernel_facts(Log("a log", ["UDP hash table entries: 0 (order: 0, 4096 bytes)"])).bucket_bytes == {}


def test_a_line_that_its_neighbour_stands_without_is_not_there() -> None:
    facts = kernel_facts(Log("a log", TABLES))
    assert facts.lines["ip_idents_hash"] is False and facts.lines["table_perturb"] is False
    assert "acpi_reserve_lines" not in facts.lines  # the log has nothing of that time
    told = kernel_facts(Log("a log", ["IP idents hash table entries: 262144 (order: 9, 2097152 bytes)", *TABLES]))
    assert told.lines["ip_idents_hash"] is True
