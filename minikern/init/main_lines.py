"""The short steps of start_kernel() between the rooms: their lines and their booked time.

Source: init/main.c @ v6.12, and the file named at each function
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hw.errors import MachineStopped
from minikern.core.cmdline import memparse
from minikern.core.moduleparam import Parameter, early_param, needs_value, setup_param
from minikern.core.printk import Level
from minikern.init import isolation
from minikern.kho import luo
from minikern.mm.buddy import free_reserved
from minikern.smp import clocksource, interrupt_mode
from minikern.tty.console_init import con_init, univ8250_console_init

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

PRB_AVG_BITS = 5  # average record of 32 bytes; Source: kernel/printk/printk.c
PRB_DESC_BYTES = 24  # Source: kernel/printk/printk_ringbuffer.h @ v6.12


def linux_banner(k: Kernel) -> None:
    """The version line; a captured machine brings its own build's."""
    k.printk(k.release.banner, Level.NOTICE)


def setup_log_buf(k: Kernel) -> None:
    """Enlarge the log buffer when the CPUs need more than half of it. Source: kernel/printk/printk.c:setup_log_buf()"""
    shift = k.config.number("CONFIG_LOG_BUF_SHIFT")
    if memparse(k.cmdline.get("log_buf_len") or "0")[0] > 1 << shift:
        return  # it was made as large as the command line says
    per_cpu = 1 << k.config.number("CONFIG_LOG_CPU_MAX_BUF_SHIFT")
    extra = (len(k.cpus.possible) - 1) * per_cpu
    if extra <= (1 << shift) // 2:
        if k.behaviour.log_buf_usage_line:
            k.printk(log_buf_line(k, 1 << shift))
        return
    size = 1 << ((1 << shift) + extra - 1).bit_length()
    k.printk(f"{k.behaviour.printk_prefix}log_buf_len individual max cpu contribution: {per_cpu} bytes")
    k.printk(f"{k.behaviour.printk_prefix}log_buf_len total cpu_extra contributions: {extra} bytes")
    k.printk(f"{k.behaviour.printk_prefix}log_buf_len min size: {1 << shift} bytes")
    alloc_log_buf(k, size)


def alloc_log_buf(k: Kernel, size: int) -> None:
    """A log buffer of ``size`` bytes, with its descriptors and the facts of each record where there are such."""
    records = size >> PRB_AVG_BITS if k.behaviour.log_buf_records else 0
    for part in (size, records * PRB_DESC_BYTES, records * _info_bytes(k)):
        if part:
            k.memblock.alloc(part, 8)
    k.printk(log_buf_line(k, size))


def _info_bytes(k: Kernel) -> int:
    return k.release.image.printk_info_bytes


def log_buf_line(k: Kernel, size: int) -> str:
    """What the buffer takes, since 6.13 with its records. Source: kernel/printk/printk.c:print_log_buf_usage_stats()"""
    if not k.behaviour.log_buf_usage_line:
        return f"{k.behaviour.printk_prefix}log_buf_len: {size} bytes"
    meta = (size >> PRB_AVG_BITS) * (PRB_DESC_BYTES + _info_bytes(k))
    return f"{k.behaviour.printk_prefix}log buffer data + meta data: {size} + {meta} = {size + meta} bytes"


def sched_init(k: Kernel) -> None:
    """Run queues of all possible CPUs. Source: kernel/sched/core.c:sched_init()"""
    k.charge("sched_init_cpu", len(k.cpus.possible))
    k.printk(f"Dynamic Preempt: {k.config['CONFIG_PREEMPT_DYNAMIC']}")


