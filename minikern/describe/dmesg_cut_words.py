"""Words of a command line that is too long for its log line: consoles by the lines that say they are on.

A record holds about a thousand bytes; what stands behind is lost in the log, and was there in the boot.
Source: kernel/printk/internal.h:PRINTK_MESSAGE_MAX, kernel/printk/printk.c:vprintk_store() @ v6.12
"""

from __future__ import annotations

import re

from minikern.describe.dmesg_log import Log

LONG_BYTES = 900  # a record that may have been cut
USUAL_BAUD = 115200
_CONSOLE = re.compile(r"^(?:printk: )?(?:legacy )?console \[(tty(?:S\d+|0))\] enabled")
_THREAD = re.compile(r"^printk: console \[\w+\] printing thread started")
_EARLY = re.compile(r"^(?:printk: )?(?:legacy )?bootconsole \[earlyser0\] enabled")


def lost_console_words(log: Log, text: str) -> list[str]:
    """Words for the consoles that the log shows and the cut line ``text`` does not; none for a line that is whole.

    Nor where threads write to the consoles, for which nobody waits.
    """
    if len(text.encode()) < LONG_BYTES or log.all(_THREAD):
        return []
    words = text.split()
    names = dict.fromkeys(match[1] for match in log.all(_CONSOLE))
    asked = {word.removeprefix("console=").split(",")[0] for word in words if word.startswith("console=")}
    found = [_word(name) for name in names if name not in asked] if any(name != "tty0" for name in names) else []
    if log.all(_EARLY) and not any(word.startswith(("earlyprintk=", "earlycon")) for word in words):
        found.insert(0, f"earlyprintk=ttyS0,{USUAL_BAUD}")
    return found


def _word(name: str) -> str:
    return f"console={name}" if name == "tty0" else f"console={name},{USUAL_BAUD}"


def with_lost_words(text: str, lost: list[str]) -> str:
    """``text`` with the words behind it; its last one goes where it is the beginning of one of them."""
    words = text.split(" ")
    if lost and any(word.startswith(words[-1]) for word in (*lost, "console=")):
        words.pop()
    return " ".join([*words, *lost])
