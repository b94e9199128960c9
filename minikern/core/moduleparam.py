"""Kernel parameters: what a room declares beside the function that acts on a word of the command line.

A declaration is data; :class:`minikern.core.param_table.ParameterTable` is made of all of them.
Source: include/linux/init.h, include/linux/moduleparam.h @ v6.12
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from minikern.core.cmdline import is_bool, kstrtouint

K = TypeVar("K")
Accept = Callable[[K, "str | None"], bool]  # (kernel, value): False if the value is none for it
Setup = Callable[[K, str], bool]  # (kernel, rest of the word): False leaves the word to others


class Kind(StrEnum):
    """How Linux finds the word.

    ``early`` parameters are handed over in setup_arch(), ``setup`` ones by their beginning and ``param`` (a built-in
    module's or the core's) by their whole name in start_kernel(); ``raw`` ones are searched for in the line as it is.
    """

    EARLY = "early"
    SETUP = "setup"
    PARAM = "param"
    RAW = "raw"


@dataclass(frozen=True)
class Words:
    """The words one parameter takes: those modelled, and those Linux knows besides.

    A word that ends in ``*`` is a beginning. Without a ``separator`` a value is one word.
    """

    modelled: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    separator: str = ","

    def split(self, value: str) -> list[str]:
        """The words of one value, empty ones left out."""
        return [word for word in (value.split(self.separator) if self.separator else [value]) if word]

    def models(self, word: str) -> bool:
        """True if the word does here what it does in Linux."""
        return _among(word, self.modelled)

    def knows(self, word: str) -> bool:
        """True if Linux knows the word."""
        return self.models(word) or _among(word, self.other)


def _among(word: str, names: tuple[str, ...]) -> bool:
    return any(word.startswith(name[:-1]) if name.endswith("*") else word == name for name in names)


@dataclass(frozen=True)
class Parameter(Generic[K]):
    """One declaration: ``name`` as Linux spells it (``isolcpus=``), ``where`` the function that gives it its effect.

    ``words`` is None if its value is no list, or any value of it is modelled.
    """

    kind: Kind
    name: str
    where: str  # module:function
    accept: Accept[K] | None = None
    setup: Setup[K] | None = None
    words: Words | None = None


def taken(k: object, value: str | None) -> bool:
    """The word is accepted and looked up later."""
    return True


def needs_value(k: object, value: str | None) -> bool:
    """The word is accepted with a value only, and looked up later."""
    return value is not None


def a_bool(k: object, value: str | None) -> bool:
    """A truth value, or none. Source: kernel/params.c:param_set_bool() @ v6.12"""
    return value is None or is_bool(value)


def needs_bool(k: object, value: str | None) -> bool:
    """A truth value. Source: lib/kstrtox.c:kstrtobool() @ v6.12"""
    return value is not None and is_bool(value)


def needs_uint(k: object, value: str | None) -> bool:
    """A number of 32 bits, in any base. Source: lib/kstrtox.c:kstrtouint() @ v6.12"""
    return value is not None and kstrtouint(value) is not None


def early_param(
    name: str, handler: Accept[K] = taken, *, read_by: Callable[..., object] | None = None, words: Words | None = None
) -> Parameter[K]:
    """A parameter that ``handler(k, value)`` acts on in setup_arch(); False makes it a malformed option.

    ``read_by`` is the function that looks the word up later, if the handler only judges its value.
    Source: include/linux/init.h:early_param() @ v6.12
    """
    return Parameter(Kind.EARLY, name, _where(name, handler, read_by), accept=handler, words=words)


def setup_param(
    name: str, handler: Setup[K] = taken, *, read_by: Callable[..., object] | None = None, words: Words | None = None
) -> Parameter[K]:
    """A parameter whose word begins with ``name``; ``handler(k, rest)`` acts on it in start_kernel().

    A handler that returns False leaves the word to others, at last to init. Source: include/linux/init.h:__setup()
    """
    return Parameter(Kind.SETUP, name, _where(name, handler, read_by), setup=handler, words=words)


def module_param(
    name: str, handler: Accept[K] = taken, *, read_by: Callable[..., object] | None = None
) -> Parameter[K]:
    """A parameter of a built-in module (``printk.time``) or of the core (``initcall_debug``).

    ``handler`` sets it, or only judges the value as the setter of its type does; False makes the value invalid.
    Source: include/linux/moduleparam.h:module_param(), core_param() @ v6.12
    """
    return Parameter(Kind.PARAM, name, _where(name, handler, read_by), accept=handler)


def raw_param(name: str, *, read_by: Callable[..., object]) -> Parameter[K]:
    """A word that is searched for in the line before there are parameters.

    Source: arch/x86/lib/cmdline.c:cmdline_find_option() @ v6.12
    """
    return Parameter(Kind.RAW, name, _path(read_by))


JUDGES = (taken, needs_value, a_bool, needs_bool, needs_uint)  # they look at the value and keep nothing


def _where(name: str, handler: Callable[..., object], read_by: Callable[..., object] | None) -> str:
    if read_by is None and handler in JUDGES:
        raise ValueError(f"parameter {name!r}: nobody acts on it: expected a handler or read_by")
    return _path(read_by or handler)


def _path(function: Callable[..., object]) -> str:
    return f"{function.__module__}:{function.__qualname__}"
