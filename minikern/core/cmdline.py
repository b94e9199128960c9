"""The kernel command line: words, quotes and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from hw.numbers import starts_with_digit

_SUFFIX = {"K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]+|\d+)([KMGTPEkmgtpe]?)")


def memparse(text: str) -> tuple[int, str]:
    """Read a number with an optional K..E suffix; return it and what follows (``(0, text)`` when there is none).

    Octal numbers with a leading zero are read as the kernel reads them. Source: lib/cmdline.c:memparse() @ v6.12
    """
    match = _NUMBER.match(text)
    if match is None:
        return 0, text
    digits, suffix = match.groups()
    value, taken = _strtoull(digits)
    if taken < len(digits):
        return value, text[taken:]
    if suffix:
        value <<= _SUFFIX[suffix.upper()]
    return value & (2**64 - 1), text[match.end() :]


def strtoull(text: str) -> tuple[int, str]:
    """Read a number without suffix; return it and what follows. Source: lib/vsprintf.c:simple_strtoull() @ v6.12"""
    match = _NUMBER.match(text)
    if match is None:
        return 0, text
    value, taken = _strtoull(match.group(1))
    return value & (2**64 - 1), text[taken:]


def _strtoull(digits: str) -> tuple[int, int]:
    """Value and how many characters of ``digits`` belong to the number (base 16, 8 or 10 by its prefix)."""
    if digits[:2] in ("0x", "0X"):
        return int(digits, 16), len(digits)
    if digits[0] == "0" and len(digits) > 1:
        octal = re.match(r"[0-7]+", digits)
        assert octal is not None
        return int(octal.group(), 8), octal.end()
    return int(digits), len(digits)


def kstrtobool(value: str | None) -> bool | None:
    """A text's truth value, None if it has none. Source: lib/kstrtox.c:kstrtobool() @ v6.12"""
    if not value:
        return None
    if value[0] in "yYtT1" or value[:2].lower() == "on":
        return True
    if value[0] in "nNfF0" or value[:2].lower() == "of":
        return False
    return None


def get_bool(value: str | None, default: bool) -> bool:
    """A parameter's truth value as the kernel takes it, ``default`` if it is no truth value."""
    found = kstrtobool(value)
    return default if found is None else found


def get_option(value: str | None) -> int | None:
    """The number a value begins with, None if it begins with none. Source: lib/cmdline.c:get_option() @ v6.12"""
    if value is None:
        return None
    sign, digits = (-1, value[1:]) if value.startswith("-") else (1, value)
    return sign * (strtoull(digits)[0] & 0x7FFF_FFFF) if starts_with_digit(digits) else None


def is_bool(value: str) -> bool:
    """True if the kernel takes the word for a truth value. Source: lib/kstrtox.c:kstrtobool() @ v6.12"""
    return get_bool(value, True) == get_bool(value, False)


def kstrtouint(value: str) -> int | None:
    """A whole word as a number of 32 bits, base by its prefix; None if it is none. Source: lib/kstrtox.c @ v6.12"""
    text = value.removeprefix("+")
    number, rest = strtoull(text)
    return number if text and not rest and number >> 32 == 0 else None


def next_args(text: str) -> Iterator[tuple[str, str | None]]:
    """The words of a command line as (name, value or None), double quotes honoured, in order.

    Source: lib/cmdline.c:next_arg() @ v6.12
    """
    for word in _words(text):
        name, equals, value = word.partition("=")
        yield name.strip('"'), _unquote(value) if equals else None


def without_words(text: str, patterns: Sequence[str]) -> str:
    """The line without the words that match a pattern (``console=ttyS*``); what follows ``--`` is init's and stays."""
    words = list(_words(text))
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if not any(fnmatchcase(word, pattern) for pattern in patterns)]
    return text if len(kept) == end else " ".join(kept + words[end:])


def _words(text: str) -> Iterator[str]:
    word, quoted = "", False
    for char in text:
        if char == '"':
            quoted = not quoted
        if char.isspace() and not quoted:
            if word:
                yield word
            word = ""
        else:
            word += char
    if word:
        yield word


def _unquote(value: str) -> str:
    return value[1:].removesuffix('"') if value.startswith('"') else value.removesuffix('"')


class CommandLine:
    """The words of one command line. Words after ``--`` are for init and are not parameters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.args: list[tuple[str, str | None]] = []
        self.init_args: list[str] = []
        words = list(next_args(text))
        cut = next((i for i, (name, value) in enumerate(words) if name == "--" and value is None), len(words))
        self.args = words[:cut]
        self.init_args = [name if value is None else f"{name}={value}" for name, value in words[cut + 1 :]]

    def has(self, name: str) -> bool:
        """True if the word is there, with or without a value."""
        return any(_same(key, name) for key, _ in self.args)

    def get(self, name: str) -> str | None:
        """Value of the last occurrence; None if absent or given without a value."""
        values = self.getall(name)
        return values[-1] if values else None

    def getall(self, name: str) -> list[str]:
        """All values given for ``name``, in order."""
        return [value for key, value in self.args if _same(key, name) and value is not None]

    def get_int(self, name: str) -> int | None:
        """Value of the last occurrence as a number (decimal, 0x, leading 0 octal), None if absent or not a number."""
        value = self.get(name)
        if value is None or not starts_with_digit(value):
            return None
        return memparse(value)[0]

    def get_bool(self, name: str, default: bool) -> bool:
        """Value of the last occurrence as a truth value; a bare word means true."""
        if self.has(name) and self.get(name) is None:
            return True
        return get_bool(self.get(name), default)

    def words(self, name: str) -> list[str]:
        """Comma-separated words of every occurrence: ``pci=nomsi,noaer`` gives ``["nomsi", "noaer"]``."""
        return [word for value in self.getall(name) for word in value.split(",") if word]


def dashes(name: str) -> str:
    """The name as it is compared: dashes and underscores are the same. Source: kernel/params.c:dash2underscore()"""
    return name.replace("-", "_")


def _same(key: str, name: str) -> bool:
    return key == name or dashes(key) == dashes(name)
