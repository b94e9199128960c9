"""Slow, obviously right twins of what minikern.smp does in closed form or with rounds skipped."""

from __future__ import annotations

from fractions import Fraction

from minikern.core.kernel import Kernel

PIT_HZ = 1_193_182


def quick_pit(k: Kernel) -> tuple[int, int]:
    """Quick PIT calibration with every single poll played: (kHz or 0, ns it took)."""
    cpu, clock = k.machine.boot_cpu, k.machine.clock
    access = round(k.unit_ns("pit_port_access"))
    began = clock.now

    def read(port: int) -> int:
        clock.advance(access)
        return cpu.inb(port)

    def write(port: int, value: int) -> None:
        clock.advance(access)
        cpu.outb(port, value)

    def high() -> int:
        read(0x42)
        return read(0x42)

    def stays(value: int) -> tuple[int, int, int]:
        stamps = [0, 0]
        count = 0
        while count < 50_000 and high() == value:
            stamps = [stamps[1], cpu.rdtsc()]
            count += 1
        return count, stamps[1], cpu.rdtsc() - stamps[0]

    write(0x61, (read(0x61) & ~2) | 1)
    for port, value in ((0x43, 0xB0), (0x42, 0xFF), (0x42, 0xFF)):
        write(port, value)
    high()
    count, begin, slack = stays(0xFF)
    for step in range(1, 234):
        seen, end, more = stays(0xFF - step)
        if count <= 5 or seen <= 5:
            break
        cycles = end - begin
        if step == 1 and slack + more >= (cycles * 233) >> 11:
            break
        if slack + more < cycles >> 11:
            high()
            return cycles * PIT_HZ // (step * 256 * 1000), clock.now - began
    return 0, clock.now - began


def warps(source_cycles: int, ahead: int, target_cycles: int, duration_ns: int, handoff_ns: int) -> tuple[int, ...]:
    """(largest warp, warps, random ones, largest known at the target's last) of two CPUs that queue for one lock."""
    shared = {"last": None, "max": 0, "warps": 0, "random": 0}
    cpus = [
        {"start": 0, "cycles": source_cycles, "known": 0, "max": 0},
        {"start": ahead, "cycles": target_cycles, "known": 0, "max": 0},
    ]
    at = turn = 0
    while True:
        for cpu in cpus:
            now = cpu["start"] + cpu["cycles"] * at // duration_ns
            previous, shared["last"] = shared["last"], now
            at += handoff_ns
            if previous is None or previous <= now:
                continue
            shared["max"] = cpu["max"] = max(shared["max"], previous - now)
            shared["random"] += cpu["known"] != shared["warps"]
            shared["warps"] += 1
            cpu["known"] = shared["warps"]
        if turn % 8 == 0 and at > duration_ns:
            return shared["max"], shared["warps"], shared["random"], cpus[1]["max"]
        turn += 1


def list_line(node: int, nodes: int, cpus: list[int], possible: int, first: bool) -> str:
    """One line of the CPU list, laid out by columns: a number's column ends where the widest one's does."""
    column = len(str(possible)) + 2  # blank, #, digits
    text = ".... node " + f"#{node}".rjust(len(str(nodes)) + 2) + ", CPUs:  "
    if first:
        text += " " * column
    return text + "".join(f"#{cpu}".rjust(column) for cpu in cpus)


def bogomips(lpj: int, hz: int) -> Fraction:
    """BogoMIPS as a fraction: two loops a cycle, lpj loops a jiffy."""
    return Fraction(lpj * hz, 500_000)
