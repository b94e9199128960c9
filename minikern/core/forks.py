"""When the boot path forked: one row a change, and what behaviour follows for a version.

The rows stand in ``forks.toml``. This is the only place where kernel versions are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources

import msgspec

from hw.errors import InputError
from hw.toml_file import convert, decode_toml
from minikern.core.behaviour import Behaviour
from minikern.core.version import Version, parse_since, parse_version

Value = bool | int | str


class Fork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change upstream: ``field`` is ``old`` before version ``since`` and ``new`` from then on.

    The commit is named by its subject, and by hash or author's date; where it could not be found, ``note`` says what
    the row rests on instead. ``stable`` lists the first updates of older series that took it over.
    """

    field: str
    since: str
    old: Value
    new: Value
    commit: str
    hash: str = ""
    date: str = ""  # the author's, or that of the posting; YYYY-MM-DD
    stable: tuple[str, ...] = ()
    note: str = ""

    def holds(self, version: Version) -> bool:
        """True if a kernel of that version has the change."""
        if version >= parse_since(self.since):
            return True
        taken = (parse_version(text) for text in self.stable)
        return any(version.series == first.series and version.patch >= first.patch for first in taken)


class _Rows(msgspec.Struct, forbid_unknown_fields=True):
    fork: list[Fork]


@lru_cache(maxsize=1)
def load_forks() -> tuple[Fork, ...]:
    """All rows, those of a field in the order of their versions."""
    path = resources.files("minikern.core").joinpath("forks.toml")
    return tuple(decode_toml(path.read_bytes(), _Rows, "forks.toml").fork)


def behaviour_at(version: str, forks: Iterable[Fork] | None = None) -> Behaviour:
    """What kernel ``version`` does, by the rows alone. InputError: no version, or the rows contradict each other."""
    return _by_our_rows(version) if forks is None else _by_rows(version, forks)


@lru_cache(maxsize=64)
def _by_our_rows(version: str) -> Behaviour:
    return _by_rows(version, load_forks())


def _by_rows(version: str, forks: Iterable[Fork]) -> Behaviour:
    at = parse_version(version)
    values: dict[str, Value] = {}
    last: dict[str, Fork] = {}
    for fork in forks:
        before = last.get(fork.field)
        _check_chain(fork, before)
        values.setdefault(fork.field, fork.old)
        if fork.holds(at):
            values[fork.field] = fork.new
        last[fork.field] = fork
    return convert(values, Behaviour, "forks.toml")


def forks_between(after: str = "", until: str = "") -> list[Fork]:
    """The changes that version ``until`` has and ``after`` has not, oldest first; empty ends are open.

    InputError for what is no version.
    """
    old, new = (parse_version(text) if text else None for text in (after, until))
    found = [fork for fork in load_forks() if not (old and fork.holds(old)) and (new is None or fork.holds(new))]
    return sorted(found, key=lambda fork: parse_since(fork.since))


def _check_chain(fork: Fork, before: Fork | None) -> None:
    where = f"forks.toml: {fork.field} since {fork.since}"
    if fork.old == fork.new:
        raise InputError(f"{where}: nothing changes: old and new are {fork.new!r}")
    if before is None:
        return
    if parse_since(before.since) >= parse_since(fork.since):
        raise InputError(f"{where}: the row before is of {before.since}: expected an older one")
    if before.new != fork.old:
        raise InputError(f"{where}: old is {fork.old!r}, but the row before says {before.new!r}")


def changed(behaviour: Behaviour, values: Mapping[str, object]) -> Behaviour:
    """``behaviour`` with some fields set otherwise; InputError names a field or a value that does not exist."""
    return convert({**msgspec.structs.asdict(behaviour), **values}, Behaviour, "behaviour")
