"""``minikern kernel params``: both lists, as text and as JSON; and the note of a boot."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from minikern.cli import main
from minikern.core.moduleparam import Kind
from minikern.core.parameters import listed
from minikern.report.params import WIDTH, kernel_parameters


def call(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


@pytest.mark.parametrize("build", ["", "6.1", "6.12", "7.2"])
def test_each_listed_name_is_in_one_of_the_lists(build: str) -> None:
    found = kernel_parameters(build)
    modelled = {(row.kind, row.name) for row in found.modelled}
    known = {(row.kind, row.name) for row in found.not_modelled}
    assert modelled | known == {(kind, name) for kind in Kind for name in listed(build)[kind]}
    assert not modelled & known and len(modelled) > 80


def test_text_fits_a_terminal() -> None:
    text = call("kernel", "params").stdout
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "  early pci                          pci/options.py:pci_setup" in text
    assert "workqueue.debug_force_rr_cpu" in text.split("not modelled; a boot goes on")[1]


def test_json_has_both_lists() -> None:
    found = json.loads(call("kernel", "params", "debian-6.1", "--json").stdout)
    mem = next(row for row in found["modelled"] if row["name"] == "mem")
    assert mem["kind"] == "early"
    assert (mem["module"], mem["function"]) == ("minikern.mm.early.e820_params", "parse_memopt")
    assert {"name": "workqueue.debug_force_rr_cpu", "kind": "param"} in found["not_modelled"]
    assert not [row for row in found["not_modelled"] if row["name"] == "mtrr"]  # 6.12 brought it


def test_an_unknown_release_is_refused() -> None:
    result = call("kernel", "params", "linux-9")
    assert result.exit_code == 2 and result.stderr.startswith("minikern: unknown kernel 'linux-9'")


@pytest.mark.parametrize("command", [["boot"], ["compare", "--variants", "deferred"], ["blame"], ["proc", "meminfo"]])
def test_a_boot_says_once_what_it_does_not_model(command: list[str]) -> None:
    result = call(*command, "tiny", "--append", "audit=0 crash_kexec_post_notifiers quiet")
    assert result.exit_code == 0
    assert result.stderr.count("minikern: known to Linux, not modelled here: audit=0 crash_kexec_post_notifiers\n") == 1
    assert "not modelled" not in result.stdout


def test_a_boot_of_modelled_words_says_nothing() -> None:
    assert call("boot", "tiny", "--append", "quiet nosmt").stderr == ""
