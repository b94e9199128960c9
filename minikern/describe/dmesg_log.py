"""One boot of a log, line by line, and the account of what was taken from it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

RANGE = r"\[mem 0x([0-9a-f]{1,16})-0x([0-9a-f]{1,16})\]"


@dataclass
class Log:
    """One boot of a log, with helpers to look lines up and to keep account of what was found."""

    where: str
    lines: list[str]
    read: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)

    def first(self, pattern: str) -> re.Match[str] | None:
        """First line that matches from its beginning."""
        regex = re.compile(pattern)
        return next((match for line in self.lines if (match := regex.match(line))), None)

    def all(self, regex: re.Pattern[str]) -> list[re.Match[str]]:
        """All lines that match from their beginning."""
        return [match for line in self.lines if (match := regex.match(line))]

    def number(self, pattern: str, limit: int) -> int | None:
        """The first group of the first match as a decimal number of at most ``limit``."""
        found = self.first(pattern)
        value = int(found[1]) if found and len(found[1]) < 20 else None
        return value if value is not None and value <= limit else None

    def places(self, pattern: str) -> list[int]:
        """Indexes of the lines that match from their beginning."""
        regex = re.compile(pattern)
        return [index for index, line in enumerate(self.lines) if regex.match(line)]
