"""Plausible mistakes in a memory map, made by rules over several machines: the check finds each of them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from minikern.kexec.load import Kexec
from minikern.kho import sessions
from minikern.lab.kexec import reboot
from minikern.verify.page_check import check_memmap
from tests.kexec.images import make_bzimage
from tests.support import run
from tests.verify import mutants_lists, mutants_pages, mutants_sizes
from tests.verify.mutants import Saved

pytestmark = pytest.mark.big

MACHINES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "plain": ("tiny", "", "", {}),
    "folded huge pages": ("tiny", "", "hugepages=8 hugetlb_free_vmemmap=on", {"memory": "512M"}),
    "movable zones": ("tiny", "", "movablecore=32M", {"numa": ("128M,cpus=0", "128M,cpus=1")}),
    "three nodes": ("tiny", "kho-7.2", "kernelcore=60% kho=on", {"numa": ("128M,cpus=0", "256M", "128M,cpus=1")}),
    "crash kernel": ("tiny", "linux-5.10", "crashkernel=64M hugepages=4", {"memory": "600M"}),
}


def handed_over() -> Any:
    """A kernel that got a file's pages, a named region and its scratch areas from the kernel before."""
    first = run("tiny", "", "kho=on liveupdate=on reserve_mem=1M:4096:keep", "kho-7.2")
    session = sessions.create_session(first.kernel, "vm0")
    sessions.preserve_memfd(first.kernel, session, 7, sessions.allocate_memfd(first.kernel, 64 * 4096))
    kernel = bytes(make_bzimage(init_size=0x1000000, version=b"7.2.13-kho (root@vm) #1 SMP PREEMPT_DYNAMIC"))
    image = Kexec(first.kernel).kexec_file_load(kernel, b"initrd" * 999, first.kernel.cmdline.text)
    return reboot(first, image).boot.kernel


def booted(name: str) -> Any:
    """One of the machines."""
    if name == "handed over":
        return handed_over()
    machine, release, append, changes = MACHINES[name]
    return run(machine, "", append, release, **changes).kernel


NAMES = (*MACHINES, "handed over")
RULES = (*mutants_pages.RULES, *mutants_lists.RULES, *mutants_sizes.RULES)


@pytest.mark.parametrize("name", NAMES)
def test_every_mutant_is_found(name: str, pytestconfig: pytest.Config) -> None:
    k = booted(name)
    assert check_memmap(k).ok, check_memmap(k).message
    saved, missed, made = Saved(k), [], Counter[str]()
    wanted = pytestconfig.getoption("--mutants") // len(NAMES)
    number = 0
    while made.total() < wanted:
        chance, rule = Random(f"{name} {number}"), RULES[number % len(RULES)]
        number += 1
        what = rule(k, chance)
        if what is not None:
            made[rule.__name__] += 1
            if check_memmap(k).ok:
                missed.append(f"{rule.__name__}, number {number - 1}: {what}")
        saved.restore()
    print(f"{name}: {made.total()} mutants by {len(made)} rules, {len(missed)} not found")
    assert not missed, "\n".join(missed)
    assert check_memmap(k).ok


def test_each_rule_has_something_to_change_somewhere() -> None:
    used = set()
    for name in NAMES:
        k = booted(name)
        saved = Saved(k)
        for rule in RULES:
            if rule not in used and any(rule(k, Random(number)) for number in range(40)):
                used.add(rule)
            saved.restore()
    assert not [rule.__name__ for rule in RULES if rule not in used]
