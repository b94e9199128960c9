"""Whose log is this? Other architectures are told apart by lines that only their own start-up code prints."""

from __future__ import annotations

import re
from collections.abc import Sequence

LOOKED_AT = 2000  # lines; what is meant stands among the first
X86 = re.compile(r"BIOS-e820: |x86/|tsc: |smpboot: |x86-fpu|BIOS-provided physical RAM map")

# Source: arch/{arm64,arm,powerpc,riscv,s390}/kernel/setup.c and mm/init.c @ v6.12, and the files their prefixes name
SIGNS = {
    "arm64": re.compile(r"Booting Linux on physical CPU 0x[0-9a-f]{10}|CPU features: detected: |.*\(aarch64-"),
    "arm": re.compile(r"Booting Linux on physical CPU 0x[0-9a-f]{1,3}$|CPU: ARMv\d|OF: fdt: Machine model: .*ARM"),
    "powerpc": re.compile(r"(?:radix|hash)-mmu: |Using .* machine description|ppc64_pft_size|.*\(powerpc"),
    "riscv": re.compile(r"riscv: |SBI (?:specification|implementation)|.*\(riscv"),
    "s390": re.compile(r"setup: Linux is running |setup: The maximum memory size is |.*\(s390x?-"),
    "loongarch": re.compile(r"CPU0 revision is: [0-9a-f]{8} \(Loongson|.*\(loongarch"),
}


def foreign_architecture(lines: Sequence[str]) -> tuple[str, str] | None:
    """(architecture, the line that shows it) of a log that is not an x86 kernel's; None if it is, or cannot be told."""
    head = lines[:LOOKED_AT]
    if any(X86.match(line) for line in head):
        return None
    return next(((name, line) for line in head for name, sign in SIGNS.items() if sign.match(line)), None)
