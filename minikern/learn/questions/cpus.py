"""Questions on waking CPUs and on their clocks."""

from __future__ import annotations

from random import Random

from minikern.learn.question import Asked, Question
from minikern.learn.trial import Trial, booted
from minikern.report.trace import recorder_of


def smp_machine(rng: Random) -> Trial:
    """A few cores of two threads."""
    sockets, cores = rng.choice([1, 2]), rng.randrange(2, 5)
    return Trial(cpus=f"{2 * sockets * cores},sockets={sockets},cores={cores},threads=2")


def _shape(trial: Trial) -> tuple[int, int, int]:
    count, sockets, cores = (int(part.rpartition("=")[2]) for part in trial.cpus.split(",")[:3])
    return count, sockets, cores


def order(machine: Random, rng: Random) -> Asked:
    """Who is started when."""
    trial = smp_machine(machine)
    done = booted(trial)
    count, sockets, cores = _shape(trial)
    sent: list[int] = []
    for mark in recorder_of(done).marks:
        if mark.name == "SIPI" and mark.cpu not in sent:
            sent.append(mark.cpu)
    which = rng.randrange(2, len(sent) + 1)
    return Asked(
        f"{sockets} package(s) of {cores} cores of 2 threads; the firmware lists the threads of a core one after the"
        f" other, CPU 0 is running. The kernel starts CPUs in parallel. Which CPU is the number {which} to be started?",
        {"count": count, "which": which},
        sent[which - 1],
        (
            "Two threads of a core share its microcode: a sibling must not run while the first one updates it.",
            "So the first threads of all cores are started, and only when they are alive, the siblings.",
        ),
        "cpuhp_bringup_cpus_parallel(): first the primary threads, then the rest, each in the order of their numbers.",
        trial.command("boot") + " --trace boot.json",
    )


def online(machine: Random, rng: Random) -> Asked:
    """How many CPUs come up."""
    trial = smp_machine(machine)
    count, _, _ = _shape(trial)
    kind = rng.choice(["dead", "nosmt", "maxcpus", "nr_cpus"])
    number = rng.randrange(2, count)
    words = {"dead": "", "nosmt": "nosmt"}.get(kind, f"{kind}={number}")
    faults = (f"dead={number}",) if kind == "dead" else ()
    changed = Trial(cpus=trial.cpus, fault=faults, append=words)
    told = f"CPU {number} answers nobody" if kind == "dead" else f"it boots with {words}"
    return Asked(
        f"A machine has {count} CPUs, two threads a core, and {told}. How many CPUs are online at the end?",
        {"count": count, "kind": kind, "number": number},
        len(booted(changed).kernel.cpus.online),
        ("The boot CPU counts.", "nosmt leaves one thread a core; maxcpus= counts those that are started."),
        "The line 'smp: Brought up' counts them; one that does not answer is given up after ten seconds.",
        changed.command() + " | grep 'smp: Brought up'",
    )


def tsc_machine(rng: Random) -> Trial:
    """CPUs and a known counter."""
    cores = rng.randrange(1, 5)
    sockets = rng.randrange(1, 4)
    khz = rng.randrange(1_000_000, 4_000_000, 4)
    return Trial(cpus=f"{sockets * cores},sockets={sockets},cores={cores}", append=f"tsc_early_khz={khz}")


def lpj(machine: Random, rng: Random) -> Asked:
    """Loops a jiffy."""
    trial = tsc_machine(machine)
    k = booted(trial).kernel
    khz = int(trial.append.rpartition("=")[2])
    return Asked(
        f"The time-stamp counter runs at {khz // 1000}.{khz % 1000:03} MHz and HZ is {k.config.number('CONFIG_HZ')}."
        " What is lpj, the loops a jiffy, that the boot CPU takes over from it?",
        {"khz": khz, "hz": k.config.number("CONFIG_HZ")},
        k.cpus.lpj[0],
        ("A jiffy is 1/HZ seconds.", "The delay loop counts the TSC, so loops are cycles."),
        "lpj = cycles a second / HZ; BogoMIPS are lpj x HZ / 500000, which is why they are twice the MHz.",
        trial.command() + " | grep BogoMIPS",
    )


def sync(machine: Random, rng: Random) -> Asked:
    """What the test of the counters costs."""
    trial = tsc_machine(machine)
    sockets, cores = (int(part.rpartition("=")[2]) for part in trial.cpus.split(",")[1:])
    k = booted(trial).kernel
    return Asked(
        f"{sockets} package(s) of {cores} CPUs that have IA32_TSC_ADJUST. A CPU that starts is tested against another"
        " one for 20 ms, unless a CPU of its package runs already and both registers hold the same. How many ms of"
        " tests is that in all?",
        {"sockets": sockets},
        k.ledger.count("tsc_sync_ms"),
        ("The boot CPU is not tested, and its package is known.", "Only new packages cost anything."),
        "tsc_store_and_check_tsc_adjust() believes a package that agrees with itself; loop_timeout() gives 20 ms else.",
        trial.command("blame") + " | grep tsc_sync",
    )


QUESTIONS = (
    Question("smp-order", "smp", order),
    Question("smp-online", "smp", online),
    Question("tsc-lpj", "tsc", lpj),
    Question("tsc-sync", "tsc", sync),
)
