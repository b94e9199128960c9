"""How many CPUs the command line allows, and whether their threads are used.

Source: kernel/smp.c, kernel/cpu.c, arch/x86/kernel/cpu/topology.c @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.core.cmdline import get_option
from minikern.core.moduleparam import Parameter, early_param

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def smt_cmdline_disable(k: Kernel, value: str | None) -> bool:
    """``nosmt`` and ``nosmt=force``, with the line they print. Source: kernel/cpu.c:cpu_smt_disable() @ v6.12"""
    k.printk("SMT: Force disabled" if value == "force" else "SMT: disabled")
    k.cpus.smt.disabled = True
    return True


def nosmp(k: Kernel, value: str | None) -> bool:
    """``nosmp``: no other CPU, and no I/O APICs. Source: kernel/smp.c:nosmp() @ v6.12"""
    return maxcpus(k, "0")


def maxcpus(k: Kernel, value: str | None) -> bool:
    """``maxcpus=``: how many CPUs are brought up; 0 also switches the I/O APICs off. Source: kernel/smp.c:maxcpus()"""
    maps, count = k.cpus, get_option(value)
    if count is not None:
        maps.asked.max_cpus = count
    if maps.asked.max_cpus == 0:
        maps.apic.ioapic_disabled = True
    return True


def nrcpus(k: Kernel, value: str | None) -> bool:
    """``nr_cpus=``: how many CPUs there may ever be. Source: kernel/smp.c:nrcpus() @ v6.12"""
    asked, count = k.cpus.asked, get_option(value)
    if count is not None and 0 < count < (asked.nr_cpus or k.config.number("CONFIG_NR_CPUS")):
        asked.nr_cpus = count
    return True


def setup_possible_cpus(k: Kernel, value: str | None) -> bool:
    """``possible_cpus=``: the same, where older kernels also round up. Source: topology.c:setup_possible_cpus()"""
    count = get_option(value)
    if count is not None:
        k.cpus.asked.possible_cpus = count
    return True


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("nosmt", smt_cmdline_disable),
    early_param("nosmp", nosmp),
    early_param("maxcpus", maxcpus),
    early_param("nr_cpus", nrcpus),
    early_param("possible_cpus", setup_possible_cpus),
)
