"""The kernel's parameters: who acts on which one, and those that nobody acts on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import msgspec

from minikern.core.moduleparam import Kind
from minikern.core.parameters import listed
from minikern.init.params import parameter_table

WIDTH = 80


class ModelledRow(msgspec.Struct):
    """One declaration: its words are those of its value that are modelled, ``other_words`` those Linux has besides."""

    name: str
    kind: str
    module: str
    function: str
    words: list[str]
    other_words: list[str]


class KnownRow(msgspec.Struct):
    """A name that Linux has and nobody here declares."""

    name: str
    kind: str


class Parameters(msgspec.Struct):
    """Both kinds of one kernel, each by name. ``build`` is empty for all listed kernels together."""

    build: str
    modelled: list[ModelledRow]
    not_modelled: list[KnownRow]


def kernel_parameters(build: str = "") -> Parameters:
    """The parameters of the kernels called ``build`` in the list, of all listed ones if it is empty."""
    names = listed(build)
    declared = [one for one in parameter_table().declared if one.name in names[one.kind]]
    rows = []
    for one in declared:
        module, _, function = one.where.partition(":")
        words, other = (one.words.modelled, one.words.other) if one.words else ((), ())
        rows.append(ModelledRow(one.name, one.kind, module, function, list(words), list(other)))
    taken = {(one.kind, one.name) for one in declared}
    known = [KnownRow(name, kind) for kind in Kind for name in names[kind] if (kind, name) not in taken]
    return Parameters(build, sorted(rows, key=lambda row: row.name), sorted(known, key=lambda row: row.name))


def format_parameters(found: Parameters) -> str:
    """Both lists as text of at most 80 columns."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Parameters) -> Iterator[str]:
    what = f"of the {found.build} kernels" if found.build else "of all listed kernels"
    yield f"{len(found.modelled)} parameters {what} are modelled:"
    for row in found.modelled:
        yield from _modelled(row)
    yield ""
    yield f"{len(found.not_modelled)} are known and not modelled; a boot goes on without them:"
    for kind in Kind:
        names = " ".join(row.name for row in found.not_modelled if row.kind == kind)
        if names:
            yield from _wrapped(f"  {kind:5s} ", names)


def _modelled(row: ModelledRow) -> Iterator[str]:
    path = row.module.removeprefix("minikern.").replace(".", "/") + f".py:{row.function}"
    head = f"  {row.kind:5s} {row.name:28s} "
    if len(head) + len(path) > WIDTH:
        yield head.rstrip()
        head = " " * 10
    yield head + path
    if row.other_words:
        yield from _wrapped(" " * 10 + "words: ", " ".join(row.words))
        yield from _wrapped(" " * 10 + "not modelled: ", " ".join(row.other_words))


def _wrapped(head: str, text: str) -> list[str]:
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
                                   break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return wrapper.wrap(text)
