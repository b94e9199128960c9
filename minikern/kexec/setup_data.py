"""setup_data nodes as the kernel uses them, early, before it protects them.

Source: arch/x86/kernel/setup.c:parse_setup_data() @ v6.12; arch/x86/include/uapi/asm/setup_data.h
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minikern.core.moduleparam import Parameter, early_param, needs_bool
from minikern.core.printk import Level
from minikern.kho.populate import add_kho
from minikern.state.kho_abi import SETUP_KEXEC_KHO

if TYPE_CHECKING:
    from minikern.core.kernel import Kernel

HEAD = struct.Struct("<QII")  # next, type, length
SETUP_EFI, SETUP_IMA, SETUP_RNG_SEED = 4, 8, 9
LENGTH_AT = 12
CPUID_1_ECX_RDRAND = 30
CRNG_LINE = "random: crng init done"


def parse_setup_data(k: Kernel) -> None:
    """Take the random seed: its bytes and its length become 0 in memory, so that nobody finds or uses it again.

    A kernel with Kexec HandOver takes what was handed over.
    """
    nodes = k.boot_params.setup_data
    for index, (address, kind, size) in enumerate(nodes):
        if kind == SETUP_KEXEC_KHO and k.config.enabled("CONFIG_KEXEC_HANDOVER"):
            add_kho(k, address + HEAD.size, size)
        if kind != SETUP_RNG_SEED or not k.behaviour.kexec_rng_seed:
            continue
        memory = k.machine.bus.memory
        memory.clear(address + HEAD.size, size)
        memory.write_int(address + LENGTH_AT, 4, 0)
        nodes[index] = (address, kind, 0)
        if size:
            k.boot_params.seeded = True
            k.printk(CRNG_LINE, Level.NOTICE)


def random_init_early(k: Kernel) -> None:
    """Random numbers from the CPU's own instruction, for a kernel that trusts it and was given no seed.

    Source: drivers/char/random.c:random_init_early() @ v6.12 (and 6.1's stable kernels)
    """
    if k.behaviour.kexec_rng_seed and not k.boot_params.seeded and rng_is_initialized(k):
        k.printk(CRNG_LINE, Level.NOTICE)


def rng_is_initialized(k: Kernel) -> bool:
    """True if the kernel has random numbers to give: from its CPU's instruction or from the loader's seed.

    Interrupts gather randomness too, but not enough until user space has run for a while.
    Source: drivers/char/random.c:random_init_early(), add_bootloader_randomness() @ v6.12
    """
    asked = k.cmdline.get("random.trust_cpu")
    trusts_cpu = bool(k.config.get("CONFIG_RANDOM_TRUST_CPU", True)) if asked is None else asked[:1] in ("1", "y", "Y")
    trusts_cpu = trusts_cpu or asked == "on"
    has_instruction = bool(k.machine.boot_cpu.cpuid(1).ecx >> CPUID_1_ECX_RDRAND & 1)
    return k.boot_params.seeded or (trusts_cpu and has_instruction)


PARAMETERS: tuple[Parameter[Kernel], ...] = (
    early_param("random.trust_cpu", needs_bool, read_by=rng_is_initialized),
)
