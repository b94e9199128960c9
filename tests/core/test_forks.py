"""The rows: complete, in order, sourced; and what follows from them."""

from __future__ import annotations

import ast
import re
from datetime import date
from pathlib import Path

import msgspec
import pytest

from hw.errors import InputError
from minikern.core.behaviour import Behaviour, sentences
from minikern.core.forks import Fork, behaviour_at, changed, load_forks
from minikern.core.version import parse_since, parse_version

ROWS = load_forks()
COMMIT_UNKNOWN = {
    *("hugetlb_exact_node", "initcall_usecs", "lowmem_reserve_follows", "osc_skipped"),
    *("port_service_lines", "printk_prefix", "slot_command_erratum", "sparse_buffer"),
}


def row(**values: object) -> Fork:
    known = {"field": "fallback_lines", "since": "5.16", "old": False, "new": True, "commit": "a subject"}
    return msgspec.convert({**known, **values}, Fork)


def test_every_field_has_a_row_and_a_sentence() -> None:
    assert {fork.field for fork in ROWS} == set(Behaviour.__struct_fields__) == set(sentences())
    assert all(text.endswith(".") for text in sentences().values())


@pytest.mark.parametrize("fork", [fork for fork in ROWS if fork.commit], ids=lambda fork: f"{fork.field}-{fork.since}")
def test_a_row_names_its_commit(fork: Fork) -> None:
    assert re.fullmatch(r"\S.{10,}\S", fork.commit)
    assert fork.hash or fork.date, "neither hash nor author's date"
    assert not fork.hash or re.fullmatch(r"[0-9a-f]{12}", fork.hash)
    assert not fork.date or date.fromisoformat(fork.date) < date(2026, 12, 1)
    taken = [parse_version(text) for text in fork.stable]
    assert len({version.series for version in taken}) == len(taken)
    assert all(version.patch and version < parse_since(fork.since) for version in taken)


def test_a_row_without_a_commit_says_what_it_rests_on() -> None:
    unnamed = [fork for fork in ROWS if not fork.commit]
    assert {fork.field for fork in unnamed} == COMMIT_UNKNOWN
    assert all(re.match("the commit was not found; .*(source|log) of", fork.note) for fork in unnamed)


def test_a_row_holds_from_its_version_on_and_in_the_updates_that_took_it() -> None:
    fork = row(since="6.5", stable=["6.4.9", "6.1.44"])
    held = [text for text in ("6.1", "6.1.43", "6.1.44", "6.1.192", "6.3.13", "6.4.8", "6.4.9", "6.5-rc1", "7.2")
            if fork.holds(parse_version(text))]  # fmt: skip
    assert held == ["6.1.44", "6.1.192", "6.4.9", "6.5-rc1", "7.2"]


def test_a_value_may_change_twice() -> None:
    words = [behaviour_at(version).reserve_first_mib for version in ("5.4", "5.5", "5.12", "5.13-rc5", "5.13", "6.1")]
    assert words == ["never", "crashkernel", "crashkernel", "crashkernel", "always", "always"]


def test_release_candidates_bring_cpus_up_in_parallel() -> None:
    assert behaviour_at("6.4.16").smp_scheme == "serial-old"
    assert behaviour_at("6.5-rc1").smp_scheme == "split"


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([row(new=False)], "nothing changes"),
        ([row(), row(since="5.10", old=True, new=False)], "expected an older one"),
        ([row(), row(since="6.1", old=False, new=True)], "the row before says True"),
        ([row(field="fallback_line")], "fallback_line"),
        ([row(new="yes")], "Expected `bool`, got `str` - at `\\$.fallback_lines`"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(rows: list[Fork], text: str) -> None:
    others = [fork for fork in ROWS if fork.field != "fallback_lines"]
    with pytest.raises(InputError, match=text):
        behaviour_at("6.12", others + rows)


def test_every_row_counts() -> None:
    """Without a row, the kernel of its version is another one."""
    for fork in ROWS:
        others = [other for other in ROWS if other.field != fork.field]
        before = row(field=fork.field, since="99.0", old=fork.old, new=fork.new)
        if sum(other.field == fork.field for other in ROWS) == 1:
            assert behaviour_at(fork.since, [*others, before]) != behaviour_at(fork.since)


def test_changes_are_checked() -> None:
    old = behaviour_at("6.12")
    assert changed(old, {"fallback_lines": False}).fallback_lines is False and old.fallback_lines
    assert changed(old, {}) == old
    for values in ({"fallback_line": False}, {"fallback_lines": "no"}, {"memoryless": "loud"}):
        with pytest.raises(InputError, match="behaviour: "):
            changed(old, values)


def test_every_behaviour_is_asked_for() -> None:
    read = set()
    for path in (Path(__file__).parents[2] / "minikern").rglob("*.py"):
        read |= {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not set(Behaviour.__struct_fields__) - read
