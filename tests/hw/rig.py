"""A board with a few CPUs for the tests of the CPU and interrupt chips."""

from __future__ import annotations

from collections.abc import Mapping

from hw.apic_bus import ApicBus
from hw.bus import Bus
from hw.clock import Clock
from hw.cpu import CPU, CodeStore
from hw.cpuid import CpuDescription, CpuidTable, build_cpuid
from hw.msr import default_msrs

ICR_LOW, ICR_HIGH, ESR = 0x300, 0x310, 0x280


class Rig:
    """CPUs with the given APIC ids, the first being the boot CPU."""

    def __init__(
        self,
        *apic_ids: int,
        description: CpuDescription | None = None,
        cpuid: CpuidTable | None = None,
        msrs: Mapping[int, int] | None = None,
        x2apic: bool = False,
        dead: tuple[int, ...] = (),
        bus_khz: int | None = 100_000,
    ) -> None:
        self.clock = Clock()
        self.bus = Bus()
        self.apic_bus = ApicBus()
        self.code = CodeStore()
        description = description or CpuDescription()
        self.cpus: list[CPU] = []
        for index, apic_id in enumerate(apic_ids):
            cpu = CPU(
                index,
                apic_id,
                build_cpuid(description, apic_id) if cpuid is None else cpuid,
                default_msrs() if msrs is None else msrs,
                clock=self.clock,
                bus=self.bus,
                apic_bus=self.apic_bus,
                code_store=self.code,
                tsc_khz=description.tsc_khz,
                bus_khz=bus_khz,
                is_bsp=index == 0,
                x2apic=x2apic,
                dead=apic_id in dead,
                like=self.cpus[0] if self.cpus else None,
            )
            self.cpus.append(cpu)

    @property
    def boot(self) -> CPU:
        return self.cpus[0]

    def reg(self, offset: int, cpu: int = 0) -> int:
        """Read an APIC register in whichever form is on."""
        core = self.cpus[cpu]
        if core.apic.x2apic_mode:
            return core.rdmsr(0x800 + (offset >> 4))
        return core.read(0xFEE0_0000 + offset, 4)

    def set_reg(self, offset: int, value: int, cpu: int = 0) -> None:
        """Write an APIC register in whichever form is on."""
        core = self.cpus[cpu]
        if core.apic.x2apic_mode:
            core.wrmsr(0x800 + (offset >> 4), value)
        else:
            core.write(0xFEE0_0000 + offset, 4, value)

    def ipi(self, destination: int, command: int, cpu: int = 0) -> None:
        """Write the interrupt command register in whichever form is on."""
        if self.cpus[cpu].apic.x2apic_mode:
            self.cpus[cpu].wrmsr(0x830, destination << 32 | command)
        else:
            self.set_reg(ICR_HIGH, destination << 24, cpu)
            self.set_reg(ICR_LOW, command, cpu)

    def errors(self, cpu: int = 0) -> int:
        """Latch and read the error status."""
        self.set_reg(ESR, 0, cpu)
        return self.reg(ESR, cpu)
