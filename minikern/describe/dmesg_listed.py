"""Processors that firmware lists and the kernel of a log did not take: a crash kernel's, and those beyond a limit.

Source: arch/x86/kernel/cpu/topology.c:check_for_real_bsp(), topo_register_apic() @ v6.12; arch/x86/kernel/apic/apic.c:
generic_processor_info() @ v6.1
"""

from __future__ import annotations

import re
from itertools import islice

from hw.spec import MAX_CPUS
from minikern.describe.dmesg_log import Log

_OTHER_FIRST = r"^CPU topo: Boot CPU APIC ID not the first enumerated APIC ID: ([0-9a-f]{1,8}) != ([0-9a-f]{1,8})$"
_CRASH = r"^CPU topo: Crash kernel detected\. Disabling real BSP"
_BEYOND = re.compile(
    r"^APIC: NR_CPUS/possible_cpus limit of \d+ (almost )?reached\. .*Processor \d+/0x([0-9a-f]{1,8}) ignored\."
)


def boot_cpu_id(log: Log) -> int | None:
    """APIC id of a boot CPU that is not the first one listed; None: the log tells of no such."""
    found = log.first(_OTHER_FIRST)
    return int(found[1], 16) if found else None


def on_firmwares_cpu(log: Log) -> bool:
    """False for a crash kernel that runs on another CPU than the one firmware started."""
    return log.first(_CRASH) is None


def listed_ids(log: Log, taken: list[int]) -> list[int]:
    """APIC ids in the order of the MADT: those in ``taken``, of which the first is the boot CPU's, and the others."""
    told = [(bool(match[1]), int(match[2], 16)) for match in log.all(_BEYOND)[:MAX_CPUS]]
    before = [apic_id for early, apic_id in told if early]
    after = [apic_id for early, apic_id in told if not early]
    if found := log.first(_OTHER_FIRST):
        before.insert(0, int(found[2], 16))
    known = {*before, *taken, *after}
    rejected = log.number(r"^CPU topo: Rejected CPUs (\d+)", MAX_CPUS) or 0
    free = (number for number in range(2 * MAX_CPUS) if number not in known)
    return [*before, *taken, *after, *islice(free, rejected)]
