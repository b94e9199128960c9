"""Lines of ``initcall_debug``: whose time it is, and what the lines themselves cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minikern.describe.presets import load_machine
from minikern.lab.fit.calibrate import fit_log
from minikern.lab.fit.initcalls import initcalls
from minikern.lab.fit.timeline import Step
from minikern.lab.run import boot as run
from minikern.report.dmesg import format_dmesg

US = 1000


def steps(*lines: tuple[str, int]) -> list[Step]:
    """Lines of the main thread with the time before each, us."""
    return [Step(text, text, True, 0, gap_ns=gap * US) for text, gap in lines]


def boot(count: int, spent_us: int, line_us: int) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for at in range(count):
        found.append((f"calling  f{at}_init+0x0/0x1c0 @ 1", line_us))
        found.append((f"initcall f{at}_init+0x0/0x1c0 returned 0 after {spent_us} usecs", spent_us + line_us))
    return found


def test_each_lines_stretch_belongs_to_the_initcall_it_passed_in() -> None:
    found = initcalls(
        steps(
            ("calling  outer_init+0x0/0x10 @ 1", 5), ("ahci: found", 3),
            ("calling  inner_init+0x0/0x1c [libahci] @ 1", 2), ("sata", 7),
            ("initcall inner_init+0x0/0x1c [libahci] returned 0 after 7 usecs", 1), ("tail", 4),
            ("initcall outer_init+0x0/0x10 returned -19 after 20 usecs", 2), ("after", 9),
        ),
        0.0,
    )  # fmt: skip
    assert found.within == {
        1: "outer_init", 3: "inner_init", 4: "inner_init", 5: "outer_init", 6: "outer_init",
    }  # fmt: skip


def test_an_initcall_whose_end_is_lost_ends_with_the_one_around_it() -> None:
    lines = (
        ("calling  a+0x0/0x1 @ 1", 1), ("calling  torn+0x0/0x1 @ 1", 1),
        ("initcall a+0x0/0x1 returned 0 after 1 usecs", 1), ("x", 1),
    )  # fmt: skip
    assert 3 not in initcalls(steps(*lines), 0.0).within


@pytest.mark.parametrize("line_us", [2, 300])
def test_the_lines_own_cost(line_us: int) -> None:
    found = initcalls(steps(*boot(50, 40, line_us)), 0.0)
    assert set(found.debug_ns.values()) == {line_us * US}
    assert len(found.debug_ns) == 99


def test_what_the_console_took_is_no_cost_of_theirs() -> None:
    lines = steps(*boot(50, 40, 300))
    for step in lines:
        step.bytes_before = 50
    assert set(initcalls(lines, 5 * US).debug_ns.values()) == {50 * US}


def test_other_logs_have_neither() -> None:
    found = initcalls(steps(("x", 1), ("y", 2)), 0.0)
    assert not found.within and not found.debug_ns
    assert not initcalls(steps(*boot(5, 40, 2)), 0.0).debug_ns  # too few to tell


def with_initcall(log: str, after: str, name: str, took_us: int) -> str:
    """``log`` with one more initcall behind the first line that holds ``after``; all later lines come later."""
    found, late = [], 0
    for line in log.splitlines():
        at = round(float(line[1:13]) * 1e6) + late
        found.append(f"[{at // 1_000_000:5d}.{at % 1_000_000:06d}] {line[15:]}")
        if after in line and not late:
            late = took_us
            end = at + took_us
            found.append(f"{found[-1][:15]}calling  {name}+0x0/0x20 @ 1")
            done = f"initcall {name}+0x0/0x20 returned 0 after {took_us} usecs"
            found.append(f"[{end // 1_000_000:5d}.{end % 1_000_000:06d}] {done}")
    return "\n".join(found)


def test_unexplained_time_has_the_initcalls_name(tmp_path: Path) -> None:
    done = run(load_machine("laptop"), append="initcall_debug")
    path = tmp_path / "boot.log"
    path.write_text(with_initcall(format_dmesg(done.kernel), "initcall inet_init", "ahci_pci_driver_init", 800_000))
    largest = max(fit_log(str(path), load_machine).residue, key=lambda item: item.ms)
    assert largest.name == "ahci_pci_driver_init" and largest.ms == pytest.approx(800, rel=0.02)


def test_emulated_lines_are_as_bootgraphs_read_them() -> None:
    """Source: scripts/bootgraph.pl, tools/power/pm-graph/bootgraph.py @ v6.12: what they match."""
    lines = [line.text for line in run(load_machine("tiny"), append="initcall_debug").kernel.log.lines]
    began = [hit for line in lines if (hit := re.match(r"calling *(?P<f>.*)\+.*@ (?P<p>.*)", line))]
    returned = re.compile(r"initcall *(?P<f>.*)\+.* returned (.*) after (.*) usecs")
    ended = [hit for line in lines if (hit := returned.match(line))]
    assert len(began) > 10 and [hit["f"] for hit in began] == sorted((hit["f"] for hit in ended), key=order(began))
    assert all(hit["p"].isdigit() for hit in began) and all(hit[3].isdigit() for hit in ended)


def order(began: list[re.Match[str]]) -> Callable[[str], int]:
    names = [hit["f"] for hit in began]
    return names.index
