"""Why a kernel image was not loaded: Linux's error code, and where the fault is."""

from __future__ import annotations

import errno

from hw.errors import InputError


class KexecError(InputError):
    """A load that the kernel refuses.

    ``errno`` and ``code`` are the system call's error as a number and a name; ``field`` is what was looked at,
    ``offset`` where it is in its file (None if it is in none), ``expected`` and ``found`` say what is wrong with it.
    """

    def __init__(self, code: str, field: str, expected: str, found: str, offset: int | None = None) -> None:
        self.code = code
        self.errno = getattr(errno, code)
        self.field = field
        self.offset = offset
        self.expected = expected
        self.found = found
        where = "" if offset is None else f" at {offset:#x}"
        super().__init__(f"{code}: {field}{where}: expected {expected}, found {found}")