def rcu_init(k: Kernel) -> None:
    """Source: kernel/rcu/tree.c:rcu_init(), kernel/rcu/tree_plugin.h:rcu_bootup_announce() @ v6.12"""
    nr_cpus, nr_cpu_ids = k.config.number("CONFIG_NR_CPUS"), k.cpus.nr_cpu_ids
    leaf = k.config.number("CONFIG_RCU_FANOUT_LEAF")
    k.printk(f"{k.behaviour.rcu_prefix}Preemptible hierarchical RCU implementation.")
    if nr_cpu_ids < nr_cpus:
        k.printk(f"{k.behaviour.rcu_prefix}\tRCU restricting CPUs from NR_CPUS={nr_cpus} to nr_cpu_ids={nr_cpu_ids}.")
    if k.config.get("CONFIG_TASKS_RCU", True):
        k.printk("\tTrampoline variant of Tasks RCU enabled.")
    if k.config.enabled("CONFIG_TASKS_RUDE_RCU"):
        k.printk("\tRude variant of Tasks RCU enabled.")
    if k.config.get("CONFIG_TASKS_TRACE_RCU", True):
        k.printk("\tTracing variant of Tasks RCU enabled.")
    delay = max(1, k.config.number("CONFIG_HZ") // 10)
    k.printk(f"{k.behaviour.rcu_prefix}RCU calculated value of scheduler-enlistment delay is {delay} jiffies.")
    if nr_cpu_ids < nr_cpus:
        k.printk(f"{k.behaviour.rcu_prefix}Adjusting geometry for rcu_fanout_leaf={leaf}, nr_cpu_ids={nr_cpu_ids}")
    k.charge("rcu_init_cpu", len(k.cpus.possible))


NR_IRQS_LEGACY = 16  # Source: arch/x86/include/asm/irq_vectors.h @ v6.12


def early_irq_init(k: Kernel) -> None:
    """Interrupt descriptors. Source: arch/x86/kernel/apic/vector.c:arch_probe_nr_irqs() @ v6.12"""
    nr_cpus, ids = k.config.number("CONFIG_NR_CPUS"), k.cpus.nr_cpu_ids
    max_irqs = 64 * nr_cpus if nr_cpus * 64 > 32 * 128 else 32 * 128
    limit = 256 * ids
    gsi_top = k.acpi.gsi_top
    reduced = k.acpi.fadt is not None and k.acpi.fadt.hardware_reduced
    legacy = 0 if reduced else NR_IRQS_LEGACY  # no 8259: boot.c:acpi_generic_reduced_hw_init()
    wanted = gsi_top + legacy + 8 * ids
    wanted += 8 * ids if gsi_top <= NR_IRQS_LEGACY else gsi_top * 16
    k.printk(f"NR_IRQS: {max_irqs + 256}, nr_irqs: {min(wanted, limit)}, preallocated irqs: {legacy}")
    isolation.tick_nohz_init(k)
    isolation.rcu_init_nohz(k)


def console_init(k: Kernel) -> None:
    """Consoles, then what waited for them. Source: init/main.c:start_kernel() @ v6.12"""
    con_init(k)
    univ8250_console_init(k)
    if k.init_words.too_many:
        raise MachineStopped(f"Kernel panic - not syncing: Too many boot {k.init_words.too_many}")
    if len(k.nodes) > 1 and k.config.enabled("CONFIG_NUMA_BALANCING"):
        k.printk(
            "mempolicy: Enabling automatic NUMA balancing. Configure with numa_balancing= or the kernel.numa_balancing"
            " sysctl"
        )
    k.residue("console_init")


def late_time_init(k: Kernel) -> None:
    """Interrupt mode and timers. Source: arch/x86/kernel/time.c:x86_late_time_init()"""
    mode = interrupt_mode.apic_intr_mode_select(k)
    clocksource.hpet_enable(k)
    interrupt_mode.apic_intr_mode_init(k, mode)
    k.residue("late_time_init")


def fork_init(k: Kernel) -> None:
    """Source: init/main.c:start_kernel(), kernel/fork.c:fork_init()"""
    pid_max = max(32768, 1024 * k.cpus.nr_cpu_ids)
    k.printk(f"pid_max: default: {pid_max} minimum: {max(301, 8 * k.cpus.nr_cpu_ids)}")
    k.residue("fork_init")


def do_pre_smp_initcalls(k: Kernel) -> None:
    """The early initcalls, with one CPU. Source: init/main.c:do_pre_smp_initcalls()"""
    if not k.real_mode_base:  # Source: arch/x86/realmode/init.c:init_real_mode() @ v6.12
        raise MachineStopped("Real mode trampoline was not allocated")
    k.printk(f"{k.behaviour.rcu_prefix}Hierarchical SRCU implementation.")
    luo.liveupdate_early_init(k)
    with k.phase("rest"):
        k.residue("do_pre_smp_initcalls")


def sched_init_smp(k: Kernel) -> None:
    """Scheduling domains of the CPUs that came up. Source: kernel/sched/core.c:sched_init_smp()"""
    with k.phase("rest"):
        k.charge("sched_domain_cpu", len(k.cpus.online))
        k.residue("sched_init_smp")


def free_initmem(k: Kernel) -> None:
    """Give back what only booting needed. Source: init/main.c:kernel_init(), arch/x86/mm/init.c:free_initmem()"""
    image = k.release.image
    k.charge("free_init_page", image.init_kib // 4)
    free_reserved.free_initmem(k)


def run_init_process(k: Kernel) -> None:
    """The boot's last line, where its time ends: consoles get it with the next one.

    Source: init/main.c:run_init_process() @ v6.12
    """
    program = k.cmdline.get("rdinit") or "/init"
    k.finish_residue()
    k.open_line(f"Run {program} as init process")


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("log_buf_len", needs_value, read_by=setup_log_buf),
    setup_param("rdinit=", read_by=run_init_process),
)
