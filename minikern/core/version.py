"""Kernel versions, and which of two is newer. Nothing else in the kernel compares them.

A release candidate counts for what it holds: 6.5-rc1 has all of the merge window, so that "since 6.5" includes it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from hw.errors import InputError

_WORD = re.compile(r"(?:Linux version )?([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:-rc([0-9]{1,6}))?")
_TAKEN_IN = re.compile(r"(?:Debian |Ubuntu \S+ )(\d+\.\d+\.\d+)")
_NEXT = re.compile(r"Linux version \d+\.\d+\.0(?:-rc([0-9]{1,6}))?-next-\d{8}")
LATE_CANDIDATE = 5
LAST_MINOR = {4: 20, 5: 19, 6: 19}  # after which the major number changes
FINAL = 1 << 16  # a candidate's number once it is none any more


class Version(NamedTuple):
    """Major and minor number, release candidate, stable update; they compare as they came out."""

    major: int
    minor: int
    candidate: int = FINAL
    patch: int = 0

    @property
    def series(self) -> tuple[int, int]:
        """What a stable tree is named by: 6.1 of 6.1.192."""
        return self.major, self.minor


@lru_cache(maxsize=1024)
def parse_version(text: str) -> Version:
    """The version a word like ``6.5-rc1``, ``6.12.117+deb12-amd64`` or ``5.15.0-107-generic`` begins with.

    InputError: there is none.
    """
    match = _WORD.match(text.strip())
    if match is None:
        raise InputError(f"{text!r:.80}: no kernel version: expected for instance 6.5-rc1 or 6.1.192")
    major, minor, patch, candidate = match.groups()
    return Version(int(major), int(minor), int(candidate) if candidate else FINAL, int(patch or 0))


def series(text: str) -> tuple[int, int] | None:
    """What the stable tree is named by: 6.1 for 6.1.192; None for what is no version."""
    match = _WORD.match(text.strip())
    return (int(match[1]), int(match[2])) if match else None


def banner_version(banner: str) -> str:
    """The version a ``Linux version`` line tells of: distributions name the stable update they took in beside it."""
    found = _WORD.match(banner)
    if found and (coming := _of_next(banner, int(found[1]), int(found[2]))):
        return coming
    word = found[0].removeprefix("Linux version ") if found else banner
    for told in _TAKEN_IN.findall(banner):
        if series(told) == series(word):
            return str(told)
    return word


def _of_next(banner: str, major: int, minor: int) -> str:
    # linux-next is named after the last candidate; late in a cycle most of the next merge window is in it.
    found = _NEXT.match(banner)
    if found is None or int(found[1] or LATE_CANDIDATE) < LATE_CANDIDATE:
        return ""
    return f"{major + 1}.0-rc1" if minor == LAST_MINOR.get(major) else f"{major}.{minor + 1}-rc1"


def kernel_release(text: str) -> str:
    """``text`` as the kernel calls itself: 6.9 is 6.9.0, 6.5-rc1 is 6.5.0-rc1."""
    version = parse_version(text)
    candidate = "" if version.candidate == FINAL else f"-rc{version.candidate}"
    return f"{version.major}.{version.minor}.{version.patch}{candidate}"


@lru_cache(maxsize=1024)
def parse_since(text: str) -> Version:
    """The first version of a row: ``6.5`` is its merge window, that is 6.5-rc1; ``5.13-rc6`` came later."""
    version = parse_version(text)
    return version._replace(candidate=1) if version.candidate == FINAL else version
