"""start_kernel(): the boot, one call a line, in Linux's order.

Source: init/main.c:start_kernel(), rest_init(), kernel_init_freeable() @ v6.12
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minikern.acpi import acpi_init, tables
from minikern.init import hash, initcalls, main_lines, mm_core, params
from minikern.init.setup import copy_bootdata, setup_arch
from minikern.kexec.setup_data import random_init_early
from minikern.mm.buddy import free_reserved, zonelist
from minikern.mm.early import early_allocs, percpu
from minikern.smp import calibrate, cpuinfo, microcode, smpboot, tsc

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel


def start_kernel(k: Kernel) -> None:
    """Boot: from the zero page to ``Run /init``."""
    copy_bootdata(k)  # the loader's page, before its memory is reused
    cpuinfo.early_cpu_init(k)
    microcode.load_ucode_bsp(k)  # out of the initial RAM disk, in x86_64_start_kernel()
    main_lines.linux_banner(k)
    with k.phase("early memory"):
        setup_arch(k)  # map, tables, nodes, zones, early struct pages
        early_allocs.setup_command_line(k)
        percpu.setup_per_cpu_areas(k)
        if k.behaviour.zonelists_before_cmdline:
            zonelist.build_all_zonelists(k)
        params.kernel_command_line(k)  # gigantic pages leave memblock here
        random_init_early(k)
        main_lines.setup_log_buf(k)
        hash.vfs_caches_init_early(k)
        early_allocs.trap_init(k)
        mm_core.mm_core_init(k)  # zonelists, memblock_free_all, Memory line
    with k.phase("rest"):
        main_lines.sched_init(k)
        main_lines.rcu_init(k)
        main_lines.early_irq_init(k)
        main_lines.console_init(k)
    with k.phase("acpi"):
        tables.acpi_early_init(k)  # checksums, permanent mappings
    with k.phase("rest"):
        main_lines.late_time_init(k)
        tsc.tsc_init(k)
        calibrate.calibrate_delay(k)
        finalize_early = k.behaviour.arch_cpu_finalize_early
        by_initcall = k.behaviour.free_smp_locks == "arch_initcall"
        if finalize_early and not by_initcall:  # patched in arch_cpu_finalize_init(), once check_bugs()
            free_reserved.free_smp_locks(k)
        main_lines.fork_init(k)
        hash.vfs_caches_init(k)
        if not finalize_early:
            free_reserved.free_smp_locks(k)
    with k.phase("acpi"):
        acpi_init.acpi_subsystem_init(k)
    rest_init(k)


def rest_init(k: Kernel) -> None:
    """Kernel thread 1: CPUs, deferred memory, drivers, /init."""
    with k.phase("smp"):
        smpboot.smp_prepare_cpus(k)
        main_lines.do_pre_smp_initcalls(k)
        smpboot.smp_init(k)
        main_lines.sched_init_smp(k)
    with k.phase("deferred"):
        mm_core.page_alloc_init_late(k)
    initcalls.do_basic_setup(k)
    main_lines.free_initmem(k)
    main_lines.run_init_process(k)
