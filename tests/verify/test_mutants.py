"""Plausible mistakes in a memory map, made by rules over several machines: the check finds each of them."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from minikern.verify.page_check import check_memmap
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
RULES = (*mutants_pages.RULES, *mutants_lists.RULES, *mutants_sizes.RULES)


@pytest.mark.parametrize("name", MACHINES)
def test_every_mutant_is_found(name: str, pytestconfig: pytest.Config) -> None:
    machine, release, append, changes = MACHINES[name]
    k = run(machine, "", append, release, **changes).kernel
    assert check_memmap(k).ok, check_memmap(k).message
    saved, missed, made = Saved(k), [], Counter[str]()
    wanted = pytestconfig.getoption("--mutants") // len(MACHINES)
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
    for machine, release, append, changes in MACHINES.values():
        k = run(machine, "", append, release, **changes).kernel
        saved = Saved(k)
        for rule in RULES:
            if rule not in used and any(rule(k, Random(number)) for number in range(40)):
                used.add(rule)
            saved.restore()
    assert not [rule.__name__ for rule in RULES if rule not in used]
