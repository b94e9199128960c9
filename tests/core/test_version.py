"""Which kernel is newer, and what "since" means."""

from __future__ import annotations

import pytest

from hw.errors import InputError
from minikern.core.version import kernel_release, parse_since, parse_version

IN_ORDER = ["4.19.320", "5.4", "5.10-rc1", "5.10", "5.10.30", "5.15.0-107-generic", "6.4.9", "6.5-rc1",
            "6.5.0-rc4-next", "6.5", "6.12.117+deb12-amd64", "6.13", "10.0"]  # fmt: skip


def test_versions_compare_as_they_came_out() -> None:
    versions = [parse_version(text) for text in IN_ORDER]
    assert versions == sorted(versions) and len(set(versions)) == len(versions)


@pytest.mark.parametrize(("version", "has"), [("6.4.16", False), ("6.5-rc1", True), ("6.5-rc7", True), ("6.5", True)])
def test_a_change_of_6_5_came_in_its_merge_window(version: str, has: bool) -> None:
    assert (parse_version(version) >= parse_since("6.5")) == has


@pytest.mark.parametrize(("version", "has"), [("5.13-rc5", False), ("5.13-rc6", True), ("5.13", True)])
def test_a_change_of_a_later_candidate_came_then(version: str, has: bool) -> None:
    assert (parse_version(version) >= parse_since("5.13-rc6")) == has


def test_the_word_may_stand_in_its_line() -> None:
    assert parse_version("Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)") == parse_version("6.1.0")


@pytest.mark.parametrize(("text", "word"), [("6.9", "6.9.0"), ("6.5-rc1", "6.5.0-rc1"), ("6.1.192-amd64", "6.1.192")])
def test_what_a_kernel_calls_itself(text: str, word: str) -> None:
    assert kernel_release(text) == word


def test_numbers_have_an_end() -> None:
    assert parse_version("6." + "9" * 5000) == parse_version("6.999999")


@pytest.mark.parametrize("text", ["", "six", "6", "v6.1", ".5"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(InputError, match="no kernel version"):
        parse_version(text)
