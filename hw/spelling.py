"""Names that nobody knows: one line that says which, where, and what was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from hw.errors import InputError

FEW = 12  # names that may be listed in full


def unknown(where: str, what: str, name: str, known: Iterable[str]) -> InputError:
    """The error for ``name``, which is no ``what``; it names the nearest known one, or all if they are few."""
    return InputError(f"{where}: {name!r:.80} is no {what}: {suggestion(name, known)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """What was perhaps meant by ``name``, else what there is."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1, 0.6)
    if near:
        return f"did you mean {near[0]}?"
    if len(names) <= FEW:
        return f"expected one of {', '.join(names)}"
    return f"none of the {len(names)} known ones is like it"


def check_names(where: str, what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """InputError for the first of ``names`` that is not among ``known``."""
    allowed = set(known)
    for name in names:
        if name not in allowed:
            raise unknown(where, what, name, allowed)
