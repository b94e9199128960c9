"""Machines for Python: by any name the command line takes, changed in words, saved as TOML."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

from hw.errors import InputError
from minikern.describe.adjust import Adjustments, adjust
from minikern.describe.case import Case, with_costs
from minikern.describe.presets import load_machine, machine_names
from minikern.lab.fit.timed import timed
from minikern.lab.fit.write import spec_toml, write_spec


class Machine:
    """A described machine, ready to be booted; ``notes`` say what was read, what was assumed, whose times it has.

    >>> tiny = machine("tiny")
    >>> tiny.name, tiny.spec.cpus.count
    ('tiny', 2)
    """

    def __init__(self, spec: Case, notes: Sequence[str] = ()) -> None:
        self.spec = spec
        self.notes = list(notes)

    @property
    def name(self) -> str:
        """Its name, as tables show it."""
        return self.spec.name

    def to_toml(self) -> str:
        """The description as text, from which the same machine comes back; what is as by default is left out."""
        return spec_toml(with_costs(self.spec))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the description, which any command then takes as its MACHINE. InputError: the place is not writable."""
        target = Path(path)
        write_spec(with_costs(self.spec), target)
        return target

    def __repr__(self) -> str:
        return f"<machine {self.name}: {self.spec.title or 'no title'}>"


MachineLike: TypeAlias = str | PathLike[str] | Case | Machine


def machines() -> list[str]:
    """Names of the machines that come with minikern, then of your own.

    >>> "lpc2023" in machines()
    True
    """
    return machine_names()


def machine(
    name: MachineLike,
    *,
    cpus: str | int = "",
    memory: str = "",
    numa: Sequence[str] = (),
    numa_distance: Sequence[str] = (),
    fit: bool = True,
) -> Machine:
    """The machine called ``name``: a preset, a TOML file, a captured folder or archive, a boot log, or one at hand.

    ``cpus``, ``memory``, ``numa`` and ``numa_distance`` change it as the options of those names do. A log with time
    stamps gives the machine its own unit costs, unless ``fit`` is False. InputError: there is no such machine.

    >>> machine("tiny", memory="1G", cpus=4).spec.cpus.count
    4
    >>> machine("nowhere")
    Traceback (most recent call last):
        ...
    hw.errors.InputError: unknown machine 'nowhere': expected laptop, lpc2023, skylake-112, tiny, a TOML file, ...
    """
    found = _found(name, fit)
    changes = Adjustments(str(cpus) if cpus else "", memory, numa, numa_distance)
    if changes:
        adjust(found.spec, changes)
        found.spec.told = {}  # it is another machine on purpose
    return found


def _found(name: MachineLike, fit: bool) -> Machine:
    if isinstance(name, Machine):
        return Machine(copy.deepcopy(name.spec), name.notes)
    if isinstance(name, Case):
        return Machine(copy.deepcopy(name))
    text = fspath(name)
    if text == "-":
        raise InputError("-: expected a machine's name or a file; the command line alone reads standard input")
    spec = load_machine(text)
    notes = list(spec.notes)
    times = timed(spec, text, no_fit=not fit)
    return Machine(times.spec, [*notes, *times.notes])
