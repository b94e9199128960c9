"""Declared parameters: who gets which word, by Linux's rules of matching."""

from __future__ import annotations

import pytest

from minikern.core.cmdline import CommandLine
from minikern.core.moduleparam import Kind, Parameter, Words, early_param, module_param, setup_param, taken
from minikern.core.param_table import ParameterTable

Said = list[tuple[str, str | None]]


def note(name: str, answer: bool = True):
    """A handler that notes what it was given."""

    def handler(k: Said, value: str | None) -> bool:
        k.append((name, value))
        return answer

    return handler


def table(*declared: Parameter[Said]) -> ParameterTable[Said]:
    return ParameterTable(declared)


def early(line: str, *declared: Parameter[Said]) -> Said:
    said: Said = []
    for name, value in CommandLine(line).args:
        list(table(*declared).handed_over(Kind.EARLY, said, name, value))
    return said


def test_early_parameters_are_whole_names_in_the_lines_order() -> None:
    mem, smt = early_param("mem", note("mem")), early_param("nosmt", note("nosmt"))
    assert early("nosmt mem=1G memx=2 mem -- mem=3", mem, smt) == [("nosmt", None), ("mem", "1G"), ("mem", None)]


def test_each_handler_of_a_name_gets_the_word() -> None:
    first, second = early_param("pci", note("acpi")), early_param("pci", note("pci"))
    assert early('pci="a b"', first, second) == [("acpi", "a b"), ("pci", "a b")]


def test_dashes_are_underscores() -> None:
    smp = setup_param("noreplace-smp", note("smp"))
    said: Said = []
    assert table(smp).do_setup(said, "noreplace_smp", None) == frozenset()
    assert early("movable-node=a-b", early_param("movable_node", note("node"))) == [("node", "a-b")]
    assert said == [("smp", "")]


def test_setup_parameters_are_beginnings_until_one_takes_the_word() -> None:
    no, yes, more = (setup_param("rcu_nocbs", note(name, answer)) for name, answer in
                     (("no", False), ("yes", True), ("more", True)))
    said: Said = []
    assert table(no, yes, more).do_setup(said, "rcu_nocbs", "0-3") == {"rcu_nocbs"}
    assert said == [("no", "=0-3"), ("yes", "=0-3")]
    assert table(yes).do_setup(said, "rcu", None) == frozenset()
    assert len(said) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: early_param("movable_nod", note("")),
        lambda: early_param("isolcpus=", note("")),  # Linux has it as a setup parameter
        lambda: setup_param("isolcpus", note("")),
        lambda: module_param("printk.times", read_by=taken),
    ],
)
def test_a_name_that_linux_has_not_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"Linux has no (early|setup|param) parameter"):
        table(wrong())


def test_a_declaration_needs_somebody_who_acts() -> None:
    with pytest.raises(ValueError, match="'mem': nobody acts on it"):
        early_param("mem")
    with pytest.raises(ValueError, match="twice"):
        table(early_param("mem", read_by=early), early_param("mem", read_by=early))


def test_words_of_a_value() -> None:
    words = Words(("nomsi", "lastbus=*"), ("noaer",))
    assert words.split("nomsi,,noaer") == ["nomsi", "noaer"]
    assert Words(separator="").split("a,b") == ["a,b"]
    assert [words.models(word) for word in ("nomsi", "nomsix", "lastbus=3", "noaer")] == [True, False, True, False]
    assert [words.knows(word) for word in ("nomsi", "lastbus", "noaer")] == [True, False, True]
